//! The part that brings the releases which the node should hold. Metadata, connections and indexes live only while there is
//! something to be brought; between two rounds the part only waits.

mod alone;
mod report;
mod root;
mod source;
mod stick;

pub(crate) use source::hardware_fact;

use crate::desired::Wish;
use crate::shared::Shared;
use alone::Alone;
use noderr_link::LinkState;
use noderr_part::Backoff;
use noderr_protocol::release::{ReleaseName, ReleaseRefusal, Releases};
use noderr_update::{Round, Stage, store_in};
use report::{Reporter, Stages};
use source::By;
use std::sync::Arc;
use std::time::Duration;
use stick::{Port, Stick, offers};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(shared: Shared) {
    // At once, and not when there is something to bring: who gave the box its papers gives it its root too, and nobody later.
    if let Err(error) = root::given_root(&shared).await {
        tracing::error!("the root of releases is not kept yet: {error:#}");
    }
    let (data, now) = (shared.data.clone(), source::now(&shared));
    let spent = spawn_blocking(move || noderr_update::spent(data, now)).await.unwrap_or_default();
    shared.board.update(|status| status.releases_month_bytes = spent);
    // One for all wishes: a stick that hangs goes on hanging.
    let port = Arc::new(Port::new(&shared));
    let mut wishes = shared.desired.wishes::<Releases>();
    let mut wish = wishes.next().await;
    while let Some(current) = wish {
        wishes.taken(&current);
        let work = Arc::new(Work::new(&shared, current).await);
        let given_up = CancellationToken::new();
        // A part that is dropped leaves no thread behind that goes on bringing.
        let _dropped = given_up.clone().drop_guard();
        let bringing = keep_at_it(work.clone(), port.clone(), given_up.clone());
        tokio::pin!(bringing);
        wish = loop {
            tokio::select! {
                newer = wishes.next() => match newer {
                    // Another section of the document has changed: what comes goes on coming.
                    Some(newer) if newer.body == work.reporter.body() => {
                        wishes.taken(&newer);
                        work.alone.told(newer.version());
                        work.reporter.attach(newer);
                    }
                    newer => {
                        given_up.cancel();
                        break newer;
                    }
                },
                () = &mut bringing => return,
            }
        };
        // A disk that does not answer, or a stick, keeps nobody from what is wished next.
        if timeout(PATIENCE, bringing).await.is_err() {
            tracing::error!("the work on releases does not end; it is left to itself");
        }
    }
}

/// How long work that was given up may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a stick that is put in again waits after the one before: a loose contact costs no network.
const STICK_REST: Duration = Duration::from_secs(20);

/// What has come of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Somebody was asked, and nothing waits.
    Settled,
    /// To be tried again soon, whatever is held meanwhile.
    Open,
}

/// What is to be done about one wish.
struct Work {
    shared: Shared,
    reporter: Reporter,
    releases: Releases,
    alone: Alone,
}

/// Brings what is wished, tries again what could not be had, and looks now and then whether all is still as it was.
async fn keep_at_it(work: Arc<Work>, port: Arc<Port>, given_up: CancellationToken) {
    let mut soon = Backoff::new(Duration::from_secs(5), Duration::from_secs(900));
    let look_every = Duration::from_secs(work.shared.config.releases.look_every_s);
    let mut not_before = Instant::now();
    loop {
        let stick = port.stick().await;
        let (round, token, with) = (work.clone(), given_up.clone(), stick.clone());
        // Signatures, folders and a slow disk keep a thread of their own busy: the link and the watchdog have the other one.
        let round =
            spawn_blocking(move || Handle::current().block_on(token.run_until_cancelled(round.round(with))));
        let pause = match round.await {
            Ok(Some(Outcome::Settled)) => {
                soon.reset();
                jittered(look_every)
            }
            Ok(Some(Outcome::Open)) => soon.pause().min(look_every),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "a round over the releases has ended before its end");
                soon.pause()
            }
        };
        if wait(&work, &given_up, pause, port.another_is_put_in(stick.as_ref(), not_before)).await {
            not_before = Instant::now() + STICK_REST;
            soon.reset();
        }
        if given_up.is_cancelled() {
            return;
        }
    }
}

/// Waits for the next round: a pause, or less where there is a reason; returns whether that is another stick.
async fn wait(
    work: &Work,
    given_up: &CancellationToken,
    pause: Duration,
    another_stick: impl Future<Output = ()>,
) -> bool {
    let end = Instant::now() + pause;
    tokio::pin!(another_stick);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let pause = work.alone.pause(&work.shared, left);
        tokio::select! {
            () = given_up.cancelled() => return false,
            () = &mut another_stick => return true,
            // What the beacon or a stick has said ends with a session; without one, the time begins after which to ask.
            is_up = turns(work.shared.link.clone()) => if is_up && work.alone.has_heard() {
                return false;
            },
            () = tokio::time::sleep(pause) => return false,
        }
    }
}

/// Ends when a session begins, or ends; returns whether there is one.
async fn turns(mut link: watch::Receiver<LinkState>) -> bool {
    let is_up = |state: &LinkState| matches!(state, LinkState::Up { .. });
    let was_up = is_up(&link.borrow_and_update());
    let has_turned = link.wait_for(|state| is_up(state) != was_up).await.is_ok();
    if !has_turned {
        // Nobody looks after the link any more.
        std::future::pending::<()>().await;
    }
    !was_up
}

impl Work {
    async fn new(shared: &Shared, wish: Wish<Releases>) -> Self {
        let (releases, desired_version) = (wish.body.clone().unwrap_or_default(), wish.version());
        Self {
            shared: shared.clone(),
            reporter: Reporter::new(shared, wish),
            releases,
            alone: Alone::new(shared, desired_version).await,
        }
    }

    /// One round over everything that is wanted.
    async fn round(&self, stick: Option<Stick>) -> Outcome {
        let asked = self.alone.wanted(&self.shared, self.releases.tier).await;
        let mut wanted = asked.unwrap_or_else(|| self.told());
        if wanted.is_empty() && stick.is_none() {
            self.reporter.show(&Vec::new(), self.reporter.spent(), None);
            return Outcome::Settled;
        }
        let (mut round, by) =
            match source::begin(&self.shared, self.releases.tier, stick.as_ref(), &wanted).await {
                Ok(begun) => begun,
                Err(setback) => {
                    let stopped = Stage::stopped(setback);
                    let mut stages: Stages =
                        wanted.into_iter().map(|release| (release, stopped.clone())).collect();
                    self.hold_by_last_word(&mut stages, |_| true).await;
                    self.reporter.show(&stages, self.reporter.spent(), report::why(&stopped));
                    return Outcome::Open;
                }
            };
        if let Some(stick) = stick.filter(|_| by == By::Stick && self.alone.is_so(&self.shared)) {
            wanted = self.with_offers(&mut round, &stick, wanted).await;
        }
        let mut stages = looking(&wanted);
        self.bring_all(&mut round, &wanted, &mut stages).await;
        let waits = |stage: &Stage| matches!(stage, Stage::Waiting(_));
        if !stages.iter().any(|(_, stage)| waits(stage)) {
            return Outcome::Settled;
        }
        // While one came, nobody could be asked about another any more.
        self.hold_by_last_word(&mut stages, waits).await;
        self.reporter.show(&stages, self.reporter.spent(), None);
        Outcome::Open
    }

    /// Brings all that is wanted, and once more what requires something that has come after it.
    async fn bring_all(&self, round: &mut Round, wanted: &[ReleaseName], stages: &mut Stages) {
        let mut numbers: Vec<_> = (0..stages.len()).collect();
        while !numbers.is_empty() {
            let mut lacking = Vec::new();
            for number in &numbers {
                let release = &wanted[*number];
                let mut watcher = self.reporter.watch(stages, *number);
                if let Stage::Refused(refused) = round.bring(release, wanted, &mut watcher).await {
                    tracing::warn!(%release, why = %refused.why.name(), detail = &*refused.detail, "a release is not taken");
                    lacking.extend((refused.why == ReleaseRefusal::Requires).then_some(*number));
                }
            }
            // Once none of them can be helped, nothing changes any more.
            numbers = if lacking.len() < numbers.len() { lacking } else { Vec::new() };
        }
    }

    /// What cannot be asked about is held if the last word of the release keys says so.
    async fn hold_by_last_word(&self, stages: &mut Stages, is_asked: impl Fn(&Stage) -> bool) {
        let Some(mut word) = source::last_word(&self.shared, self.releases.tier).await else { return };
        for (release, stage) in stages.iter_mut().filter(|(_, stage)| is_asked(stage)) {
            if word.is_held(release).await {
                *stage = Stage::Held;
            }
        }
    }

    /// What the node should hold beside what a stick offers: an offer counts once it is held, and until then nothing that is
    /// wanted makes room for it.
    async fn with_offers(
        &self,
        round: &mut Round,
        stick: &Stick,
        mut wanted: Vec<ReleaseName>,
    ) -> Vec<ReleaseName> {
        let Some(beacon) = stick.beacon().await else { return wanted };
        if !round.names_beacon(&beacon) {
            tracing::warn!("what the stick offers is not what the control plane has signed");
            return wanted;
        }
        let held = store_in(&self.shared.data, self.shared.config.releases.store_limits()).stored();
        let held: Vec<_> = held.iter().map(|held| held.release().clone()).collect();
        let words = self.shared.config.releases.words();
        let offers = offers(&beacon, (self.releases.tier, &words), (&wanted, &held));
        for offered in offers {
            let both = [wanted.clone(), vec![offered.clone()]].concat();
            let mut stages = looking(&both);
            let mut watcher = self.reporter.watch(&mut stages, both.len() - 1);
            let stage = round.bring(&offered, &both, &mut watcher).await;
            if stage == Stage::Held {
                wanted.retain(|known| known.series != offered.series);
                wanted.push(offered);
                // After a start the box wishes for what the keys have vouched for: their word is kept before the wish.
                match round.learn(&wanted).await {
                    Ok(true) => self.alone.keep(&self.shared, &wanted).await,
                    Ok(false) => tracing::warn!("what a stick brought is not kept for the next start"),
                    Err(setback) => tracing::warn!(
                        why = setback.why(),
                        "what a stick brought is not kept for the next start"
                    ),
                }
            } else {
                tracing::warn!(release = %offered, ?stage, "what the stick offers is not taken");
            }
        }
        wanted
    }

    /// What the control plane has told this node to hold.
    fn told(&self) -> Vec<ReleaseName> {
        self.releases.wanted.iter().filter_map(|named| ReleaseName::try_from(named).ok()).collect()
    }
}

fn looking(wanted: &[ReleaseName]) -> Stages {
    wanted.iter().map(|release| (release.clone(), Stage::Looking)).collect()
}

/// Not all boxes in the same second.
fn jittered(pause: Duration) -> Duration {
    Backoff::new(pause, pause).pause()
}
