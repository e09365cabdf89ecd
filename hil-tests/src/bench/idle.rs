//! What an idle node costs, which only reports: memory, processor, and the size of its program; once as it is on its first day, and
//! once after it has sent what it kept in a week without a network.

use super::load::sample;
use super::process::ticks;
use anyhow::Context as _;
use noderr_hil::manager::noise;
use noderr_hil::{BoxOptions, Lab, LabOptions, ProcessRig, Publisher, ReleaseManager, binary};
use noderr_hil::{children, memory_kib};
use noderr_protocol::Lane;
use noderr_spool::{Spool, SpoolConfig};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SETTLE: Duration = Duration::from_secs(20);
const MEASURE: Duration = Duration::from_secs(60);

/// Samples of a week, one every 10 s, as a node appends them.
const WEEK: u64 = 7 * 8640;
const SAMPLES: u64 = 6;

/// Bytes of a release.
const RELEASE: usize = 20_000_000;

pub(super) async fn run() -> anyhow::Result<()> {
    let folder = noderr_hil::scratch()?;
    let lab = Lab::start(folder.path(), LabOptions::default(), |_| {}).await?;
    first_day(&lab).await?;
    after_a_week(&lab).await
}

/// The program as it goes onto boxes: `cargo build --profile box -p noderr-node`, which `./dev bench` does.
fn program() -> anyhow::Result<PathBuf> {
    Ok(binary("noderr-hil")?.with_file_name("../box/noderr-node"))
}

fn print_memory(pid: u32) -> anyhow::Result<()> {
    let of_its_own = memory_kib(pid, "RssAnon:")? as f64 / 1024.0;
    println!(
        "  resident         {:>10.1} MiB, of them {of_its_own:.1} of its own",
        memory_kib(pid, "VmRSS:")? as f64 / 1024.0
    );
    Ok(())
}

async fn after_a_week(lab: &Lab) -> anyhow::Result<()> {
    let options = BoxOptions { program: Some(program()?), spool_mib: Some(256), ..BoxOptions::default() };
    let (_, mut rig) = lab.add_box("away", &options).await?;
    {
        let spool = Spool::open(SpoolConfig::new(rig.data().join("spool"), 1))?;
        let samples = (0..SAMPLES).map(|_| sample()).collect::<anyhow::Result<Vec<_>>>()?;
        for _ in 0..WEEK / SAMPLES {
            spool.append(Lane::Telemetry, &samples)?;
        }
    }
    rig.power_on()?;
    let began = Instant::now();
    rig.status_where("the week's records to be sent", Duration::from_secs(600), |status| {
        status["online"] == true && status["spool_records"].as_u64().is_some_and(|left| left < 100)
    })
    .await?;
    let drained = began.elapsed();
    tokio::time::sleep(SETTLE).await;
    println!("idle node, after {WEEK} records of a week were sent, in {drained:.0?}");
    print_memory(rig.pid().context("the node is off")?)?;
    let bytes = fs::metadata(rig.data().join("spool/db"))?.len();
    println!("  spool            {:>10.1} MiB", bytes as f64 / 1048576.0);
    Ok(())
}

/// What is left of the work on a release once the release is held.
async fn after_a_release(lab: &Lab, rig: &ProcessRig) -> anyhow::Result<()> {
    let place = lab.folder().join("manager");
    fs::create_dir_all(&place)?;
    let manager = ReleaseManager::for_plane(&place, &lab.admin).await?;
    let publisher = Publisher::new(lab.control.api_url(), lab.control.root_file(), &lab.admin).await?;
    manager.release("os/generic/1.0.0", &noise(RELEASE, 1))?;
    manager.publish(&publisher).await?;
    publisher.ctl(&["channels", "activate", "os/generic/1.0.0"]).await?;
    rig.release_is("os/generic/1.0.0", "held", Duration::from_secs(60)).await?;
    tokio::time::sleep(SETTLE).await;
    println!("idle node, after a release of {} MB has come", RELEASE / 1_000_000);
    print_memory(rig.pid().context("the node is off")?)
}

/// Watches for how long the process that speaks to the TPM is there, and what it takes.
async fn watch_helper(node: u32) -> anyhow::Result<String> {
    let (began, mut looks, mut seen, mut most) = (Instant::now(), 0_u32, 0_u32, 0);
    let mut look = tokio::time::interval(Duration::from_millis(50));
    while began.elapsed() < MEASURE {
        look.tick().await;
        looks += 1;
        for helper in children(node)? {
            seen += 1;
            // It may have ended since it was seen.
            most = most.max(memory_kib(helper, "VmRSS:").unwrap_or_default());
        }
    }
    let share = 100.0 * f64::from(seen) / f64::from(looks);
    Ok(format!("noderr-tpm       {:>10.1} MiB, there for {share:.0} % of the time", most as f64 / 1024.0))
}

async fn first_day(lab: &Lab) -> anyhow::Result<()> {
    let program = program()?;
    let options = BoxOptions { program: Some(program.clone()), ..BoxOptions::default() };
    let (_, mut rig) = lab.add_box("idle", &options).await?;
    rig.power_on()?;
    rig.online(Duration::from_secs(60)).await?;
    tokio::time::sleep(SETTLE).await;
    let pid = rig.pid().context("the node is off")?;
    let before = ticks(pid)?;
    let helper = watch_helper(pid).await?;
    let spent = (ticks(pid)? - before) as f64 / rustix::param::clock_ticks_per_second() as f64;
    let program = fs::metadata(program)?.len();
    println!("idle node, a sample every 10 s, a heartbeat every 2 s, over {MEASURE:?}");
    print_memory(pid)?;
    println!("  {helper}");
    println!("  processor        {:>10.2} % of a core", 100.0 * spent / MEASURE.as_secs_f64());
    println!("  program          {:>10.1} MiB", program as f64 / 1048576.0);
    after_a_release(lab, &rig).await
}
