//! Who asks, and what they may do. A bearer token is a login's session or an API token; both are stored as hashes.

use super::Problem;
use crate::app::App;
use crate::database::Scope;
use crate::features::access;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::str::FromStr;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Everything there is to be allowed. One list, for tokens and for code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Permission {
    /// See operators.
    ReadOperators,
    /// Add and approve operators.
    WriteOperators,
    /// See nodes and what they report.
    ReadNodes,
    /// Add, change and revoke nodes; issue install tokens.
    WriteNodes,
    /// Ask nodes for attestation, accept new baselines.
    Attest,
    /// Read the audit log.
    ReadAudit,
    /// Issue and revoke API tokens.
    ManageTokens,
}

impl Permission {
    pub(crate) const ALL: [Self; 7] = [
        Self::ReadOperators,
        Self::WriteOperators,
        Self::ReadNodes,
        Self::WriteNodes,
        Self::Attest,
        Self::ReadAudit,
        Self::ManageTokens,
    ];

    /// What a token bound to one operator may hold at most.
    pub(crate) const OF_OPERATORS: [Self; 2] = [Self::ReadOperators, Self::ReadNodes];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOperators => "read-operators",
            Self::WriteOperators => "write-operators",
            Self::ReadNodes => "read-nodes",
            Self::WriteNodes => "write-nodes",
            Self::Attest => "attest",
            Self::ReadAudit => "read-audit",
            Self::ManageTokens => "manage-tokens",
        }
    }
}

impl FromStr for Permission {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text).ok_or(())
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    /// As the audit log names them.
    pub(crate) actor: String,
    /// What they may see.
    pub(crate) scope: Scope,
    /// What they may do.
    pub(crate) permissions: BTreeSet<Permission>,
    /// What they ask with.
    pub(crate) with: Credential,
}

#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// A login's session.
    Session(AskingSession),
    /// An API token.
    Token(AskingToken),
}

/// A login's session, which is an administrator's own.
#[derive(Debug, Clone)]
pub(crate) struct AskingSession {
    pub(crate) admin: Uuid,
    pub(crate) hash: Vec<u8>,
}

/// What a token that issues others passes on to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskingToken {
    pub(crate) id: Uuid,
    pub(crate) expires_at: Option<OffsetDateTime>,
}

impl Principal {
    /// Refuses whoever lacks the permission.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.permissions.contains(&permission) {
            return Ok(());
        }
        let detail = format!("this needs the permission `{}`", permission.as_str());
        Err(Problem::forbidden("permission", detail))
    }

    /// The session they ask with; an API token is refused.
    pub(crate) fn session(&self) -> Result<&AskingSession, Problem> {
        match &self.with {
            Credential::Session(session) => Ok(session),
            Credential::Token(_) => Err(Problem::bad_request(
                "not-a-session",
                "this request was made with an API token; it is for administrators who have logged in",
            )),
        }
    }

    /// The API token they ask with, if it is one.
    pub(crate) const fn token(&self) -> Option<AskingToken> {
        match &self.with {
            Credential::Session(_) => None,
            Credential::Token(token) => Some(*token),
        }
    }
}

impl FromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| {
                Problem::unauthorised("send `Authorization: Bearer <token>`; log in at /api/v1/sessions")
            })?;
        access::principal_of(app, token)
            .await?
            .ok_or_else(|| Problem::unauthorised("the token is unknown, expired or revoked; log in again"))
    }
}
