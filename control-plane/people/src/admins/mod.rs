//! Administrators: their addresses, roles and passwords. Administrators are added and removed on the machine
//! itself.

mod acts;
mod db;
mod password;
mod refusals;

pub use acts::{COMMAND_LINE, list, owners, remove, set, set_roles};
pub use password::hash as hash_password;

pub(crate) use db::Admin;
pub(crate) use password::{PASSWORD_WRONG, check as check_password, forgive, take_back};
pub(crate) use refusals::Refusals;
