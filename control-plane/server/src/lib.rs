//! The control plane: one binary, any number of instances on one PostgreSQL. This crate is the composition root: the
//! [list of features](features), what an instance is opened from ([`Plane`]), and the commands.

pub mod commands;
pub mod features;
mod plane;
mod tls;

pub use plane::Plane;

/// What this version makes of a database.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
