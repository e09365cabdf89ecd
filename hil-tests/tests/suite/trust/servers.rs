//! Servers that never end, hardly begin, lead elsewhere or hand out something else; and disks that lose what was trusted.

use super::world::{TARGET, World, refused};
use anyhow::{Context as _, ensure};
use noderr_hil::forgetful::{Fault, ForgetfulDisk};
use noderr_hil::scratch;
use noderr_update::{Refusal, TrustError};
use rustix::io::Errno;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A server that answers every request with `head`, and then with `part` over and over, each after `pause`: the slowness is what is
/// tried, in a time that does not pass.
pub(crate) async fn server(
    head: &'static str,
    part: &'static [u8],
    pause: Duration,
) -> anyhow::Result<(String, AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                let mut going =
                    stream.read(&mut asked).await.is_ok() && stream.write_all(head.as_bytes()).await.is_ok();
                while going && !part.is_empty() {
                    tokio::time::sleep(pause).await;
                    going = stream.write_all(part).await.is_ok();
                }
            });
        }
    });
    Ok((address, AbortOnDropHandle::new(serving)))
}

#[tokio::test]
async fn data_without_end_is_cut_off() -> anyhow::Result<()> {
    let world = World::new().await?;
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let (address, _server) = server(head, &[b' '; 4096], Duration::ZERO).await?;
    let place = tempfile::tempdir()?;
    let begun = Instant::now();
    let asked = world.client_of(place.path(), &address)?.refresh(SystemTime::now()).await;
    assert!(matches!(asked, Err(TrustError::Unreachable(why)) if why.contains("more than")));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hardly_says_anything_is_cut_off() -> anyhow::Result<()> {
    let world = World::new().await?;
    // A byte a second: never silent for long, and never done.
    let (address, _server) = server("HTTP/1.1 200 OK\r\n\r\n", b" ", Duration::from_secs(1)).await?;
    let place = tempfile::tempdir()?;
    let asked = world.client_of(place.path(), &address)?.refresh(SystemTime::now()).await;
    assert!(matches!(asked, Err(TrustError::Unreachable(why)) if why.contains("too slow")));
    let (address, _server) = server("", b"", Duration::ZERO).await?;
    let asked = world.client_of(place.path(), &address)?.refresh(SystemTime::now()).await;
    assert!(matches!(asked, Err(TrustError::Unreachable(_))));
    Ok(())
}

#[tokio::test]
async fn nobody_leads_a_box_elsewhere() -> anyhow::Result<()> {
    let world = World::new().await?;
    let inner = TcpListener::bind("127.0.0.1:0").await?;
    let leads = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
        inner.local_addr()?
    );
    let (address, _server) = server(leads.leak(), b"", Duration::ZERO).await?;
    let place = tempfile::tempdir()?;
    let asked = world.client_of(place.path(), &address)?.refresh(SystemTime::now()).await;
    assert!(matches!(asked, Err(TrustError::Unreachable(why)) if why.contains("302")));
    let came = tokio::time::timeout(Duration::from_millis(200), inner.accept()).await;
    assert!(came.is_err(), "the box went where it was sent");
    Ok(())
}

#[tokio::test]
async fn a_mirror_that_hands_out_something_else_is_found_out() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    let target = trust.target(TARGET, SystemTime::now()).await?;
    let name =
        std::fs::read_dir(world.folder.targets().join("os/generic"))?.next().context("a file")??.file_name();
    let path = format!("targets/os/generic/{}", name.to_str().context("a name")?);
    for (shown, why) in [(&b"the fifth"[..], Refusal::Mismatched), (b"short", Refusal::Mismatched)] {
        world.lie(&path, shown.to_vec());
        assert_eq!(refused(trust.read(&target).await)?, why);
    }
    world.lie(&path, b"longer than it should be".to_vec());
    assert!(matches!(trust.read(&target).await, Err(TrustError::Unreachable(_))), "more than was signed");
    world.be_honest();
    assert_eq!(trust.read(&target).await?, b"the first");
    Ok(())
}

/// A box refreshes while its disk fails for good from some request on; then its power fails. Whatever the box was told is
/// trusted is not rolled back afterwards.
async fn refresh_and_lose_power(
    world: &World,
    old: &[u8],
    fault: Option<Fault>,
    seed: u64,
) -> anyhow::Result<u64> {
    let place = scratch()?;
    let disk = ForgetfulDisk::mount(place.path(), 16)?;
    let shelf = place.path().join("trust");
    world.client_of(&shelf, &world.address)?.refresh(SystemTime::now()).await?;
    world.be_honest();
    let before = disk.requests();
    disk.plan(fault);
    let refreshed = match world.client_of(&shelf, &world.address) {
        // What could not be kept is not trusted at a second try.
        Ok(mut trust) => {
            let first = trust.refresh(SystemTime::now()).await.is_ok();
            trust.refresh(SystemTime::now()).await.is_ok() || first
        }
        Err(_) => false,
    };
    let requests = disk.requests() - before;
    disk.cut(seed);
    disk.plan(None);
    world.lie("metadata/timestamp.json", old.to_vec());
    let shown_old = world.client_of(&shelf, &world.address)?.refresh(SystemTime::now()).await;
    ensure!(!refreshed || refused(shown_old)? == Refusal::RolledBack, "what was trusted is rolled back");
    world.be_honest();
    world.client_of(&shelf, &world.address)?.refresh(SystemTime::now()).await.context("it is stuck")?;
    world.lie("metadata/timestamp.json", old.to_vec());
    Ok(requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_trusted_survives_power_cuts_at_any_request() -> anyhow::Result<()> {
    let world = World::new().await?;
    let old = world.published("timestamp.json")?;
    world.publish_root(2, |_| {})?;
    world.release_another(2)?;
    world.lie("metadata/timestamp.json", old.clone());
    let mut requests = 0;
    for seed in 0..30 {
        requests =
            refresh_and_lose_power(&world, &old, None, seed).await.with_context(|| format!("seed {seed}"))?;
    }
    for after in 0..requests {
        for seed in 0..2 {
            let dead = Fault { after, error: Errno::IO, for_good: true };
            refresh_and_lose_power(&world, &old, Some(dead), seed)
                .await
                .with_context(|| format!("cut at request {after} of {requests}, seed {seed}"))?;
        }
    }
    Ok(())
}
