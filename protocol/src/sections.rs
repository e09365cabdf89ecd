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
    /// What the section is about. A number is never given a second meaning.
    pub kind: u16,
    /// A version byte and a value, in the format of the kind.
    pub body: Blob<MAX_SECTION>,
}

/// The body of a section of one kind. On the wire the body is a version byte and the value in postcard, and
/// nothing behind the value.
pub trait SectionBody: Serialize + DeserializeOwned {
    /// The number of the kind.
    const KIND: u16;
    /// The version that is written. A change of the type is a new version; readers know every version ever shipped.
    const VERSION: u8;

    /// What a node says of it in its hello.
    const KNOWN: KnownSection = KnownSection { kind: Self::KIND, version: Self::VERSION };

    /// Encodes the value as a section.
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

/// What the node should be. A node that was away for a month needs only the newest document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DesiredState {
    /// Grows with every change; an older document is ignored.
    pub version: u64,
    /// The sections, one for each subject of the document.
    pub sections: List<Section, 32>,
}

/// What the node has made of its desired state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActualState {
    /// The version of the desired state that this document answers.
    pub desired_version: u64,
    /// One report for each section of the desired state.
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
    /// The kind of the section.
    pub kind: u16,
    /// How far the node is with the section.
    pub phase: Phase,
    /// What is in force now, in the format of the kind; empty if the kind has nothing to show.
    pub body: Blob<MAX_SECTION>,
    /// What went wrong, for people.
    pub error: Option<Text<256>>,
}

open_enum! {
    /// How far a section is.
    Phase, "phase" {
        /// The section is in force.
        Applied = 0, "applied";
        /// The node is working on the section.
        Working = 1, "working";
        /// The section could not be applied; the state before it is still in force.
        Failed = 2, "failed";
        /// The node does not know this kind of section, or not this version of the kind.
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

/// Why the node is kept out of work. Sent only while it is; the base section pauses the node meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The reason, for people.
    pub why: Text<256>,
}

impl SectionBody for Quarantine {
    const KIND: u16 = 2;
    const VERSION: u8 = 1;
}

impl DesiredState {
    /// The body of the section of this kind, if there is one.
    pub fn find(&self, kind: u16) -> Option<&[u8]> {
        self.sections.iter().find(|section| section.kind == kind).map(|section| &*section.body)
    }
}
