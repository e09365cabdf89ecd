//! Reads the TPM's big-endian, length-prefixed encoding. Never reads past the end, never allocates.

use crate::{MAX_STRUCTURE, Refusal};

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Result<Self, Refusal> {
        if bytes.len() > MAX_STRUCTURE {
            Err(Refusal::Malformed { what })
        } else {
            Ok(Self { rest: bytes, what })
        }
    }

    pub(crate) fn malformed(&self) -> Refusal {
        Refusal::Malformed { what: self.what }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(Refusal::Malformed { what: self.what })?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.malformed())
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Refusal> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_be_bytes)
    }

    /// A TPM2B: two bytes of length, then as many bytes.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], Refusal> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Nothing may be left over: what is not parsed is not covered by what was checked.
    pub(crate) fn end(self) -> Result<(), Refusal> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}
