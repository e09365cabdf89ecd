//! The control plane: one binary, any number of instances on one PostgreSQL. This crate is the composition
//! root: the [list of features](features), the making of an instance ([`Plane`]), and the commands.

pub mod commands;
pub mod features;
mod plane;
mod tls;

pub use plane::Plane;

/// The migrations that bring a database up to this version.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
