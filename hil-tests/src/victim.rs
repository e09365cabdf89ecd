//! A process that writes until it is killed, and says of each thing that it was told is on the disk. For tests that cut the
//! power of that disk and look what is left.

use noderr_part::{Document, Folder};
use noderr_protocol::{Lane, MAX_RECORD};
use noderr_spool::{Appended, Spool, SpoolConfig};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// What a record holds: a sample's bytes, or nearly all that a record may have, which makes the database keep it differently.
const SMALL: usize = 200;
const LARGE: usize = MAX_RECORD - 200;

/// Appends to all lanes at once; each record holds a number, counted on from `first`, and the number is printed when the
/// record is kept.
pub fn append(folder: &Path, epoch: u64, first: u64) -> anyhow::Result<()> {
    let spool = Arc::new(Spool::open(SpoolConfig::new(folder.join("spool"), epoch))?);
    let writers = Lane::ALL.map(|lane| {
        let spool = spool.clone();
        std::thread::spawn(move || {
            for number in first.. {
                let size = if lane == Lane::Result { LARGE } else { SMALL };
                let body = [&number.to_be_bytes()[..], &vec![7; size]].concat();
                match spool.append(lane, &[body]) {
                    Ok(Appended::Kept) => say(&format!("{lane} {number}")),
                    other => return say(&format!("failed {other:?}")),
                }
            }
        })
    });
    for writer in writers {
        writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
    }
    Ok(())
}

/// A document that is written over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How often it was written.
    pub count: u64,
}

impl Document for Count {
    const FILE: &str = "count.json";
}

/// Writes a document with growing numbers; each number is printed when its document is written.
pub fn write(folder: &Path, first: u64) -> anyhow::Result<()> {
    let folder = Folder::open(folder)?;
    for count in first.. {
        folder.write(&Count { count })?;
        say(&count.to_string());
    }
    Ok(())
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: the test has ended.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::abort();
    }
}
