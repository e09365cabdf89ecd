//! Floods from sixteen addresses, with the bounds that a control plane has by itself: whoever comes alone is served within a
//! second meanwhile, at the API, at the broker and at the login.

use crate::raw::{Caller, get};
use crate::{LIVELY, SOON, lab};
use noderr_hil::{Lab, LabOptions, Papers, until};
use serde_json::json;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

const ADDRESSES: u8 = 16;
/// Connections that one flooding address tries to hold, of each kind: together far beyond every bound.
const HELD: usize = 160;
/// What whoever comes alone may have to wait, most of the time: the machine that runs the tests does other things too.
const SOON_ENOUGH: Duration = Duration::from_secs(1);
const TRIES: u8 = 15;

/// The beginning of a handshake that never goes on.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
const ENDLESS: &str = "POST /api/v1/enrol/begin HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                       content-length: 60000\r\n\r\n{";

/// Opens connections as fast as `open` does, and holds the newest of them.
async fn hold<C, F: Future<Output = anyhow::Result<C>>>(opened: Arc<AtomicUsize>, open: impl Fn() -> F) {
    let mut held = VecDeque::new();
    loop {
        if let Ok(connection) = open().await {
            held.push_back(connection);
            opened.fetch_add(1, Ordering::Relaxed);
        }
        if held.len() > HELD {
            held.pop_front();
        }
        tokio::task::yield_now().await;
    }
}

/// How long `act` takes, the tries in ascending order.
async fn waits<F: Future<Output = anyhow::Result<()>>>(
    act: impl Fn(u8) -> F,
) -> anyhow::Result<Vec<Duration>> {
    let mut waits = Vec::new();
    for number in 1..=TRIES {
        let begun = Instant::now();
        act(number).await?;
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    Ok(waits)
}

/// Of tries in ascending order, the one in the middle.
fn usual(waits: &[Duration]) -> Duration {
    waits[waits.len() / 2]
}

/// Half-open handshakes at API and broker, bodies that never end, and guesses of a password, from every address.
fn flood(lab: &Lab, opened: &Arc<AtomicUsize>) -> anyhow::Result<JoinSet<()>> {
    let mut floods = JoinSet::new();
    for last in 1..=ADDRESSES {
        for port in [lab.control.api().port(), lab.control.broker().port()] {
            let caller = Caller::new(lab, [127, 0, 1, last])?;
            floods.spawn(hold(opened.clone(), move || {
                let connecting = caller.dial(port);
                async {
                    let mut tcp = connecting.await?;
                    tcp.write_all(HALF_A_HELLO).await?;
                    Ok(tcp)
                }
            }));
        }
        let caller = Arc::new(Caller::new(lab, [127, 0, 1, last])?);
        floods.spawn(hold(opened.clone(), move || {
            let caller = caller.clone();
            async move {
                let mut slow = caller.connect().await?;
                slow.write_all(ENDLESS.as_bytes()).await?;
                Ok(slow)
            }
        }));
        let caller = Arc::new(Caller::new(lab, [127, 0, 1, last])?);
        let guess = login(lab.email(), "a guess that is long enough");
        floods.spawn(hold(opened.clone(), move || {
            let (caller, guess) = (caller.clone(), guess.clone());
            async move { caller.ask(&guess).await }
        }));
    }
    Ok(floods)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_addresses_keep_nobody_waiting_who_comes_alone() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let (node, mut rig) = lab.online_box("alone", &LIVELY).await?;

    let log_in = |number| {
        let (person, request) = (Caller::new(&lab, [127, 0, 3, number]), login(lab.email(), &lab.password));
        async move {
            let answer = person?.ask(&request).await?;
            anyhow::ensure!(answer.starts_with("HTTP/1.1 201"), "a person is kept out: {answer}");
            Ok(())
        }
    };
    // A password takes its time to check, and more on a machine that has other things to do.
    let at_peace = usual(&waits(log_in).await?);
    let opened = Arc::new(AtomicUsize::new(0));
    let mut floods = flood(&lab, &opened)?;
    let all = usize::from(ADDRESSES) * HELD * 3;
    until("the flood to be at its height", SOON, || async {
        Ok((opened.load(Ordering::Relaxed) >= all).then_some(()))
    })
    .await?;

    let at_the_api = waits(|number| {
        let stranger = Caller::new(&lab, [127, 0, 2, number]);
        async move {
            let answer = stranger?.ask(&get("/ready")).await?;
            anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "a stranger is kept out: {answer}");
            Ok(())
        }
    })
    .await?;
    let at_the_login = waits(log_in).await?;
    let at_the_broker = waits(|_| {
        let papers = papers.clone();
        let broker = lab.control.broker();
        async move { papers.connect(broker).await.map(drop) }
    })
    .await?;
    // A box that starts amid all that enrols nothing anew, but has to get in.
    rig.shut_down().await?;
    rig.power_on()?;
    rig.online(SOON).await?;
    anyhow::ensure!(lab.node(&node).await?["online"] == true, "the box is not online");
    let opened_in_all = opened.load(Ordering::Relaxed);
    floods.shutdown().await;

    println!(
        "{opened_in_all} connections; api {at_the_api:?}, login {at_the_login:?}, broker {at_the_broker:?}"
    );
    for (place, waits) in [("API", at_the_api), ("login", at_the_login), ("broker", at_the_broker)] {
        let usual = usual(&waits);
        assert!(
            usual < SOON_ENOUGH + 2 * at_peace,
            "at the {place} whoever comes alone waits {usual:?}, of {waits:?}"
        );
    }
    Ok(())
}

fn login(email: &str, password: &str) -> String {
    let body = json!({ "email": email, "password": password }).to_string();
    format!(
        "POST /api/v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
