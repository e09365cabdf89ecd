//! The MQTT session over mTLS and the HTTPS calls: connect, publish, know that a message has arrived.
//!
//! A record has arrived when the server's high-water mark says that it is committed; PUBACK is flow control
//! and
//! nothing more. The spool is the source of truth: after any trouble a fresh client begins again from the
//! spool.

mod enrol;
mod hold;
mod https;
mod mqtt;
mod named;
mod pace;
mod progress;
mod session;
mod time;
mod window;

pub use enrol::{ExchangeError, enrol, renew};
pub use https::{CallError, HttpsClient, Problem};
pub use mqtt::LinkConfig;
pub use session::{Link, LinkHandles, LinkState, SpoolSignal};
pub use time::ask_time;
