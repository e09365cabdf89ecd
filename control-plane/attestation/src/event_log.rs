//! The firmware's event log in the format of the TCG (PC Client Platform Firmware Profile, section 10): what was measured into
//! which register, one event after the other. The log proves nothing by itself: whoever holds it against a quote replays it.

use sha2::{Digest as _, Sha256};

const ALG_SHA256: u16 = 0x000b;
/// Tells the reader something, and is measured into no register.
const NO_ACTION: u32 = 3;
/// Far more events than a start of any machine has.
const MAX_EVENTS: usize = 16_384;
const REGISTERS: u32 = 24;

/// Why bytes are no event log that can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogRefusal {
    /// There is no log.
    #[error("the box has shown no event log")]
    Empty,
    /// Not the TCG's format, or cut off.
    #[error("the event log is not in the TCG's format, or ends in the middle of an event")]
    Malformed,
    /// An old firmware that measures with SHA-1 alone.
    #[error("the event log has no SHA-256 digests")]
    NoSha256,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The register.
    pub register: u8,
    /// The kind, as the TCG numbers it.
    pub kind: u32,
    /// What the register was extended with.
    pub digest: &'a [u8; 32],
    /// What the firmware says of it. Nothing vouches for that, except where the digest is that of these bytes.
    pub data: &'a [u8],
}

/// An event log, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    events: Vec<Event<'a>>,
    /// From where the TPM was started, which is what register 0 begins with.
    locality: u8,
}

impl<'a> EventLog<'a> {
    /// Reads a whole log.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LogRefusal> {
        if bytes.is_empty() {
            return Err(LogRefusal::Empty);
        }
        let mut reader = Little(bytes);
        let sizes = header(&mut reader).ok_or(LogRefusal::Malformed)??;
        let mut log = Self { events: Vec::new(), locality: 0 };
        while !reader.0.is_empty() {
            let (event, register) = event(&mut reader, &sizes).ok_or(LogRefusal::Malformed)?;
            if event.kind == NO_ACTION {
                let locality = event.data.strip_prefix(b"StartupLocality\0");
                log.locality = locality.and_then(|rest| rest.first().copied()).unwrap_or(log.locality);
            } else if register < REGISTERS {
                log.events.push(event);
            }
            if log.events.len() > MAX_EVENTS {
                return Err(LogRefusal::Malformed);
            }
        }
        Ok(log)
    }

    /// The events of one register.
    pub fn of(&self, register: u8) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(move |event| event.register == register)
    }

    /// The value that a register has after everything that the log says was measured into it.
    pub fn replay(&self, register: u8) -> [u8; 32] {
        let mut begin = [0; 32];
        if register == 0 {
            begin[31] = self.locality;
        }
        self.of(register).fold(begin, |value, event| {
            Sha256::new().chain_update(value).chain_update(event.digest).finalize().into()
        })
    }
}

/// The sizes of digests, by algorithm.
type Sizes = Vec<(u16, usize)>;

/// Reads the first event, which is in the format of TPM 1.2 and says which digests the others have.
fn header(reader: &mut Little<'_>) -> Option<Result<Sizes, LogRefusal>> {
    let (_register, kind, _sha1) = (reader.u32()?, reader.u32()?, reader.take(20)?);
    let len = reader.u32()? as usize;
    let mut data = Little(reader.take(len)?);
    if kind != NO_ACTION || data.take(16)? != b"Spec ID Event03\0" {
        return Some(Err(LogRefusal::NoSha256));
    }
    // Platform class, version, errata, size of an integer.
    data.take(4 + 4)?;
    let algorithms = data.u32()?.min(16);
    let sizes: Option<Sizes> =
        (0..algorithms).map(|_| Some((data.u16()?, usize::from(data.u16()?)))).collect();
    let sizes = sizes?;
    Some(if sizes.contains(&(ALG_SHA256, 32)) { Ok(sizes) } else { Err(LogRefusal::NoSha256) })
}

fn event<'a>(reader: &mut Little<'a>, sizes: &Sizes) -> Option<(Event<'a>, u32)> {
    let (register, kind, digests) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let mut sha256 = None;
    for _ in 0..digests {
        let algorithm = reader.u16()?;
        let size = sizes.iter().find(|(known, _)| *known == algorithm)?.1;
        let digest = reader.take(size)?;
        if algorithm == ALG_SHA256 {
            sha256 = digest.try_into().ok();
        }
    }
    let len = reader.u32()? as usize;
    let data = reader.take(len)?;
    let event = Event { register: register.try_into().unwrap_or(u8::MAX), kind, digest: sha256?, data };
    Some((event, register))
}

/// Reads little-endian numbers and never past the end.
pub(crate) struct Little<'a>(&'a [u8]);

impl<'a> Little<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

impl Event<'_> {
    /// Whether `data` is what was measured. It often is not: for a file that was started, the digest is the file's, and the name
    /// beside it is a claim of the box.
    pub fn is_measured(&self) -> bool {
        Sha256::digest(self.data)[..] == self.digest[..]
    }
}

/// Writes a log as a firmware does, for rigs and tests: register, kind, digest and data of each event.
pub fn write_event_log(events: &[(u8, u32, [u8; 32], &[u8])]) -> Vec<u8> {
    let algorithms = [&1_u32.to_le_bytes()[..], &ALG_SHA256.to_le_bytes(), &32_u16.to_le_bytes()].concat();
    let spec = [b"Spec ID Event03\0", &[0; 8][..], &algorithms, &[0]].concat();
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut log = [&[0; 4][..], &NO_ACTION.to_le_bytes(), &[0; 20], &len(&spec), &spec].concat();
    for (register, kind, digest, data) in events {
        log.extend(u32::from(*register).to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend(ALG_SHA256.to_le_bytes());
        log.extend(digest);
        log.extend(len(data));
        log.extend(*data);
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measured(value: [u8; 32], digest: [u8; 32]) -> [u8; 32] {
        Sha256::new().chain_update(value).chain_update(digest).finalize().into()
    }

    #[test]
    fn a_replay_leads_to_what_the_tpm_has_after_the_same_measurements() {
        let locality = [&b"StartupLocality\0"[..], &[3]].concat();
        let bytes = write_event_log(&[
            (0, NO_ACTION, [9; 32], &locality),
            (0, 8, [1; 32], b"firmware\0"),
            (4, 5, [2; 32], b"Calling EFI Application from Boot Option"),
            (0, 4, [3; 32], &[0; 4]),
        ]);
        let log = EventLog::parse(&bytes).unwrap();
        let mut begin = [0; 32];
        begin[31] = 3;
        assert_eq!(log.replay(0), measured(measured(begin, [1; 32]), [3; 32]));
        assert_eq!(log.replay(4), measured([0; 32], [2; 32]));
        assert_eq!(log.replay(5), [0; 32]);
        let shown: Vec<_> = log.of(0).map(|event| (event.kind_name(), event.about())).collect();
        assert_eq!(
            shown,
            [("S_CRTM_VERSION".to_owned(), Some("firmware".to_owned())), ("SEPARATOR".to_owned(), None)]
        );
    }

    #[test]
    fn files_and_variables_are_named() {
        let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let file = wide("\\EFI\\BOOT\\BOOTX64.EFI");
        let node = [&[4, 4][..], &u16::try_from(file.len() + 4).unwrap().to_le_bytes(), &file].concat();
        let path = [&node[..], &[0x7f, 0xff, 4, 0]].concat();
        let image = [&[0; 24][..], &(path.len() as u64).to_le_bytes(), &path].concat();
        let name = wide("SecureBoot");
        let name = &name[..name.len() - 2];
        let variable =
            [&[7; 16][..], &(name.len() as u64 / 2).to_le_bytes(), &1_u64.to_le_bytes(), name, &[1]].concat();
        let bytes =
            write_event_log(&[(4, 0x8000_0003, [1; 32], &image), (7, 0x8000_0001, [2; 32], &variable)]);
        let log = EventLog::parse(&bytes).unwrap();
        assert_eq!(log.of(4).next().unwrap().about().as_deref(), Some("\\EFI\\BOOT\\BOOTX64.EFI"));
        assert_eq!(log.of(7).next().unwrap().about().as_deref(), Some("SecureBoot"));
        assert!(!log.of(7).next().unwrap().is_measured());
        let digest = Sha256::digest(&variable).into();
        let bytes = write_event_log(&[(7, 0x8000_0001, digest, &variable)]);
        assert!(EventLog::parse(&bytes).unwrap().of(7).next().unwrap().is_measured());
    }

    #[test]
    fn a_log_that_ends_in_the_middle_of_an_event_is_refused() {
        let bytes = write_event_log(&[(4, 5, [2; 32], b"some event")]);
        let header = write_event_log(&[]).len();
        for end in 1..bytes.len() {
            assert_eq!(EventLog::parse(&bytes[..end]).is_ok(), end == header, "{end} of {}", bytes.len());
        }
        assert_eq!(EventLog::parse(b""), Err(LogRefusal::Empty));
    }

    proptest! {
        /// Whatever a box sends is read or refused.
        #[test]
        fn no_bytes_make_it_panic(
            noise in prop::collection::vec(any::<u8>(), 0..300), at in 0..400_usize, with in any::<u8>()
        ) {
            let mut bytes = write_event_log(&[(4, 0x8000_0003, [2; 32], &noise), (7, 0x8000_0001, [2; 32], &noise)]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = with;
            }
            for bytes in [&noise, &bytes] {
                if let Ok(log) = EventLog::parse(bytes) {
                    for event in (0..=u8::MAX).flat_map(|register| log.of(register)) {
                        drop((event.kind_name(), event.about()));
                    }
                }
            }
        }
    }
}
