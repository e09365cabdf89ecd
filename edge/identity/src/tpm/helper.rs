//! The process that has the TPM's library: `noderr-tpm`, started when there is something to ask.

use super::wire::Request;
use super::{TpmConfig, TpmError, wire};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to find out whether there is a TPM.
const LONGEST_CHECK: Duration = Duration::from_secs(60);
/// How long a helper that was asked to end may take.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Helper {
    process: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Helper {
    /// Refuses a TCTI with which no TPM can be reached, and a box without the program.
    pub(super) fn check(config: &TpmConfig) -> Result<(), TpmError> {
        let mut command = program(config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: io::Error| missing(config, &error);
        let mut process = command.spawn().map_err(failed)?;
        if let Some(pipe) = &mut process.stdout {
            // Nothing is said, so this waits for the end of the pipe.
            let ended =
                (Until { pipe, deadline: Instant::now() + LONGEST_CHECK }).read_to_end(&mut Vec::new());
            if let Err(error) = ended {
                process.kill().map_err(failed)?;
                process.wait().map_err(failed)?;
                let why = match error.kind() {
                    ErrorKind::TimedOut => "it does not reach the TPM within a minute".to_owned(),
                    _ => error.to_string(),
                };
                return Err(TpmError::Program { program: config.program.clone(), why });
            }
        }
        let ended = process.wait_with_output().map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let said = said.trim().strip_prefix("noderr-tpm: ").unwrap_or(said.trim());
        Err(TpmError::Program { program: config.program.clone(), why: said.to_owned() })
    }

    pub(super) fn start(config: &TpmConfig) -> Result<Self, TpmError> {
        let pipes = (Stdio::piped(), Stdio::piped());
        let process = program(config).stdin(pipes.0).stdout(pipes.1).spawn();
        let mut process = process.map_err(|error| missing(config, &error))?;
        match (process.stdin.take(), process.stdout.take()) {
            (requests @ Some(_), Some(answers)) => Ok(Self { process, requests, answers }),
            _ => Err(missing(config, &io::Error::other("it has no pipes"))),
        }
    }

    /// Asks, and waits for the answer until the deadline. A helper that fails here is not asked again.
    pub(super) fn ask(&mut self, request: &Request, deadline: Instant) -> io::Result<Vec<u8>> {
        let requests = self.requests.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        wire::send(requests, request)?;
        wire::hear(&mut Until { pipe: &mut self.answers, deadline })?
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Lets the helper end, which closes its connection to the TPM.
    pub(super) fn end(mut self) {
        self.requests = None;
        let deadline = Instant::now() + FAREWELL;
        // Nothing more is said, so this waits for the end of the pipe; a helper that does not end by itself is killed with `self`.
        let mut rest = Vec::new();
        if let Err(error) = (Until { pipe: &mut self.answers, deadline }).read_to_end(&mut rest) {
            tracing::warn!(%error, "noderr-tpm does not end and is killed");
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            tracing::warn!(%error, "noderr-tpm could not be ended");
        }
    }
}

/// In a process group of its own: Ctrl-C on a terminal is for the node, which may still want to sign something. Without the node's
/// environment, where an install token may be.
fn program(config: &TpmConfig) -> Command {
    let mut command = Command::new(&config.program);
    command.args(["--node", env!("CARGO_PKG_VERSION"), &config.tcti]).process_group(0).env_clear();
    for kept in ["TSS2_LOG", "RUST_BACKTRACE"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command
}

fn missing(config: &TpmConfig, error: &io::Error) -> TpmError {
    let why = format!("{error}; its place is beside noderr-node");
    TpmError::Program { program: config.program.clone(), why }
}

/// A pipe that is read until a deadline.
struct Until<'a> {
    pipe: &'a mut ChildStdout,
    deadline: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut waited = [PollFd::new(&*self.pipe, PollFlags::IN)];
        if poll(&mut waited, Some(&left))? == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        self.pipe.read(buffer)
    }
}
