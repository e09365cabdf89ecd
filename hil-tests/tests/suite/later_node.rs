//! A node that is newer than its control plane: the real link and spool against a broker behind which nobody can read one
//! of the lanes.

use crate::SOON;
use noderr_broker::{Broker as _, EmbeddedBroker, IntakeQueue, Rates, UpEvent};
use noderr_hil::{bare_broker, hello, papers_for, until};
use noderr_identity::{LastSeen, NodeKeys, Papers, SoftwareKey, TrustedClock};
use noderr_link::{Link, LinkConfig, LinkHandles, LinkState, SpoolSignal};
use noderr_protocol::{
    BatchOutcome, Down, HighWaterMarks, Lane, LaneMark, LaneState, List, Message as _, Position, Topics, Up,
    Welcome,
};
use noderr_spool::{Spool, SpoolConfig};
use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// Takes alerts, cannot read telemetry, and counts what it hears.
#[derive(Default)]
struct OldPlane {
    hellos: AtomicU32,
    alerts: AtomicU32,
    telemetry: AtomicU32,
}

impl OldPlane {
    async fn serve(self: Arc<Self>, broker: Arc<EmbeddedBroker>, mut events: IntakeQueue) {
        let mut through: BTreeMap<Lane, Position> =
            Lane::ALL.into_iter().map(|lane| (lane, Position { epoch: 0, seq: 0 })).collect();
        while let Some(event) = events.recv().await {
            let UpEvent::Message(message) = event else { continue };
            let answer = match Up::decode(&message.payload) {
                Ok(Up::Hello(_)) => {
                    self.hellos.fetch_add(1, Ordering::SeqCst);
                    Down::Welcome(Welcome { speaks: 1, facts: List::default(), marks: marks(&through) })
                }
                Ok(Up::Records(batch)) => self.answer(&mut through, &batch),
                _ => continue,
            };
            _ = broker.send(&message.node, &answer).await;
        }
    }

    fn answer(&self, through: &mut BTreeMap<Lane, Position>, batch: &noderr_protocol::RecordBatch) -> Down {
        let lane = batch.lane.known().unwrap_or(Lane::Telemetry);
        let outcome = if lane == Lane::Telemetry {
            self.telemetry.fetch_add(1, Ordering::SeqCst);
            BatchOutcome::Unreadable
        } else {
            self.alerts.fetch_add(1, Ordering::SeqCst);
            through.extend(batch.entries.last().map(|entry| (lane, entry.last())));
            BatchOutcome::Taken
        };
        let mark = marks(&BTreeMap::from([(lane, through[&lane])]));
        Down::HighWaterMarks(HighWaterMarks { marks: mark, outcome })
    }
}

fn marks(through: &BTreeMap<Lane, Position>) -> List<LaneMark, 8> {
    let mark = |(lane, through): (&Lane, &Position)| LaneMark { lane: lane.tag(), through: *through };
    through.iter().map(mark).collect::<Vec<_>>().try_into().unwrap_or_default()
}

/// The ends of a running link that a test holds.
struct Running {
    spool: Arc<Spool>,
    signal: SpoolSignal,
    state: watch::Receiver<LinkState>,
    _held: Box<dyn Any + Send>,
    _link: AbortOnDropHandle<()>,
}

fn link(folder: &Path, keys: NodeKeys, papers: Papers) -> anyhow::Result<Running> {
    let spool = Arc::new(Spool::open(SpoolConfig::new(folder.join("spool"), 1))?);
    let ((outgoing, outgoing_end), (incoming, incoming_end)) = (mpsc::channel(8), mpsc::channel(8));
    let (actual, actual_end) = watch::channel(None);
    let (state, shown) = watch::channel(LinkState::Down(None));
    let signal = SpoolSignal::default();
    let papers = watch::Sender::new(Arc::new(papers));
    let handles = LinkHandles {
        papers: papers.subscribe(),
        outgoing: outgoing_end,
        incoming,
        actual: actual_end,
        state,
        signal: signal.clone(),
    };
    let config = LinkConfig {
        broker: None,
        topics: Topics::default(),
        keys,
        clock: TrustedClock::new(LastSeen::default(), Duration::from_secs(3600)),
        pauses: (Duration::from_millis(100), Duration::from_secs(1)),
    };
    let hello = |lanes: &[LaneState]| noderr_protocol::Hello {
        lanes: lanes.to_vec().try_into().unwrap_or_default(),
        ..hello(1)
    };
    let mut link = Link::new(config, spool.clone(), handles, hello);
    let running = AbortOnDropHandle::new(tokio::spawn(async move { link.run().await }));
    Ok(Running {
        spool,
        signal,
        state: shown,
        _held: Box::new((outgoing, incoming_end, actual, papers)),
        _link: running,
    })
}

impl Running {
    async fn append(&self, lane: Lane, count: usize) -> anyhow::Result<()> {
        let spool = self.spool.clone();
        tokio::task::spawn_blocking(move || spool.append(lane, &vec![vec![1, 0x66, 5]; count])).await??;
        self.signal.notify_one();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_cannot_be_read_keeps_its_records_and_costs_neither_session_nor_other_lanes()
-> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("authority");
    std::fs::create_dir(&authority)?;
    let (broker, events) = bare_broker(&authority, Rates::default()).await?;
    let broker = Arc::new(broker);
    let plane = Arc::new(OldPlane::default());
    let serving = AbortOnDropHandle::new(tokio::spawn(plane.clone().serve(broker.clone(), events)));
    let key = |name: &str| SoftwareKey::open_or_create(&folder.path().join(name));
    let keys = NodeKeys::Software { tls: key("software.key")?, results: key("results.key")? };
    let papers = papers_for(&authority, &keys, broker.address())?;
    let link = link(folder.path(), keys, papers)?;

    link.append(Lane::Telemetry, 500).await?;
    until("telemetry to be refused", SOON, || async {
        Ok((plane.telemetry.load(Ordering::SeqCst) > 0).then_some(()))
    })
    .await?;
    // Alerts go on arriving, and the spool forgets those alone.
    for _ in 0..20 {
        link.append(Lane::Alert, 1).await?;
    }
    until("the alerts to be acknowledged", SOON, || async {
        Ok((link.spool.stats().records == 500).then_some(()))
    })
    .await?;
    let refused = plane.telemetry.load(Ordering::SeqCst);
    link.append(Lane::Telemetry, 10).await?;
    link.append(Lane::Alert, 1).await?;
    until("the last alert to be acknowledged", SOON, || async {
        Ok((link.spool.stats().records == 510).then_some(()))
    })
    .await?;
    assert!(refused <= 16, "what was under way when the first refusal came: {refused}");
    assert_eq!(plane.telemetry.load(Ordering::SeqCst), refused, "the lane that waits is sent again at once");
    assert_eq!(plane.hellos.load(Ordering::SeqCst), 1, "the session was given up");
    let state = link.state.borrow().clone();
    assert!(matches!(state, LinkState::Up { connects: 1, .. }), "{state:?}");
    drop(serving);
    broker.stop().await;
    Ok(())
}
