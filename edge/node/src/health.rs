//! Looks after the box: checks on a beat, alerts on change, heartbeats, the systemd watchdog.

use crate::alarm::Alarm;
use crate::shared::Shared;
use noderr_identity::NodeKeys;
use noderr_link::LinkState;
use noderr_part::{Disk, Pulse, SLOW_DISK};
use noderr_protocol::{AlertCode, Heartbeat, Text, Up};
use noderr_spool::TELEMETRY_STOPS_BELOW;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The time between two checks.
const BEAT: Duration = Duration::from_secs(1);
/// The time between two questions to the TPM: often enough to notice a failure, seldom enough to neither wear the TPM out nor keep
/// its library in memory.
const TPM_EVERY: Duration = Duration::from_secs(30);
/// With this much free again, a disk counts as no longer full.
const ROOM_AGAIN: u64 = 2 * TELEMETRY_STOPS_BELOW;
/// How far the box's own clock may be off before the node raises an alert.
const CLOCK_WRONG_MS: u64 = 60 * 60 * 1000;

/// What was wrong at one check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Failing {
    tpm: Option<String>,
    disk_low: bool,
    /// The file system does not say how full it is.
    disk_unknown: bool,
    clock_wrong: bool,
    /// Records that only a later build can read.
    foreign: u64,
    /// Records that damage on the disk has cost since the start.
    damaged: u64,
    /// The spool's database is closed.
    spool_closed: bool,
}

/// What may be said about the checks.
struct Alarms {
    tpm: Alarm,
    disk: Alarm,
    clock: Alarm,
    damage: Alarm,
    /// Damaged records that alerts have named.
    damage_said: u64,
}

impl Alarms {
    fn new() -> Self {
        let [tpm, disk, clock, damage] = [(); 4].map(|()| Alarm::new(Instant::now()));
        Self { tpm, disk, clock, damage, damage_said: 0 }
    }

    /// The alerts to raise now.
    fn look(&mut self, failing: &Failing, now: Instant) -> Vec<(AlertCode, String)> {
        let mut alerts = Vec::new();
        match self.tpm.look(failing.tpm.is_some(), now) {
            Some(true) => alerts.push((AlertCode::TpmUnreachable, failing.tpm.clone().unwrap_or_default())),
            Some(false) => alerts.push((AlertCode::TpmRecovered, "the TPM answers again".to_owned())),
            None => {}
        }
        match self.disk.look(failing.disk_low, now) {
            Some(true) => {
                let detail = "the disk is full; telemetry is dropped and counted".to_owned();
                alerts.push((AlertCode::DiskFull, detail));
            }
            Some(false) => alerts.push((AlertCode::DiskRecovered, "the disk has room again".to_owned())),
            None => {}
        }
        if self.clock.look(failing.clock_wrong, now) == Some(true) {
            let detail = "the box's own clock is off by more than an hour; the control plane's time is used";
            alerts.push((AlertCode::ClockWrong, detail.to_owned()));
        }
        if failing.damaged > self.damage_said && self.damage.may_say(now) {
            let more = failing.damaged - self.damage_said;
            let detail =
                format!("{more} records were damaged on the disk and are lost; the disk may be failing");
            alerts.push((AlertCode::RecordsDamaged, detail));
            self.damage_said = failing.damaged;
        }
        alerts
    }
}

pub(crate) async fn run(shared: Shared) {
    let heartbeat_every = Duration::from_secs(shared.config.link.heartbeat_every_s);
    let (mut alarms, mut disk_was_low) = (Alarms::new(), false);
    let mut last_heartbeat: Option<Instant> = None;
    let (tpm_sender, tpm) = watch::channel(None);
    let asker = tokio::spawn(ask_tpm(shared.keys.clone(), tpm_sender));
    let _asker = tokio_util::task::AbortOnDropHandle::new(asker);
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let _busy = shared.outbox.pulse.busy(SLOW_DISK);
        let (disk, spool) = (Disk::of(shared.data.root()).ok(), shared.outbox.spool.stats());
        let failing = Failing {
            tpm: tpm.borrow().clone(),
            disk_low: disk.is_some_and(|disk| is_low(disk.free, disk_was_low)),
            disk_unknown: disk.is_none(),
            clock_wrong: shared.clock.is_vouched()
                && shared.clock.system_offset_ms().unsigned_abs() > CLOCK_WRONG_MS,
            foreign: spool.foreign,
            damaged: spool.damaged,
            spool_closed: !spool.open,
        };
        disk_was_low = failing.disk_low;
        for (code, detail) in alarms.look(&failing, Instant::now()) {
            shared.outbox.alert(shared.clock.now_ms(), code, &detail).await;
        }
        let online = look_around(&shared, &failing);
        if online && last_heartbeat.is_none_or(|at| at.elapsed() >= heartbeat_every) {
            last_heartbeat = Some(Instant::now());
            heartbeat(&shared);
        }
    }
}

/// Looks at the link, the spool, the TPM and the disk, and writes the findings on the board; returns whether
/// the node is online.
fn look_around(shared: &Shared, failing: &Failing) -> bool {
    let link = shared.link.borrow().clone();
    let spool = shared.outbox.spool.stats();
    let disk = Disk::of(shared.data.root()).ok();
    let tpm = match &shared.keys {
        NodeKeys::Tpm(tpm) => tpm.stats(),
        NodeKeys::Software { .. } => noderr_identity::TpmStats::default(),
    };
    let online = matches!(link, LinkState::Up { .. });
    shared.board.update(|status| {
        status.online = online;
        status.doing = doing(&link);
        if let LinkState::Up { connects, round_trip } = link {
            status.connects = connects;
            status.round_trip_ms = round_trip.and_then(|trip| u64::try_from(trip.as_millis()).ok());
        }
        status.clock_vouched = shared.clock.is_vouched();
        status.clock_offset_ms = shared.clock.system_offset_ms();
        status.spool_records = spool.records;
        status.spool_bytes = spool.bytes;
        status.spool_disk_bytes = spool.disk_bytes;
        status.spool_lost = spool.lost;
        status.tpm_answered = tpm.answered;
        status.tpm_failed = tpm.failed;
        status.disk_free_kib = disk.map_or(0, |disk| disk.free / 1024);
        status.failing = failing.in_words();
    });
    online
}

fn doing(link: &LinkState) -> String {
    match link {
        LinkState::Up { .. } => "reporting".to_owned(),
        LinkState::TurnedAway => {
            "turned away: revoked, suspended, or the certificate is not on record".to_owned()
        }
        LinkState::Down(Some(why)) => format!("buffering: {why}"),
        LinkState::Down(None) => "connecting".to_owned(),
    }
}

fn heartbeat(shared: &Shared) {
    let status = shared.board.read();
    let failing: Vec<_> = status.failing.iter().take(16).map(|check| Text::truncated(check)).collect();
    let beat = Heartbeat {
        time: shared.clock.now_ms(),
        process_uptime_s: u32::try_from(status.uptime_s).unwrap_or(u32::MAX),
        failing: failing.try_into().unwrap_or_default(),
        backlog: status.spool_records,
        lost: status.spool_lost,
    };
    // A heartbeat that finds no room is dropped: the next heartbeat is newer.
    drop(shared.outgoing.try_send(Up::Heartbeat(beat)));
}

/// Tells systemd that the node gets things done, from the first moment on: enrolment may have to wait for days.
pub(crate) async fn feed_watchdog(pulse: Pulse) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        if !pulse.is_well(Instant::now()) {
            tracing::error!("work has not ended within its limit; the watchdog is not fed");
            continue;
        }
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
            tracing::debug!(%error, "systemd does not listen");
        }
    }
}

/// Whether a disk is too full: it takes more room to be well again than to fall ill.
const fn is_low(free: u64, was_low: bool) -> bool {
    free < if was_low { ROOM_AGAIN } else { TELEMETRY_STOPS_BELOW }
}

impl Failing {
    fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(why) = &self.tpm {
            words.push(format!("tpm: {why}; the box waits for it, and looks again by itself"));
        }
        if self.disk_low {
            words.push(format!(
                "disk: less than {} MiB free, telemetry is dropped and counted; free some space",
                TELEMETRY_STOPS_BELOW >> 20
            ));
        }
        if self.disk_unknown {
            words.push("disk: the file system does not say how full it is; look at the disk".to_owned());
        }
        if self.spool_closed {
            words.push(
                "spool: it cannot be opened, and what should be kept is counted as lost; look at the disk"
                    .to_owned(),
            );
        }
        if self.foreign > 0 {
            words.push(format!(
                "spool: {} records were written by a later build, and wait until it runs again",
                self.foreign
            ));
        }
        if self.clock_wrong {
            words.push("clock: off by more than an hour; set the box's clock".to_owned());
        }
        words
    }
}

/// Asks the TPM for a signature now and then: only a signature shows that the TPM would answer the next
/// handshake.
async fn ask_tpm(keys: NodeKeys, ailment: watch::Sender<Option<String>>) {
    let NodeKeys::Tpm(tpm) = keys else { return };
    loop {
        let asked = tpm.clone();
        let answer = tokio::task::spawn_blocking(move || asked.sign(b"noderr-health")).await;
        let why = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let next = Instant::now() + if why.is_some() { BEAT } else { TPM_EVERY };
        ailment.send_replace(why);
        // Whoever else asked in vain is a reason to look at once.
        let failed = tpm.stats().failed;
        while Instant::now() < next && tpm.stats().failed == failed {
            tokio::time::sleep(BEAT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_come_once_for_each_change() {
        let (mut alarms, mut now) = (Alarms::new(), Instant::now());
        let mut codes = |failing: &Failing| {
            now += Duration::from_secs(10);
            alarms.look(failing, now).into_iter().map(|(code, _)| code).collect::<Vec<_>>()
        };
        let well = Failing::default();
        let ill = Failing { tpm: Some("silent".to_owned()), disk_low: true, ..Failing::default() };
        assert_eq!(codes(&well), []);
        assert_eq!(codes(&ill), [AlertCode::TpmUnreachable, AlertCode::DiskFull]);
        assert_eq!(codes(&ill), []);
        assert_eq!(codes(&well), [AlertCode::TpmRecovered, AlertCode::DiskRecovered]);
        let scratched = Failing { damaged: 2, ..Failing::default() };
        assert_eq!(codes(&scratched), [AlertCode::RecordsDamaged]);
        assert_eq!(codes(&scratched), []);
    }

    #[test]
    fn a_disk_that_hovers_is_full_until_it_has_room_to_speak_of() {
        let mut low = false;
        let mut looks = Vec::new();
        for quarters in [9, 5, 3, 5, 3, 7, 9, 5] {
            low = is_low(quarters * (TELEMETRY_STOPS_BELOW / 4), low);
            looks.push(low);
        }
        assert_eq!(looks, [false, false, true, true, true, true, false, false]);
    }
}
