//! What a stranger, an address and a node may cost, for the broker and the HTTP API alike.
//!
//! A [`Gate`] completes TLS handshakes, a [`Crowd`] bounds who is inside at once, a [`Bucket`] bounds a rate, a
//! [`Limiter`] keeps a bucket for each of many keys, and a [`Throttle`] slows guessing down. None of them
//! knows what service stands behind.
//!
//! ```
//! use noderr_front::{Crowd, CrowdLimits};
//!
//! let crowd = Crowd::new(CrowdLimits { most: 2, per_address: 2 });
//! let [first, second, alone] = [[10, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2]].map(Into::into);
//! let (first, second) = (crowd.enter(first).unwrap(), crowd.enter(second).unwrap());
//! // The house is full: the address with the most guests makes room for a guest who comes alone.
//! assert!(crowd.enter(alone).is_some());
//! assert!(first.out().is_cancelled() && !second.out().is_cancelled());
//! ```

mod address;
mod bucket;
mod crowd;
mod gate;
mod limiter;
mod proxied;
mod throttle;

pub use address::subnet;
pub use bucket::{Bucket, Rate};
pub use crowd::{Busy, Crowd, CrowdLimits, Place};
pub use gate::{Gate, GateLimits, TlsConnection};
pub use limiter::Limiter;
pub use proxied::TrustedProxies;
pub use throttle::{Pauses, Throttle};

/// The metrics of this crate: name and help.
pub const METRICS: &[(&str, &str)] =
    &[("noderr_gate_refused_total", "TLS connections that ended before their handshake was done, by reason")];

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also after a panic of another holder: the counts behind it are still counts.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
