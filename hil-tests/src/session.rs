//! The file that `./dev up` leaves for scripts: `.dev/session.json`.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The running lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// The API's URL.
    pub api: String,
    /// The OpenAPI document's URL.
    pub openapi: String,
    /// File with the network's root certificate.
    pub ca: PathBuf,
    /// The administrator.
    pub admin: Admin,
    /// An API token that may do everything.
    pub token: String,
    /// Host and port of the broker.
    pub broker: String,
    /// A PostgreSQL URL, by which everything but secrets can be read.
    pub database: String,
    /// The boxes.
    pub boxes: Vec<BoxSession>,
    /// The process that keeps the lab.
    pub pid: u32,
    /// The control plane's process.
    pub control_pid: u32,
}

/// How to log in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Admin {
    /// E-mail address.
    pub email: String,
    /// The password, made for this lab.
    pub password: String,
}

/// One box.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BoxSession {
    /// The node's id.
    pub id: String,
    /// The box's data folder.
    pub data: PathBuf,
    /// The node's process.
    pub pid: u32,
    /// The node's status socket.
    pub socket: PathBuf,
    /// The node's configuration, for `noderr-node --config … status`.
    pub config: PathBuf,
}
