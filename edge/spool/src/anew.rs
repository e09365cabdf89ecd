//! An emptied database is begun anew. sled gives space back within its file and never gives the file back, and it keeps a table of
//! every page that ever was: after a week without a network, a box would hold the memory of that week for good.

use crate::error::SpoolError;
use crate::lanes::Lanes;
use crate::spool::Spool;
use crate::state::{Closed, State};
use crate::store::{close_quietly, exchange};

impl Spool {
    /// Begins the database anew if every record has been acknowledged; returns whether it has. Appends wait meanwhile.
    /// Worth it where the database [has outgrown](crate::SpoolStats::outgrown) what it holds.
    pub fn begin_anew(&self) -> Result<bool, SpoolError> {
        let mut state = self.lock();
        let State::Open(lanes) = &*state else { return Ok(false) };
        // Whoever waits for a number to reach the disk waits for it with this database.
        if !lanes.are_empty() || self.commit.durable() != lanes.written() {
            return Ok(false);
        }
        let numbers = lanes.numbers();
        let begun = Lanes::make(&self.config.path, &numbers)?;
        let closed = Closed::new(numbers, "it is begun anew".to_owned());
        close_quietly(std::mem::replace(&mut *state, State::Closed(closed)));
        let exchanged = exchange(&begun, &self.config.path).map_err(SpoolError::Disk);
        let opened = self.open_lanes(&numbers, &|| {});
        self.finish_opening(&mut state, opened)?;
        exchanged?;
        tracing::info!("the spool was empty and is begun anew");
        Ok(true)
    }
}
