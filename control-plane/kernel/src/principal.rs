//! Principals: an administrator or an operator with a session, or a program with a token, and what each may
//! do.
//!
//! A feature declares its permissions and which roles hold them; what a principal may do follows from these
//! declarations in one place, [`Permissions`].

use crate::http::Problem;
use crate::problems::{NOT_A_SESSION, NOT_AN_ADMIN, PERMISSION, PROOF_REQUIRED};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::str::FromStr;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// How long a proof counts as fresh.
const FRESH: Duration = Duration::minutes(10);

/// What an administrator is there for. Append only: the names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Holds every permission.
    Owner,
    /// Adds, steers and revokes nodes.
    Fleet,
    /// Decides which operators may have nodes.
    Reviewer,
    /// Sees everything, changes nothing.
    Auditor,
    /// Publishes releases, and says which boxes get which.
    Releases,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Fleet, Self::Reviewer, Self::Auditor, Self::Releases];

    /// The name stored and typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Fleet => "fleet",
            Self::Reviewer => "reviewer",
            Self::Auditor => "auditor",
            Self::Releases => "releases",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|role| role.as_str()).collect();
            format!("there is no role `{text}`; there are: {}", known.join(", "))
        })
    }
}

/// A permission: one thing that a principal can be allowed.
#[derive(Debug)]
pub struct Permission {
    /// The name, as tokens list it.
    pub name: &'static str,
    /// What the permission allows.
    pub about: &'static str,
    /// The roles that hold the permission; an owner holds every permission.
    pub roles: &'static [Role],
    /// Whether operators hold the permission, for their own things.
    pub operators: bool,
}

/// All permissions of all features.
#[derive(Debug, Clone, Default)]
pub struct Permissions(Vec<&'static Permission>);

impl Permissions {
    /// The permissions that the features declare.
    pub fn new(all: Vec<&'static Permission>) -> Self {
        Self(all)
    }

    /// All permissions.
    pub fn all(&self) -> &[&'static Permission] {
        &self.0
    }

    /// The permission of this name.
    pub fn find(&self, name: &str) -> Option<&'static Permission> {
        self.0.iter().copied().find(|permission| permission.name == name)
    }

    /// The names of the permissions that follow from `granted`.
    pub(crate) fn granted(&self, granted: &Granted) -> BTreeSet<&'static str> {
        let holds = |permission: &&&'static Permission| match granted {
            Granted::Roles(roles) => is_held(permission, roles),
            Granted::Operator => permission.operators,
            Granted::Token { names, owner } => {
                names.iter().any(|name| name == permission.name) && is_held(permission, owner)
            }
        };
        self.0.iter().filter(holds).map(|permission| permission.name).collect()
    }
}

fn is_held(permission: &Permission, roles: &[Role]) -> bool {
    roles.contains(&Role::Owner) || roles.iter().any(|role| permission.roles.contains(role))
}

/// What a principal's permissions follow from.
#[derive(Debug, Clone)]
pub enum Granted {
    /// An administrator's roles.
    Roles(Vec<Role>),
    /// Being an operator.
    Operator,
    /// A token: what it names, as far as the administrator who answers for the token may do that today.
    Token {
        /// Names of permissions.
        names: Vec<String>,
        /// The administrator's roles.
        owner: Vec<Role>,
    },
}

/// A principal: who asks.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The person or the program.
    pub subject: Subject,
    /// What the principal may see.
    pub scope: Scope,
    /// Names of the permissions that the principal holds.
    pub permissions: BTreeSet<&'static str>,
}

/// The person or the program behind a request.
#[derive(Debug, Clone)]
pub enum Subject {
    /// An administrator who has logged in.
    Admin {
        /// The administrator.
        id: Uuid,
        /// The administrator's e-mail address.
        email: String,
        /// The login's session.
        session: Session,
    },
    /// An operator who has logged in.
    Operator {
        /// The operator.
        id: Uuid,
        /// The login's session.
        session: Session,
    },
    /// A program.
    Token(Token),
}

/// A login's session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The hash of the session's secret, as stored.
    pub hash: Vec<u8>,
    /// When the person last gave a proof.
    pub proven_at: OffsetDateTime,
}

/// An API token.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    /// The token.
    pub id: Uuid,
    /// The administrator who answers for the token.
    pub owner: Uuid,
    /// When the token ends.
    pub expires_at: OffsetDateTime,
}

/// What a request identifies its principal with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A secret in the `Authorization` header.
    Bearer(String),
}

/// What a principal may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Staff,
    /// What belongs to one operator.
    Operator(Uuid),
}

/// The principal of a credential, before permissions are looked up.
pub struct Identified {
    /// The person or the program.
    pub subject: Subject,
    /// What the principal may see.
    pub scope: Scope,
    /// What the permissions follow from.
    pub granted: Granted,
}

/// Finds the principal of a credential; implemented by the area that keeps sessions and tokens.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The principal that a credential stands for, if there is one.
    async fn identify(&self, credential: &Credential) -> sqlx::Result<Option<Identified>>;
}

impl Principal {
    /// Refuses a principal that lacks the permission.
    pub fn require(&self, permission: &Permission) -> Result<(), Problem> {
        if self.permissions.contains(permission.name) {
            return Ok(());
        }
        Err(PERMISSION.because(format!("this needs the permission `{}`", permission.name)))
    }

    /// Refuses whoever sees the rows of one operator alone: for what belongs to the whole network.
    pub fn require_staff(&self) -> Result<(), Problem> {
        match self.scope {
            Scope::Staff => Ok(()),
            Scope::Operator(_) => Err(NOT_AN_ADMIN.into()),
        }
    }

    /// Refuses a session without a fresh proof: a session that was left open, or stolen, is not enough for an
    /// act that lasts. A token belongs to a program, which gives no proofs.
    pub fn require_fresh_proof(&self, now: OffsetDateTime) -> Result<(), Problem> {
        match &self.subject {
            Subject::Admin { session, .. } | Subject::Operator { session, .. }
                if session.proven_at + FRESH < now =>
            {
                Err(PROOF_REQUIRED.into())
            }
            _ => Ok(()),
        }
    }

    /// The principal as the audit log names it.
    pub fn actor(&self) -> String {
        match &self.subject {
            Subject::Admin { id, .. } => format!("admin {id}"),
            Subject::Operator { id, .. } => format!("operator {id}"),
            Subject::Token(token) => format!("token {}", token.id),
        }
    }

    /// The id, address and session of the administrator who asks; refuses everybody else.
    pub fn admin(&self) -> Result<(Uuid, &str, &Session), Problem> {
        match &self.subject {
            Subject::Admin { id, email, session } => Ok((*id, email, session)),
            Subject::Operator { .. } => Err(NOT_AN_ADMIN.into()),
            Subject::Token(_) => Err(NOT_A_SESSION.into()),
        }
    }

    /// The session that is asked with; refuses a token.
    pub fn session(&self) -> Result<&Session, Problem> {
        match &self.subject {
            Subject::Admin { session, .. } | Subject::Operator { session, .. } => Ok(session),
            Subject::Token(_) => Err(NOT_A_SESSION.into()),
        }
    }

    /// The API token that is asked with, if it is not a session.
    pub const fn token(&self) -> Option<&Token> {
        match &self.subject {
            Subject::Token(token) => Some(token),
            Subject::Admin { .. } | Subject::Operator { .. } => None,
        }
    }

    /// The id of whoever is behind the request: of what sees an operator's rows alone, the operator; of any other token, the
    /// administrator who answers for it.
    pub const fn person(&self) -> Uuid {
        match (&self.scope, &self.subject) {
            (Scope::Operator(id), _)
            | (Scope::Staff, Subject::Admin { id, .. } | Subject::Operator { id, .. }) => *id,
            (Scope::Staff, Subject::Token(token)) => token.owner,
        }
    }

    /// The id of the administrator, the operator or the token.
    pub const fn id(&self) -> Uuid {
        match &self.subject {
            Subject::Admin { id, .. } | Subject::Operator { id, .. } => *id,
            Subject::Token(token) => token.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Permission =
        Permission { name: "read", about: "", roles: &[Role::Fleet, Role::Auditor], operators: true };
    const WRITE: Permission =
        Permission { name: "write", about: "", roles: &[Role::Fleet], operators: false };
    const TREASURE: Permission = Permission { name: "treasure", about: "", roles: &[], operators: false };

    fn granted(granted: &Granted) -> Vec<&'static str> {
        Permissions::new(vec![&READ, &WRITE, &TREASURE]).granted(granted).into_iter().collect()
    }

    #[test]
    fn permissions_follow_from_roles_and_an_owner_holds_them_all() {
        assert_eq!(granted(&Granted::Roles(vec![Role::Owner])), ["read", "treasure", "write"]);
        assert_eq!(granted(&Granted::Roles(vec![Role::Fleet])), ["read", "write"]);
        assert_eq!(granted(&Granted::Roles(vec![Role::Auditor, Role::Reviewer])), ["read"]);
        assert_eq!(granted(&Granted::Operator), ["read"]);
        let token = |owner| Granted::Token { names: vec!["write".to_owned(), "gone".to_owned()], owner };
        assert_eq!(granted(&token(vec![Role::Fleet])), ["write"]);
        assert_eq!(granted(&token(vec![Role::Auditor])), [""; 0], "a token outlives no right of its owner");
    }

    fn session(proven_at: OffsetDateTime) -> Principal {
        let session = Session { hash: Vec::new(), proven_at };
        let subject = Subject::Admin { id: Uuid::nil(), email: String::new(), session };
        Principal { subject, scope: Scope::Staff, permissions: BTreeSet::new() }
    }

    #[test]
    fn a_session_without_a_fresh_proof_does_nothing_that_lasts() {
        let now = OffsetDateTime::now_utc();
        assert!(session(now - Duration::minutes(9)).require_fresh_proof(now).is_ok());
        assert!(session(now - Duration::minutes(11)).require_fresh_proof(now).is_err());
    }
}
