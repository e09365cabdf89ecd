//! rumqttd's router as the in-memory exchange between the control plane and the front end, and its watchdog.
//!
//! One subscription carries everything, so the router's memory does not grow with sessions, and no byte that
//! a node sends reaches the router. The router runs on a thread of rumqttd's own; if that thread dies, probes
//! stop coming back and a new router takes its place. Messages under way are lost, which `down/` messages may
//! be.

use bytes::Bytes;
use noderr_protocol::Topics;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::{Notification, Router, RouterConfig};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBES_MISSED: u64 = 3;
const PROBE_SUFFIX: &str = "router/probe";

/// Publishes into the current router.
#[derive(Clone)]
pub(crate) struct RouterHandle {
    sender: Arc<Mutex<Option<LinkTx>>>,
}

impl RouterHandle {
    /// Whether there is a router just now.
    pub(crate) fn is_up(&self) -> bool {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Queues a publication; `false` if there is no router just now.
    pub(crate) fn publish(&self, topic: String, payload: Bytes) -> bool {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_mut().is_some_and(|sender| sender.try_publish(topic, payload).is_ok())
    }
}

/// Starts the first router; the returned future keeps one alive and hands its deliveries to `deliver`.
pub(crate) fn start(
    topics: &Topics,
    deliver: impl Fn(&str, Bytes) + Send + Sync + 'static,
) -> (RouterHandle, impl Future<Output = ()> + Send + 'static) {
    let handle = RouterHandle { sender: Arc::default() };
    let filter = topics.all_down_filter();
    let probe = topics.beside(PROBE_SUFFIX);
    let keeper = keep(handle.clone(), filter, probe, deliver);
    (handle, keeper)
}

async fn keep(
    handle: RouterHandle,
    filter: String,
    probe: String,
    deliver: impl Fn(&str, Bytes) + Send + Sync + 'static,
) {
    loop {
        let (filter, probe_topic) = (filter.clone(), probe.clone());
        // Building a link blocks on the router's thread.
        let built = tokio::task::spawn_blocking(move || build(filter, probe_topic)).await;
        match built {
            Ok(Some((sender, receiver))) => {
                *handle.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
                run(&handle, receiver, &probe, &deliver).await;
                metrics::counter!("noderr_broker_router_restarts_total").increment(1);
                tracing::error!("the MQTT router stopped answering; starting another");
            }
            _ => tokio::time::sleep(PROBE_EVERY).await,
        }
        *handle.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn build(filter: String, probe: String) -> Option<(LinkTx, LinkRx)> {
    let config = RouterConfig {
        max_connections: 4,
        max_outgoing_packet_count: 200,
        // Room for messages that the front end has not fetched yet: the product of the two bounds the memory
        // of a filter.
        max_segment_size: 1024 * 1024,
        max_segment_count: 8,
        ..RouterConfig::default()
    };
    let router = Router::new(0, config).spawn();
    let (mut sender, receiver, _) = LinkBuilder::new("front", router).build().ok()?;
    sender.subscribe(filter).ok()?;
    sender.subscribe(probe).ok()?;
    Some((sender, receiver))
}

/// Runs until the router is gone.
async fn run(
    handle: &RouterHandle,
    receiver: LinkRx,
    probe: &str,
    deliver: &(impl Fn(&str, Bytes) + Send + Sync + 'static),
) {
    let (arrived, mut arrivals) = mpsc::channel(256);
    let pump = tokio::spawn(pump(receiver, arrived));
    let (seen, last_seen) = watch::channel(0_u64);
    let mut sent = 0_u64;
    let mut beat = tokio::time::interval(PROBE_EVERY);
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some((topic, payload)) if topic == probe.as_bytes() => {
                    let number = payload.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default();
                    seen.send_replace(number);
                }
                Some((topic, payload)) => {
                    if let Ok(topic) = std::str::from_utf8(&topic) {
                        deliver(topic, payload);
                    }
                }
                None => break,
            },
            _ = beat.tick() => {
                if sent.saturating_sub(*last_seen.borrow()) >= PROBES_MISSED {
                    break;
                }
                sent += 1;
                handle.publish(probe.to_owned(), Bytes::copy_from_slice(&sent.to_be_bytes()));
            }
        }
    }
    pump.abort();
}

/// Moves deliveries out of the router's link; ends when the router does.
async fn pump(mut receiver: LinkRx, arrived: mpsc::Sender<(Bytes, Bytes)>) {
    while let Ok(notification) = receiver.next().await {
        let alive = match notification {
            Some(Notification::Forward(forward)) => {
                arrived.send((forward.publish.topic, forward.publish.payload)).await.is_ok()
            }
            // Without this the router delivers 200 messages and then nothing more.
            Some(Notification::Unschedule) => receiver.wake().await.is_ok(),
            _ => true,
        };
        if !alive {
            return;
        }
    }
}
