//! Statements about operators.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// The state of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "operator_state", rename_all = "lowercase")]
pub(super) enum OperatorState {
    /// Waits for a decision.
    Applied,
    /// May have nodes.
    Approved,
    /// No node of the operator may connect.
    Suspended,
}

pub(super) struct OperatorRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) state: OperatorState,
    pub(super) created_at: OffsetDateTime,
    pub(super) decided_at: Option<OffsetDateTime>,
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    name: &str,
    email: &str,
) -> sqlx::Result<OperatorRow> {
    sqlx::query_as!(
        OperatorRow,
        r#"INSERT INTO operators (id, name, email) VALUES ($1, $2, $3)
           RETURNING id, name, email, state AS "state: OperatorState", created_at, decided_at"#,
        Uuid::now_v7(),
        name,
        email
    )
    .fetch_one(connection)
    .await
}

pub(super) async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<OperatorRow>> {
    sqlx::query_as!(
        OperatorRow,
        r#"SELECT id, name, email, state AS "state: OperatorState", created_at, decided_at FROM operators WHERE id = $1"#,
        id
    )
    .fetch_optional(connection)
    .await
}

pub(super) async fn list(
    connection: &mut PgConnection,
    state: Option<OperatorState>,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<OperatorRow>> {
    sqlx::query_as!(
        OperatorRow,
        r#"SELECT id, name, email, state AS "state: OperatorState", created_at, decided_at FROM operators
           WHERE ($1::operator_state IS NULL OR state = $1) AND ($2::uuid IS NULL OR id < $2)
           ORDER BY id DESC LIMIT $3"#,
        state as Option<OperatorState>,
        after,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

pub(super) async fn decide(
    connection: &mut PgConnection,
    id: Uuid,
    state: OperatorState,
) -> sqlx::Result<Option<OperatorRow>> {
    sqlx::query_as!(
        OperatorRow,
        r#"UPDATE operators SET state = $2, decided_at = now() WHERE id = $1
           RETURNING id, name, email, state AS "state: OperatorState", created_at, decided_at"#,
        id,
        state as OperatorState
    )
    .fetch_optional(connection)
    .await
}
