//! Adding, approving and suspending operators.

use super::db::{self, OperatorRow, OperatorState};
use super::terms::{EMAIL_TAKEN, STANDING, WRITE_OPERATORS};
use noderr_kernel::{Act, Email, Line, Problem, notify};
use serde_json::json;
use uuid::Uuid;

/// Adds an operator in the state `applied`.
pub(super) async fn add(act: &mut Act, name: &Line<200>, email: &Email) -> Result<OperatorRow, Problem> {
    act.require(&WRITE_OPERATORS)?;
    let row = db::insert(act, name, email).await.map_err(|error| match error.as_database_error() {
        Some(inner) if inner.is_unique_violation() => EMAIL_TAKEN.into(),
        _ => Problem::from(error),
    })?;
    act.record("operator.add", row.id, &json!({})).await?;
    Ok(row)
}

/// Sets the state of an operator, and tells every instance.
pub(super) async fn decide(act: &mut Act, id: Uuid, state: OperatorState) -> Result<OperatorRow, Problem> {
    act.require(&WRITE_OPERATORS)?;
    act.require_fresh_proof()?;
    let row = db::decide(act, id, state).await?.ok_or_else(|| Problem::not_found("operator"))?;
    let action = match state {
        OperatorState::Applied => "operator.reopen",
        OperatorState::Approved => "operator.approve",
        OperatorState::Suspended => "operator.suspend",
    };
    act.record(action, id, &json!({})).await?;
    notify(act, &STANDING, &id.to_string()).await?;
    Ok(row)
}
