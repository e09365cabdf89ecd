//! Finds the principal of a credential, which is the secret of a session or of a token.

use async_trait::async_trait;
use noderr_kernel::{
    Authenticate, Credential, Database, Granted, Identified, Role, Scope, Session, Subject, Token,
    hash_secret,
};

/// Looks credentials up in the database.
pub struct Credentials(pub Database);

#[async_trait]
impl Authenticate for Credentials {
    async fn identify(&self, credential: &Credential) -> sqlx::Result<Option<Identified>> {
        let Credential::Bearer(secret) = credential;
        let hash = hash_secret(secret);
        match self.session(&hash).await? {
            Some(found) => Ok(Some(found)),
            None => self.token(&hash).await,
        }
    }
}

impl Credentials {
    async fn session(&self, hash: &[u8]) -> sqlx::Result<Option<Identified>> {
        let row = sqlx::query!(
            r#"SELECT s.proven_at, s.operator_id, a.id AS "admin?", a.email AS "email?", a.roles AS "roles?"
               FROM sessions s LEFT JOIN admins a ON a.id = s.admin_id WHERE s.hash = $1 AND s.expires_at > now()
               AND NOT EXISTS (SELECT FROM operators o WHERE o.id = s.operator_id AND o.state = 'suspended')"#,
            hash
        )
        .fetch_optional(self.0.credentials())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let session = Session { hash: hash.to_vec(), proven_at: row.proven_at };
        Ok(match (row.admin, row.operator_id) {
            (Some(id), _) => {
                let subject = Subject::Admin { id, email: row.email.unwrap_or_default(), session };
                Some(Identified {
                    subject,
                    scope: Scope::Staff,
                    granted: Granted::Roles(roles(&row.roles.unwrap_or_default())),
                })
            }
            (None, Some(id)) => {
                let subject = Subject::Operator { id, session };
                Some(Identified { subject, scope: Scope::Operator(id), granted: Granted::Operator })
            }
            (None, None) => None,
        })
    }

    async fn token(&self, hash: &[u8]) -> sqlx::Result<Option<Identified>> {
        let row = sqlx::query!(
            "SELECT t.id, t.permissions, t.operator_id, t.owner_id, t.expires_at, a.roles
             FROM api_tokens t JOIN admins a ON a.id = t.owner_id
             WHERE t.hash = $1 AND t.revoked_at IS NULL AND t.expires_at > now()
               AND NOT EXISTS (SELECT FROM operators o WHERE o.id = t.operator_id AND o.state = 'suspended')",
            hash
        )
        .fetch_optional(self.0.credentials())
        .await?;
        Ok(row.map(|row| Identified {
            subject: Subject::Token(Token { id: row.id, owner: row.owner_id, expires_at: row.expires_at }),
            scope: row.operator_id.map_or(Scope::Staff, Scope::Operator),
            granted: Granted::Token { names: row.permissions, owner: roles(&row.roles) },
        }))
    }
}

/// Roles of a database; one that only a newer version knows gives nothing here.
fn roles(names: &[String]) -> Vec<Role> {
    names.iter().filter_map(|role| role.parse().ok()).collect()
}
