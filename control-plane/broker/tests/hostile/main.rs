//! Strangers and hostile nodes against a real broker over real TLS. After every attack an honest node must still be
//! served.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure is a failure")]

mod nodes;
mod strangers;
mod world;
