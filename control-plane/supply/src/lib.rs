//! What boxes are given: releases that were signed elsewhere, stored and handed out here, and the channels that say who gets
//! which. The control plane checks what it is given, and can sign nothing but that nothing newer is hidden.

pub mod channels;
pub mod releases;
mod settings;
mod state;

pub use settings::ReleasesSettings;
pub use state::Supply;
