//! `noderr-tpm`: does what `noderr-node` asks of the TPM. It is started when there is something to ask and ends with its
//! input, so the TPM's library, OpenSSL with it, takes memory only while it works; and a library that hangs or crashes is ended and
//! started anew, which no thread could be.

mod device;
mod failure;
mod keys;
mod proof;

use anyhow::Context as _;
use clap::Parser;
use device::Device;
use noderr_identity::tpm::wire::{Request, receive, send};
use std::io::{self, BufReader, IsTerminal as _, Stdout};
use std::process::ExitCode;

/// Does what noderr-node asks of the TPM: noderr-node starts it, asks on its standard input, and reads its standard output.
#[derive(Parser)]
#[command(name = "noderr-tpm", version, arg_required_else_help = true)]
struct Arguments {
    /// How to reach the TPM, such as `device:/dev/tpmrm0`.
    tcti: String,
    /// The version of noderr-node, which must be this program's own.
    #[arg(long, value_name = "VERSION")]
    node: Option<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noderr-tpm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Who hangs with the TPM does not see that its input has ended.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot tie its end to that of noderr-node")?;
    let own = env!("CARGO_PKG_VERSION");
    if let Some(other) = arguments.node.as_ref().filter(|node| *node != own) {
        anyhow::bail!("this is version {own}, and noderr-node is {other}: start noderr-node again");
    }
    let device = Device::new(&arguments.tcti)?;
    anyhow::ensure!(!io::stdin().is_terminal(), "noderr-node starts this program; it says nothing to people");
    serve(device)
}

fn serve(mut device: Device) -> anyhow::Result<()> {
    let mut requests = BufReader::new(io::stdin());
    let mut answers = io::stdout();
    while let Some(request) = receive(&mut requests).context("a request that cannot be read")? {
        answer(&mut device, request, &mut answers).context("the answer cannot be given")?;
    }
    Ok(())
}

fn answer(device: &mut Device, request: Request, to: &mut Stdout) -> io::Result<()> {
    match request {
        Request::PublicKeys { create } => send(to, &device.public_keys(create)),
        Request::Sign { signer, digest } => send(to, &device.sign(signer, digest)),
        Request::Activate { blob, secret } => send(to, &device.activate(&blob, &secret)),
        Request::Quote { binding, pcr_mask } => send(to, &device.quote(binding, pcr_mask)),
        Request::Certify { signer, binding } => send(to, &device.certify(signer, binding)),
    }
}
