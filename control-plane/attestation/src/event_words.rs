//! What an event of the firmware's log says, in words.

use crate::event_log::{Event, Little};

impl Event<'_> {
    /// The kind by the TCG's name, without `EV_`.
    pub fn kind_name(&self) -> String {
        let known = KINDS.iter().find(|(kind, _)| *kind == self.kind);
        known.map_or_else(|| format!("{:#x}", self.kind), |(_, name)| (*name).to_owned())
    }

    /// What was measured, in words, as far as the firmware says: the file that was started, the variable that was read, a
    /// text. Whoever shows it to people must expect any characters.
    pub fn about(&self) -> Option<String> {
        match self.kind {
            0x8000_0003..=0x8000_0005 => image(self.data),
            0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0 => variable(self.data),
            _ => words(self.data),
        }
    }
}

/// The path of an image that was started (`UEFI_IMAGE_LOAD_EVENT`): the file in its device path.
fn image(data: &[u8]) -> Option<String> {
    let mut reader = Little::new(data);
    reader.take(24)?;
    let len = reader.u64()?;
    let mut path = Little::new(reader.take(usize::try_from(len).ok()?)?);
    let mut file = String::new();
    while let (Some([kind, subtype]), Some(len)) = (path.array(), path.u16()) {
        let node = path.take(usize::from(len).checked_sub(4)?)?;
        // A media device path that is a file path; several are joined.
        if (kind, subtype) == (4, 4) {
            file.push_str(&utf16(node)?);
        }
    }
    (!file.is_empty()).then_some(file)
}

/// The name of a variable (`UEFI_VARIABLE_DATA`).
fn variable(data: &[u8]) -> Option<String> {
    let mut reader = Little::new(data);
    reader.take(16)?;
    let (letters, _len) = (reader.u64()?, reader.u64()?);
    utf16(reader.take(usize::try_from(letters).ok()?.checked_mul(2)?)?)
}

/// A text, if that is what the bytes are.
fn words(data: &[u8]) -> Option<String> {
    let ascii = data.strip_suffix(b"\0").unwrap_or(data);
    if ascii.len() > 1 && ascii.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Some(String::from_utf8_lossy(ascii).into_owned());
    }
    let text = utf16(data)?;
    let plain = text.chars().all(|letter| letter.is_ascii() && !letter.is_ascii_control());
    (text.len() > 1 && plain).then_some(text)
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty())?;
    Some(text.trim_end_matches('\0').to_owned())
}

const KINDS: &[(u32, &str)] = &[
    (0x1, "POST_CODE"),
    (0x4, "SEPARATOR"),
    (0x5, "ACTION"),
    (0x6, "EVENT_TAG"),
    (0x7, "S_CRTM_CONTENTS"),
    (0x8, "S_CRTM_VERSION"),
    (0x9, "CPU_MICROCODE"),
    (0xa, "PLATFORM_CONFIG_FLAGS"),
    (0xb, "TABLE_OF_DEVICES"),
    (0xc, "COMPACT_HASH"),
    (0xd, "IPL"),
    (0xe, "IPL_PARTITION_DATA"),
    (0xf, "NONHOST_CODE"),
    (0x10, "NONHOST_CONFIG"),
    (0x11, "NONHOST_INFO"),
    (0x12, "OMIT_BOOT_DEVICE_EVENTS"),
    (0x13, "POST_CODE2"),
    (0x8000_0001, "EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EFI_GPT_EVENT"),
    (0x8000_0007, "EFI_ACTION"),
    (0x8000_0008, "EFI_PLATFORM_FIRMWARE_BLOB"),
    (0x8000_0009, "EFI_HANDOFF_TABLES"),
    (0x8000_000a, "EFI_PLATFORM_FIRMWARE_BLOB2"),
    (0x8000_000b, "EFI_HANDOFF_TABLES2"),
    (0x8000_000c, "EFI_VARIABLE_BOOT2"),
    (0x8000_000d, "EFI_GPT_EVENT2"),
    (0x8000_0010, "EFI_HCRTM_EVENT"),
    (0x8000_00e0, "EFI_VARIABLE_AUTHORITY"),
    (0x8000_00e1, "EFI_SPDM_FIRMWARE_BLOB"),
    (0x8000_00e2, "EFI_SPDM_FIRMWARE_CONFIG"),
];
