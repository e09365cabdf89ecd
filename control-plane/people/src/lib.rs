//! The people of a network: administrators with their sessions, second factors and tokens, and operators.

pub mod admins;
mod identify;
pub mod operators;
pub mod second_factor;
pub mod sessions;
pub mod tokens;

pub use identify::Credentials;

use admins::Refusals;
use noderr_front::Throttle;
use noderr_kernel::{HasKernel, Kernel};
use std::net::IpAddr;
use std::sync::Arc;

/// How many pairs of address and account the throttle of logins remembers.
const REMEMBERED: usize = 10_000;

/// What the features of this area share.
pub struct People {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// Failed logins: of an address with one account, and of an address with any account.
    pub(crate) logins: Throttle<(IpAddr, Option<String>)>,
    /// Failed logins of known accounts, for the record.
    pub(crate) refusals: Refusals,
}

impl People {
    /// Makes the state of the area.
    pub fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel, logins: Throttle::new(REMEMBERED), refusals: Refusals::default() }
    }
}

impl HasKernel for People {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}
