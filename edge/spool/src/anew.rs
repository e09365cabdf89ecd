//! An emptied database is begun anew. sled gives space back within its file and never gives the file back, and it keeps a table of
//! every page that ever was: after a week without a network, a box would hold the memory of that week for good.

use crate::error::SpoolError;
use crate::lane::LaneNumbers;
use crate::lanes::Lanes;
use crate::spool::Spool;
use crate::state::{Closed, State};
use crate::store::{Caught, catch_panic, close_quietly, replace};
use std::io::ErrorKind;
use std::path::PathBuf;

impl Spool {
    /// Begins the database anew if every record has been acknowledged; returns whether it has. Appends wait meanwhile.
    /// Worth it where the database [has outgrown](crate::SpoolStats::outgrown) what it holds.
    pub fn begin_anew(&self) -> Result<bool, SpoolError> {
        let mut state = self.lock();
        let State::Open(lanes) = &*state else { return Ok(false) };
        // Whoever waits for the disk waits for this database.
        if !self.commit.is_quiet() {
            return Ok(false);
        }
        match catch_panic(|| Ok(lanes.are_empty())) {
            Caught::Done(Ok(true)) => {}
            Caught::Done(_) => return Ok(false),
            Caught::Panicked => {
                self.close(&mut state, &SpoolError::Panicked);
                return Err(SpoolError::Panicked);
            }
        }
        let numbers = lanes.numbers();
        let begun = self.make(&numbers)?;
        let closed = Closed::new(numbers, "it is begun anew".to_owned());
        close_quietly(std::mem::replace(&mut *state, State::Closed(closed)));
        let replaced = replace(&begun, &self.config.path).map_err(SpoolError::Disk);
        let opened = self.open_lanes(&numbers, &|| {});
        self.finish_opening(&mut state, opened)?;
        replaced?;
        tracing::info!("the spool was empty and is begun anew");
        Ok(true)
    }

    /// Makes the new database. Its file is small, and the old one's space comes back right after: the reserve may go for it.
    fn make(&self, numbers: &LaneNumbers) -> Result<PathBuf, SpoolError> {
        match Lanes::make(&self.config.path, numbers) {
            Err(SpoolError::Disk(error)) if error.kind() == ErrorKind::StorageFull => {
                self.reserve.give_up();
                Lanes::make(&self.config.path, numbers)
            }
            made => made,
        }
    }
}
