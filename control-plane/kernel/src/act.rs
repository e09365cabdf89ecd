//! An act: a transaction on behalf of a principal. An act and its audit entry are committed together or not
//! at all.

use crate::audit;
use crate::database::{Turn, Tx};
use crate::http::Problem;
use crate::principal::{Permission, Principal};
use serde_json::Value;
use sqlx::PgConnection;
use std::fmt::Display;
use std::ops::{Deref, DerefMut};
use time::OffsetDateTime;

/// An open transaction with the rights of a principal. Undone unless it is committed.
pub struct Act {
    tx: Tx,
    who: Principal,
    _turn: Turn,
}

impl Act {
    pub(crate) fn new((tx, turn): (Tx, Turn), who: Principal) -> Self {
        Self { tx, who, _turn: turn }
    }

    /// The principal that acts.
    pub const fn who(&self) -> &Principal {
        &self.who
    }

    /// Refuses a principal that lacks the permission.
    pub fn require(&self, permission: &Permission) -> Result<(), Problem> {
        self.who.require(permission)
    }

    /// Refuses a session whose person has not proven lately who they are: for what lasts.
    pub fn require_fresh_proof(&self) -> Result<(), Problem> {
        self.who.require_fresh_proof(OffsetDateTime::now_utc())
    }

    /// Writes the act's audit entry, in the transaction of the act.
    pub async fn record(&mut self, action: &str, subject: impl Display, detail: &Value) -> sqlx::Result<()> {
        audit::record(&mut self.tx, &self.who.actor(), action, &subject.to_string(), detail).await
    }

    /// Commits the act.
    pub async fn commit(self) -> sqlx::Result<()> {
        self.tx.commit().await
    }
}

impl Deref for Act {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl DerefMut for Act {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}
