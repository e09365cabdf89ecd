//! Stands in for the crate `regex`, which tss-esapi asks for to read `device:/dev/tpmrm0`: by itself that crate is an eighth of the
//! node's program, most of it tables of Unicode. `regex-lite` is of the same people and has the same functions.

pub use regex_lite::*;
