//! What whoever holds a stolen token that may write releases can hold up: bodies that never end, and publications that nobody has signed.

use super::Network;
use crate::raw::Caller;
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use noderr_cli::ApiError;
use noderr_hil::manager::noise;
use noderr_hil::{LabOptions, SOON, memory_kib};
use noderr_releases::{PublicKey, SignedMetadata, Targets};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const RELEASE: &str = "os/generic/1.0.0";

async fn stolen_token(network: &Network) -> anyhow::Result<String> {
    let wanted = json!({ "name": "stolen", "permissions": ["read-releases", "write-releases"] });
    let made = network.lab.admin.post("/tokens", &wanted).await?;
    Ok(made["secret"].as_str().context("a token")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_end_take_the_memory_of_a_few() -> anyhow::Result<()> {
    const BODIES: usize = 32;
    const MIB: usize = 15;
    let network = Network::start(LabOptions::default()).await?;
    let (token, control) = (stolen_token(&network).await?, &network.lab.control);
    let pid = control.pid().context("it does not run")?;
    let before = memory_kib(pid, "VmRSS:")?;
    let mut sending = JoinSet::new();
    for number in 0..BODIES {
        let caller = Caller::new(&network.lab, [127, 0, 1, number as u8 + 1])?;
        let head = format!(
            "PUT /api/v1/release-archives/{} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/octet-stream\r\ncontent-range: bytes 0-{1}/{2}\r\ncontent-length: {2}\r\n\r\n",
            hex::encode([number as u8; 32]),
            (MIB << 20),
            (MIB << 20) + 1,
        );
        sending.spawn(async move {
            let mut stream = caller.connect().await?;
            stream.write_all(head.as_bytes()).await?;
            // All but the last byte, as far as somebody reads.
            let sent = timeout(Duration::from_secs(10), stream.write_all(&vec![0; MIB << 20])).await;
            anyhow::Ok((stream, sent.is_ok()))
        });
    }
    let held: Vec<_> = sending.join_all().await.into_iter().collect::<anyhow::Result<_>>()?;
    let grown = memory_kib(pid, "VmRSS:")?.saturating_sub(before) / 1024;
    let read = held.iter().filter(|(_, read)| *read).count();
    eprintln!("{grown} MiB for {BODIES} bodies of {MIB} MiB, of which {read} were read");
    ensure!(grown < (MIB * BODIES / 2) as u64, "{grown} MiB for bodies that never end");
    // Whose token was stolen uploads beside the thief.
    let path = format!("/release-archives/{}", "ab".repeat(32));
    let begun =
        timeout(Duration::from_secs(10), network.lab.admin.put_part(&path, vec![0; 9], "bytes 0-8/99"));
    ensure!(begun.await.context("the owner of the token waits for the thief")??["bytes"] == 9);
    drop(held);
    Ok(())
}

/// The first root with a version that nobody has signed, and keys or signatures as they come.
async fn forged(network: &Network, keys: usize, signatures: usize) -> anyhow::Result<Value> {
    let root = network.lab.control.shows("/releases/metadata/1.root.json").await?.context("a root")?;
    let mut root: Value = serde_json::from_slice(&root)?;
    root["signed"]["version"] = 2.into();
    let fresh: Vec<_> = (0..keys)
        .map(|number| PublicKey::ed25519(&Sha256::digest(number.to_be_bytes())))
        .map(|key| anyhow::Ok((key.id(), serde_json::to_value(key)?)))
        .collect::<Result<_, _>>()?;
    for (id, key) in fresh {
        root["signed"]["keys"][&id] = key;
        root["signed"]["roles"]["root"]["keyids"].as_array_mut().context("the ids")?.push(id.into());
    }
    let first = root["signatures"][0].clone();
    root["signatures"].as_array_mut().context("signatures")?.extend(vec![first; signatures]);
    let body = base64(&serde_json::to_vec(&root)?);
    Ok(json!({ "metadata": [{ "role": "root", "version": 2, "body": body }], "targets": [] }))
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_keys_or_signatures_cost_no_more_than_their_reading() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let thief = network.lab.admin.with_token(&stolen_token(&network).await?);
    for (keys, signatures) in [(4_000, 0), (0, 15_000)] {
        let forged = forged(&network, keys, signatures).await?;
        // Minutes, where every key is held against every signature.
        let answer = timeout(Duration::from_secs(15), thief.put("/release-metadata", &forged));
        let refused = answer.await.with_context(|| format!("{keys} keys, {signatures} signatures"))?;
        let Err(ApiError::Refused { kind, detail, .. }) = refused else { anyhow::bail!("{refused:?}") };
        ensure!(kind == "release-not-fit" && detail.contains("more than"), "{kind}: {detail}");
    }
    // Of one role, what is newest is published, and nothing beside it that nobody would check.
    let signed = json!({ "role": "os-0", "version": 2, "body": base64(b"{}") });
    let both = json!({ "metadata": [signed, { "role": "os-0", "version": 3, "body": base64(b"{}") }], "targets": [] });
    let refused = thief.put("/release-metadata", &both).await.err().context("it is published")?;
    ensure!(refused.to_string().contains("there twice"), "{refused}");
    Ok(())
}

/// Thousands of small targets, and a role that names them, which nobody has signed.
fn junk() -> anyhow::Result<Value> {
    let filler = vec![b'x'; 700];
    let names: Vec<_> = (0..5_000).map(|number| format!("os/generic/9.{number}.0")).collect();
    let mut says = Targets::new(9, Timestamp::now() + Duration::from_secs(86_400));
    names.iter().for_each(|name| says.name(name, &filler));
    let (says, filler) = (SignedMetadata::new(says).to_bytes()?, base64(&filler));
    let targets: Vec<_> = names.iter().map(|name| json!({ "name": name, "body": filler })).collect();
    Ok(json!({
        "metadata": [{ "role": "targets", "version": 9, "body": base64(&says) }],
        "targets": targets,
    }))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_that_nobody_has_signed_keep_nobody_from_publishing() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let lab = &network.lab;
    network.manager.release(RELEASE, &noise(50_000, 1))?;
    network.manager.publish(&network.publisher).await?;
    let thief = lab.admin.with_token(&stolen_token(&network).await?);
    let (junk, refused) = (Arc::new(junk()?), watch::Sender::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..6 {
        let (thief, junk, refused) = (thief.clone(), junk.clone(), refused.clone());
        flood.spawn(async move {
            loop {
                match thief.put("/release-metadata", &*junk).await {
                    Ok(done) => return done.to_string(),
                    Err(ApiError::Refused { kind, detail, .. }) if kind == "release-not-fit" => {
                        // Nothing is said of the targets: nobody has looked at one.
                        if !detail.ends_with("not signed by enough keys") {
                            return detail;
                        }
                        refused.send_modify(|refused| *refused += 1);
                    }
                    Err(ApiError::Refused { .. } | ApiError::Unreachable { .. }) => {}
                    Err(error) => return error.to_string(),
                }
            }
        });
    }
    // The flood is there once more was refused than there are who send.
    timeout(SOON, refused.subscribe().wait_for(|refused| *refused > 6)).await??;
    for _ in 0..3 {
        let begun = Instant::now();
        timeout(SOON, network.publisher.ctl(&["channels", "activate", RELEASE])).await??;
        timeout(SOON, network.publisher.ctl(&["channels", "deactivate", "os/generic"])).await??;
        timeout(SOON, lab.admin.get("/releases")).await??;
        eprintln!("channels and lists in {:?}", begun.elapsed());
    }
    network.manager.release("os/generic/1.1.0", &noise(50_000, 2))?;
    let begun = Instant::now();
    network.manager.publish(&network.publisher).await?;
    eprintln!("published in {:?}", begun.elapsed());
    if let Some(ended) = flood.try_join_next() {
        anyhow::bail!("the flood has ended: {}", ended?);
    }
    Ok(())
}
