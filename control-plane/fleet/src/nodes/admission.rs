//! Admission: whether a node with a valid certificate may connect now, asked of the database at every new
//! session.

use async_trait::async_trait;
use noderr_broker::{Admission, Denied};
use noderr_ca::NodeCertificate;
use noderr_kernel::Database;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(5);

/// Decides admission by asking the database.
pub(crate) struct DatabaseAdmission(pub(crate) Database);

#[async_trait]
impl Admission for DatabaseAdmission {
    async fn admit(&self, peer: &NodeCertificate) -> Result<(), Denied> {
        let query = sqlx::query!(
            r#"SELECT c.revoked_at IS NOT NULL OR NOT EXISTS (SELECT FROM admitted w WHERE w.id = n.id) AS "refused!"
               FROM node_certificates c JOIN nodes n ON n.id = c.node_id WHERE c.serial = $1 AND n.id = $2"#,
            peer.serial.as_slice(),
            peer.subject.node.as_bytes().as_slice()
        );
        match tokio::time::timeout(DEADLINE, query.fetch_optional(self.0.system())).await {
            Ok(Ok(Some(row))) if row.refused => Err(Denied::NotAdmitted),
            Ok(Ok(Some(_))) => Ok(()),
            Ok(Ok(None)) => Err(Denied::Unknown),
            Ok(Err(error)) => Err(Denied::Undecided(error.to_string())),
            Err(_) => Err(Denied::Undecided("the database did not answer in time".to_owned())),
        }
    }
}
