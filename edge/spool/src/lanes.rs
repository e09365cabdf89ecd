//! All lanes over one database: opening, the byte budget across the lanes, and the counters kept in the
//! database.

use crate::block::{BLOCK_BYTES, BLOCK_RECORDS};
use crate::commit::Numbers;
use crate::error::SpoolError;
use crate::lane::{LANES, LaneCounters, LaneNumbers, LaneTree};
use crate::store::{
    Caught, Flusher, Store, catch_panic, close_quietly, forget_snapshots, place_beside, put_in_place,
    read_through, remove_folder, set_aside,
};
use noderr_protocol::{Lane, Position};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The tree that holds the lanes' numbers.
const META: &str = "meta";
/// sled keeps about 11 bytes on disk for 5 bytes of value.
const DISK_FACTOR: (u64, u64) = (11, 5);

/// Where the spool is and how large it may grow.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// The folder of the database.
    pub path: PathBuf,
    /// The boot epoch: greater than that of every earlier start.
    pub epoch: u64,
    /// Bytes that the spool may take on disk.
    pub budget_bytes: u64,
    /// The time between two attempts to open a database that did not open.
    pub retry_every: Duration,
}

impl SpoolConfig {
    /// A configuration with a budget of 256 MiB, and half a minute between attempts.
    pub fn new(path: impl Into<PathBuf>, epoch: u64) -> Self {
        Self { path: path.into(), epoch, budget_bytes: 256 << 20, retry_every: Duration::from_secs(30) }
    }
}

pub(crate) struct Lanes {
    pub(crate) store: Store,
    /// By lane, as in [`Lane::ALL`].
    pub(crate) lanes: [LaneTree; LANES],
    meta: sled::Tree,
}

impl Lanes {
    /// Opens the database and reads all of it. A database that cannot be read is renamed, and a new one is
    /// begun: the box must start. (A full or unwritable disk is no reason to give up the records on it.)
    pub(crate) fn open(
        config: &SpoolConfig,
        known: &LaneNumbers,
        gets_on: &dyn Fn(),
    ) -> Result<(Self, Option<PathBuf>), SpoolError> {
        if !config.path.try_exists().map_err(SpoolError::Disk)? {
            // What is known from elsewhere to have been in a database, and not acknowledged, is missing in this one.
            let acknowledged =
                |numbers: &LaneCounters| LaneCounters { next: numbers.acknowledged + 1, ..*numbers };
            let begun = Self::make(&config.path, &known.each_ref().map(acknowledged))?;
            put_in_place(&begun, &config.path).map_err(SpoolError::Disk)?;
        }
        let opened = match Self::try_open(config, known, gets_on) {
            // sled's snapshot says what the log says, only sooner; one that was written halfway, when the disk failed or was
            // full, must not cost the log.
            Err(SpoolError::Database(why)) if forget_snapshots(&config.path).map_err(SpoolError::Disk)? => {
                tracing::warn!(%why, "the spool is opened by its log alone");
                Self::try_open(config, known, gets_on)
            }
            opened => opened,
        };
        match opened {
            Err(why @ (SpoolError::Database(_) | SpoolError::Panicked)) => {
                let aside = set_aside(&config.path).map_err(SpoolError::Disk)?;
                tracing::error!(%why, aside = %aside.display(), "the spool could not be read and was set aside");
                Ok((Self::try_open(config, known, gets_on)?, Some(aside)))
            }
            result => Ok((result?, None)),
        }
    }

    /// Makes a database beside the spool that holds numbers and nothing else, and is on the disk with all it needs; returns
    /// where it is.
    pub(crate) fn make(path: &Path, known: &LaneNumbers) -> Result<PathBuf, SpoolError> {
        let place = place_beside(path);
        remove_folder(&place).map_err(SpoolError::Disk)?;
        let made = Self::make_at(&place, known);
        if made.is_err()
            && let Err(error) = remove_folder(&place)
        {
            tracing::warn!(%error, "what is left of a spool that could not be made takes space");
        }
        made.map(|()| place)
    }

    fn make_at(place: &Path, known: &LaneNumbers) -> Result<(), SpoolError> {
        let store = ManuallyDrop::new(Store::open(place)?);
        let made = catch_panic(|| {
            let meta = store.db.open_tree(META)?;
            known.iter().try_for_each(|numbers| write_down(&meta, numbers))?;
            store.flusher().flush()
        });
        let Caught::Done(made) = made else { return Err(SpoolError::Panicked) };
        close_quietly(ManuallyDrop::into_inner(store));
        made
    }

    fn try_open(config: &SpoolConfig, known: &LaneNumbers, gets_on: &dyn Fn()) -> Result<Self, SpoolError> {
        read_through(&config.path, gets_on)?;
        let store = ManuallyDrop::new(Store::open(&config.path)?);
        gets_on();
        let read = catch_panic(|| {
            let meta = store.db.open_tree(META)?;
            let open = |known: &LaneCounters| {
                let next = remembered(&meta, "next", known.lane)?;
                let lost = remembered(&meta, "lost", known.lane)?.max(known.lost);
                let acknowledged = remembered(&meta, "acknowledged", known.lane)?.max(known.acknowledged);
                let tree = store.db.open_tree(known.lane.as_str())?;
                LaneTree::open(
                    tree,
                    config.epoch,
                    next,
                    LaneCounters { lost, acknowledged, ..*known },
                    gets_on,
                )
            };
            let [alert, result, telemetry] = known;
            let lanes = [open(alert)?, open(result)?, open(telemetry)?];
            Ok((meta, lanes))
        });
        match read {
            Caught::Done(read) => {
                let store = ManuallyDrop::into_inner(store);
                match read {
                    Ok((meta, lanes)) => Ok(Self { store, lanes, meta }),
                    Err(error) => {
                        close_quietly(store);
                        Err(error)
                    }
                }
            }
            // Only under another name can the folder be left to the lock.
            Caught::Panicked => Err(SpoolError::Panicked),
        }
    }

    pub(crate) fn numbers(&self) -> LaneNumbers {
        self.lanes.each_ref().map(|lane| lane.numbers)
    }

    /// The number after the last that was written, of each lane.
    pub(crate) fn written(&self) -> Numbers {
        self.lanes.each_ref().map(|lane| lane.numbers.written())
    }

    /// Whether every number that was given out is acknowledged, and nothing is left on the disk.
    pub(crate) fn are_empty(&self) -> bool {
        self.seem_empty() && self.lanes.iter().all(LaneTree::is_empty)
    }

    /// The same by the counters, without a look at the disk.
    pub(crate) fn seem_empty(&self) -> bool {
        self.lanes.iter().all(|lane| {
            lane.numbers.acknowledged.saturating_add(1) == lane.numbers.next && lane.held.bytes == 0
        })
    }

    pub(crate) fn flusher(&self) -> Flusher {
        self.store.flusher()
    }

    /// Counts the numbers that damage has made the database forget.
    pub(crate) fn account_for_forgotten(&mut self) {
        for lane in &mut self.lanes {
            if let Err(error) = lane.account_for_forgotten() {
                tracing::warn!(%error, "missing records are counted, but the gap cannot be written down");
            }
        }
    }

    /// Writes records down; they are not on the disk until they are flushed.
    pub(crate) fn append(
        &mut self,
        config: &SpoolConfig,
        lane: Lane,
        bodies: &[Vec<u8>],
    ) -> Result<(), SpoolError> {
        for block in blocks(bodies) {
            self.lane(lane).append(block)?;
        }
        self.keep_to_budget(config.budget_bytes)?;
        self.remember(lane)
    }

    pub(crate) fn acknowledge(&mut self, lane: Lane, through: Position) -> Result<u64, SpoolError> {
        // Done before the last block is deleted: an emptied tree forgets its numbers.
        self.remember(lane)?;
        let lost = self.lane(lane).numbers.lost;
        let gone = self.lane(lane).acknowledge(through)?;
        // An emptied lane has nothing else that says how far it was acknowledged.
        if self.lane(lane).numbers.lost != lost || self.lane(lane).held.bytes == 0 {
            self.remember(lane)?;
        }
        Ok(gone)
    }

    fn keep_to_budget(&mut self, budget_bytes: u64) -> Result<(), SpoolError> {
        let allowed = budget_bytes / DISK_FACTOR.0 * DISK_FACTOR.1;
        while self.lanes.iter().map(|lane| lane.held.bytes).sum::<u64>() > allowed {
            let mut dropped = None;
            for lane in self.lanes.iter_mut().rev() {
                if lane.drop_oldest()? {
                    dropped = Some(lane.numbers.lane);
                    break;
                }
            }
            match dropped {
                Some(lane) => self.remember(lane)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn remember(&mut self, lane: Lane) -> Result<(), SpoolError> {
        write_down(&self.meta, &self.lanes[lane as usize].numbers)
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut LaneTree {
        &mut self.lanes[lane as usize]
    }
}

/// Cuts records into blocks.
fn blocks(mut bodies: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = bodies.iter().take(BLOCK_RECORDS).take_while(|body| {
            bytes += body.len();
            bytes <= BLOCK_BYTES
        });
        let len = fits.count().max(1).min(bodies.len());
        let (block, rest) = bodies.split_at(len);
        bodies = rest;
        (!block.is_empty()).then_some(block)
    })
}

fn write_down(meta: &sled::Tree, numbers: &LaneCounters) -> Result<(), SpoolError> {
    let LaneCounters { lane, next, acknowledged, lost, .. } = *numbers;
    meta.insert(meta_key("acknowledged", lane), &acknowledged.to_be_bytes())?;
    meta.insert(meta_key("next", lane), &next.to_be_bytes())?;
    meta.insert(meta_key("lost", lane), &lost.to_be_bytes())?;
    Ok(())
}

fn remembered(meta: &sled::Tree, what: &str, lane: Lane) -> Result<u64, SpoolError> {
    let value = meta.get(meta_key(what, lane))?;
    Ok(value.and_then(|value| value.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
}

fn meta_key(what: &str, lane: Lane) -> String {
    format!("{what}/{lane}")
}
