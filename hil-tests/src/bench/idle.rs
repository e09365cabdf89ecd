//! What an idle node costs, which only reports: memory, processor, and the size of its program.

use super::process::{memory_kib, ticks};
use anyhow::Context as _;
use noderr_hil::{BoxOptions, Lab, LabOptions, binary};
use std::fs;
use std::time::Duration;

const SETTLE: Duration = Duration::from_secs(20);
const MEASURE: Duration = Duration::from_secs(60);

pub(super) async fn run() -> anyhow::Result<()> {
    let folder = noderr_hil::scratch()?;
    let lab = Lab::start(folder.path(), LabOptions::default(), |_| {}).await?;
    // The program as it goes onto boxes: `cargo build --profile box -p noderr-node`, which `./dev bench` does.
    let program = binary("noderr-hil")?.with_file_name("../box/noderr-node");
    let options = BoxOptions { program: Some(program.clone()), ..BoxOptions::default() };
    let (_, mut rig) = lab.add_box("idle", &options).await?;
    rig.power_on()?;
    rig.online(Duration::from_secs(60)).await?;
    tokio::time::sleep(SETTLE).await;
    let pid = rig.pid().context("the node is off")?;
    let before = ticks(pid)?;
    tokio::time::sleep(MEASURE).await;
    let spent = (ticks(pid)? - before) as f64 / rustix::param::clock_ticks_per_second() as f64;
    let program = fs::metadata(program)?.len();
    println!("idle node, a sample every 10 s, a heartbeat every 2 s, over {MEASURE:?}");
    let of_its_own = memory_kib(pid, "RssAnon:")? as f64 / 1024.0;
    println!(
        "  resident         {:>10.1} MiB, of them {of_its_own:.1} of its own",
        memory_kib(pid, "VmRSS:")? as f64 / 1024.0
    );
    println!("  processor        {:>10.2} % of a core", 100.0 * spent / MEASURE.as_secs_f64());
    println!("  program          {:>10.1} MiB", program as f64 / 1048576.0);
    Ok(())
}
