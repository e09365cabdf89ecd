//! What releases may cost this box, and what they have cost by now: the allowance, the account of the month and the meter of the
//! network together.

use crate::account::Account;
use crate::fetch::Meter;
use crate::policy::{Allowance, allows, allows_of};
use crate::setback::Setback;
use crate::settings::Clock;
use noderr_part::Folder;
use noderr_protocol::release::ReleaseRefusal;
use std::sync::Arc;
use std::time::SystemTime;

/// What a request and the beginning of its answer take, and what a connection does.
const REQUEST: u64 = 600;
const CONNECTION: u64 = 6000;
/// What asking for metadata may cost at most, which must be left of the month.
const METADATA: u64 = 100_000;
/// Bytes of the archive that one byte of TLS goes with.
const TLS: u64 = 500;

pub(crate) struct Purse {
    allowance: Allowance,
    account: Account,
    meter: Meter,
    clock: Clock,
}

impl Purse {
    pub(crate) fn open(data: Arc<Folder>, allowance: Allowance, meter: Meter, clock: Clock) -> Self {
        let account = Account::open(data, clock());
        Self { allowance, account, meter, clock }
    }

    /// Bytes that have gone over the network since the purse was opened.
    pub(crate) fn come(&self) -> u64 {
        self.meter.bytes()
    }

    /// What releases have cost in this month.
    pub(crate) fn spent(&self) -> u64 {
        self.account.spent_at(self.come())
    }

    /// Whether the newest metadata may be asked for.
    pub(crate) fn allows_asking(&self) -> Result<(), Setback> {
        let asking = |_| {
            let detail = format!(
                "{} bytes have come in this month: not enough is left to ask what is released (releases.month_mib)",
                self.spent()
            );
            Setback::refused(ReleaseRefusal::Budget, detail)
        };
        self.allows(METADATA).map_err(asking)
    }

    fn allows(&self, bytes: u64) -> Result<(), Setback> {
        allows(&self.allowance, self.spent(), bytes)
    }

    /// Whether so many bytes may be spent on an archive of `whole` bytes.
    pub(crate) fn allows_of(&self, bytes: u64, whole: u64) -> Result<(), Setback> {
        allows_of(&self.allowance, bytes, whole).and_then(|()| self.allows(bytes))
    }

    /// Makes sure that one request for so many bytes may be made, and is written down.
    pub(crate) async fn cover(&mut self, bytes: u64) -> Result<(), Setback> {
        let bytes = bytes + REQUEST;
        self.allows(bytes)?;
        let upto = self.come() + bytes;
        let covered = self.account.cover(upto, (self.clock)()).await;
        covered.map_err(|error| Setback::Passing(error.to_string()))
    }

    /// Writes down what has come beside transfers, and gives back what was written down and not spent.
    pub(crate) async fn settle(&mut self) {
        let bytes = self.come();
        let settled = match self.account.cover(bytes, (self.clock)()).await {
            Ok(()) => self.account.settle(bytes).await,
            failed => failed,
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "what releases cost in this month cannot be written down");
        }
    }
}

/// What releases have cost in this month, as it is written down.
pub fn spent(data: Arc<Folder>, now: SystemTime) -> u64 {
    Account::open(data, now).spent_at(0)
}

/// What ranges of so many bytes cost over the network.
pub(crate) fn cost_of(requests: usize, bytes: u64) -> u64 {
    bytes + bytes / TLS + REQUEST * requests as u64 + CONNECTION
}
