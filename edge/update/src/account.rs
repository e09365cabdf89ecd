//! What releases have cost in this month: written down before it is spent, so that a box that is killed over and over does
//! not spend more than it may.

use noderr_part::{Document, DocumentError, Folder};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes that are written down as spent before they are.
const AT_ONCE: u64 = 4 << 20;

/// The bytes of a month.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Month {
    /// Such as `2026-11`.
    month: String,
    bytes: u64,
}

impl Document for Month {
    const FILE: &str = "releases-month.json";
}

/// The account of a box.
pub(crate) struct Account {
    data: Arc<Folder>,
    month: Month,
    /// Bytes of the meter that are written down.
    covered: u64,
}

fn name_of(now: SystemTime) -> String {
    let date = jiff::Timestamp::try_from(now).unwrap_or_default().to_string();
    date.chars().take("2026-11".len()).collect()
}

impl Account {
    /// The account as it was written down last. It counts what a meter counts from now on.
    pub(crate) fn open(data: Arc<Folder>, now: SystemTime) -> Self {
        let mut account = Self { month: data.read_or_default(), data, covered: 0 };
        account.turn(now);
        account
    }

    /// A month begins with nothing spent. A clock that goes back takes along what was spent, and stays in no month to come.
    fn turn(&mut self, now: SystemTime) {
        let name = name_of(now);
        if name > self.month.month {
            self.month.bytes = 0;
        }
        self.month.month = name;
    }

    /// Bytes that were spent in this month, up to where a meter stands.
    pub(crate) const fn spent_at(&self, meter: u64) -> u64 {
        self.month.bytes.saturating_sub(self.covered.saturating_sub(meter))
    }

    /// Bytes that are written down as spent in this month.
    #[cfg(test)]
    pub(crate) const fn spent(&self) -> u64 {
        self.month.bytes
    }

    /// Makes sure that a meter may go on to `bytes`, as far as the account is concerned.
    pub(crate) async fn cover(&mut self, bytes: u64, now: SystemTime) -> Result<(), DocumentError> {
        self.turn(now);
        if bytes <= self.covered {
            return Ok(());
        }
        // Some at once: every time is a write to a disk that wears out.
        let bytes = bytes + AT_ONCE;
        self.set(self.month.bytes + (bytes - self.covered)).await?;
        self.covered = bytes;
        Ok(())
    }

    /// Gives back what was covered and not spent.
    pub(crate) async fn settle(&mut self, bytes: u64) -> Result<(), DocumentError> {
        let over = self.covered.saturating_sub(bytes);
        if over > 0 {
            self.set(self.month.bytes.saturating_sub(over)).await?;
            self.covered = bytes;
        }
        Ok(())
    }

    async fn set(&mut self, bytes: u64) -> Result<(), DocumentError> {
        let month = Month { bytes, ..self.month.clone() };
        self.data.write_on_disk(month.clone()).await?;
        self.month = month;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[tokio::test]
    async fn what_is_spent_was_written_down_and_a_new_month_begins_with_nothing() {
        let place = tempfile::tempdir().unwrap();
        let data = Arc::new(Folder::open(place.path()).unwrap());
        let november = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let mut account = Account::open(data.clone(), november);
        account.cover(5000, november).await.unwrap();
        assert_eq!(Account::open(data.clone(), november).spent(), 5000 + AT_ONCE, "after a kill");
        account.cover(4000, november).await.unwrap();
        account.settle(3000).await.unwrap();
        assert_eq!(Account::open(data.clone(), november).spent(), 3000);
        account.cover(3100, november).await.unwrap();
        account.settle(3100).await.unwrap();
        assert_eq!(account.spent(), 3100);
        let before = november - Duration::from_secs(40 * 86_400);
        assert_eq!(Account::open(data.clone(), before).spent(), 3100, "a clock that goes back");
        assert_eq!(Account::open(data.clone(), november + Duration::from_secs(40 * 86_400)).spent(), 0);
        // A clock that was years ahead leaves no year behind in which nothing may be spent.
        let mut account = Account::open(data.clone(), november + Duration::from_secs(4000 * 86_400));
        account.cover(9000, november + Duration::from_secs(4000 * 86_400)).await.unwrap();
        let mut account = Account::open(data.clone(), november);
        account.cover(1, november).await.unwrap();
        assert_eq!(Account::open(data, november + Duration::from_secs(40 * 86_400)).spent(), 0);
    }
}
