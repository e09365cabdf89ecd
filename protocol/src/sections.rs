//! Desired and actual state: numbered documents of sections. Each section's body is a type of the crate it concerns; a
//! reader that does not know a section says so, and applies the others.

use crate::envelope::{DecodeError, EncodeError, MAX_ENVELOPE, body};
use crate::open::open_enum;
use crate::{Blob, List, Text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest body of one section.
pub const MAX_SECTION: usize = 8 * 1024;

/// What the bodies of one actual state may come to: room is left in the envelope for 32 errors of 256 bytes.
const MAX_BODIES: usize = MAX_ENVELOPE - 16 * 1024;

/// A kind of section that a node reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSection {
    /// Which kind.
    pub kind: u16,
    /// The newest version of its body that the node reads; the node reads every older one too.
    pub version: u8,
}

/// One section of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// What it is about. A number is never given a second meaning.
    pub kind: u16,
    /// What it says, as the kind has it: a version, and a body.
    pub body: Blob<MAX_SECTION>,
}

/// The body of a section of one kind. On the wire it is a version byte and the value in postcard, nothing behind it.
pub trait SectionBody: Serialize + DeserializeOwned {
    /// The number of its kind.
    const KIND: u16;
    /// The version that is written. A change of the type is a new version; readers know every version ever shipped.
    const VERSION: u8;

    /// What a node says of it in its hello.
    const KNOWN: KnownSection = KnownSection { kind: Self::KIND, version: Self::VERSION };

    /// As a section.
    fn section(&self) -> Result<Section, EncodeError> {
        let bytes = postcard::to_extend(self, vec![Self::VERSION])
            .map_err(|error| EncodeError::Serialise(error.to_string()))?;
        let len = bytes.len();
        let body = bytes.try_into().map_err(|_| EncodeError::TooLarge(len))?;
        Ok(Section { kind: Self::KIND, body })
    }

    /// Reads a body that was written as version `version`.
    fn read(version: u8, bytes: &[u8]) -> Result<Self, DecodeError> {
        if version == Self::VERSION { body(bytes) } else { Err(DecodeError::UnknownVersion(version)) }
    }

    /// Reads the body of a section of this kind.
    fn of(section: &[u8]) -> Result<Self, DecodeError> {
        let (version, bytes) = section.split_first().ok_or(DecodeError::Truncated)?;
        Self::read(*version, bytes)
    }
}

/// What the node should be. A node that was away for a month needs only the newest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DesiredState {
    /// Grows with every change; an older document is ignored.
    pub version: u64,
    /// One for each thing that there is something to say about.
    pub sections: List<Section, 32>,
}

/// What the node has made of its desired state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActualState {
    /// The version of the document that this is the answer to.
    pub desired_version: u64,
    /// One for each section of that document.
    pub sections: List<SectionReport, 32>,
}

impl ActualState {
    /// Makes it fit into one message: bodies for which there is no room are left out, phases and errors never are.
    #[must_use]
    pub fn fitted(self) -> Self {
        let mut room = MAX_BODIES;
        let sections = self.sections.map(|report| {
            let left = room.checked_sub(report.body.len());
            room = left.unwrap_or(room);
            if left.is_some() { report } else { SectionReport { body: Blob::default(), ..report } }
        });
        Self { sections, ..self }
    }
}

/// What became of one section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionReport {
    /// Which.
    pub kind: u16,
    /// How far it is.
    pub phase: Phase,
    /// What is in force now, as the kind has it; empty if the kind has nothing to show.
    pub body: Blob<MAX_SECTION>,
    /// What went wrong, for people.
    pub error: Option<Text<256>>,
}

open_enum! {
    /// How far a section is.
    Phase, "phase" {
        /// It is in force.
        Applied = 0, "applied";
        /// It is being worked on.
        Working = 1, "working";
        /// It could not be applied; what was before is in force.
        Failed = 2, "failed";
        /// This node does not know this kind, or not this version of it.
        Unsupported = 3, "unsupported";
    }
}

/// What every node is told, whatever else it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Take no work, stay connected.
    pub paused: bool,
    /// Seconds between telemetry samples.
    pub sample_every_s: u16,
}

impl SectionBody for Base {
    const KIND: u16 = 1;
    const VERSION: u8 = 1;
}

impl DesiredState {
    /// The body of the section of this kind, if there is one.
    pub fn find(&self, kind: u16) -> Option<&[u8]> {
        self.sections.iter().find(|section| section.kind == kind).map(|section| &*section.body)
    }
}
