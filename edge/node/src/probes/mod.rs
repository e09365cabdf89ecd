//! What the box can say about itself, read from /proc and /sys. A value that cannot be read is left out, never guessed.

mod cpu;
mod disk;
mod memory;
mod network;
mod temperature;
mod uptime;

pub(crate) use cpu::CpuMeter;
pub(crate) use disk::disk;
pub(crate) use memory::memory;
pub(crate) use network::network;
pub(crate) use temperature::temperature;
pub(crate) use uptime::uptime_s;
