//! What the box can say about itself: one line adds a probe. A value that cannot be read is left out, never guessed.

mod cpu;
mod disk;
mod fan;
mod heat;
mod memory;
mod network;
mod own;
mod temperature;
mod uptime;

use crate::shared::Shared;
use noderr_protocol::TelemetrySample;

/// A probe: adds its measurements to a sample.
pub(crate) type Probe = Box<dyn FnMut(TelemetrySample) -> TelemetrySample + Send>;

/// Every probe there is.
pub(crate) fn all(shared: &Shared) -> Vec<Probe> {
    vec![
        uptime::probe(),
        cpu::probe(),
        memory::probe(),
        disk::probe(shared.data.root()),
        temperature::probe(),
        fan::probe(),
        heat::probe(),
        network::probe(),
        own::probe(shared),
    ]
}
