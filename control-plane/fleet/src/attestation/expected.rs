//! The API of expected values: what a person accepts for the whole fleet at once, because an update of the firmware or the OS
//! changes a register of every box in the same way.

use super::terms::ATTEST;
use crate::nodes::READ_NODES;
use crate::state::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{Json, Line, Made, Path, Principal, Problem, Refused, Request, Within};
use noderr_protocol::HexDigest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new().routes(routes!(list, expect)).routes(routes!(forget))
}

/// A value of a register that is expected of the whole fleet.
#[derive(Debug, Serialize, ToSchema)]
struct ExpectedRegister {
    register: i16,
    /// 64 lowercase hex digits.
    value: String,
    note: String,
    accepted_by: String,
    #[serde(with = "time::serde::rfc3339")]
    accepted_at: OffsetDateTime,
}

/// List the values of registers that are expected of the whole fleet.
#[utoipa::path(
    get,
    path = "/expected-registers",
    tag = "attestation",
    responses((status = 200, body = Vec<ExpectedRegister>), Refused)
)]
async fn list(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
) -> Result<Json<Vec<ExpectedRegister>>, Problem> {
    who.require(&READ_NODES)?;
    who.require_staff()?;
    let mut act = fleet.kernel.begin(who).await?;
    let rows = sqlx::query_as!(
        ExpectedRegister,
        "SELECT register, value, note, accepted_by, accepted_at FROM expected_registers ORDER BY register, accepted_at LIMIT 1000"
    )
    .fetch_all(&mut *act)
    .await?;
    Ok(Json(rows))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewExpected {
    register: Within<0, 23>,
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    value: HexDigest,
    /// Where the value comes from: a release, a firmware.
    note: Line<200>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExpectedValue {
    register: u16,
    value: String,
}

/// Expect a value of a register from the whole fleet: nodes that show it have not changed.
#[utoipa::path(
    post,
    path = "/expected-registers",
    tag = "attestation",
    request_body = NewExpected,
    responses((status = 201, body = ExpectedValue), Refused)
)]
async fn expect(State(fleet): State<Arc<Fleet>>, request: Request<NewExpected>) -> Result<Made, Problem> {
    let mask = fleet.settings.enrolment.pcr_mask();
    fleet
        .kernel
        .make(request, move |act, new| {
            Box::pin(async move {
                act.require(&ATTEST)?;
                act.require_fresh_proof()?;
                let (register, value) = (new.register.get(), hex::encode(new.value.0));
                let by = act.who().actor();
                sqlx::query!(
                    "INSERT INTO expected_registers (register, value, note, accepted_by) VALUES ($1, $2, $3, $4)
                     ON CONFLICT DO NOTHING",
                    register.cast_signed(),
                    value,
                    &*new.note,
                    by
                )
                .execute(&mut **act)
                .await?;
                let detail = json!({ "value": value, "note": &*new.note });
                super::acts::ask_changed(act, mask).await?;
                act.record("registers.expect", register, &detail).await?;
                Ok(ExpectedValue { register, value })
            })
        })
        .await
}

/// Expect a value of a register no longer.
#[utoipa::path(
    delete,
    path = "/expected-registers/{register}/{value}",
    tag = "attestation",
    params(
        ("register" = u16, Path, maximum = 23),
        ("value" = String, Path, pattern = "^[0-9a-f]{64}$"),
    ),
    responses((status = 204), Refused)
)]
async fn forget(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path((register, value)): Path<(Within<0, 23>, HexDigest)>,
) -> Result<StatusCode, Problem> {
    let mut act = fleet.kernel.begin(who).await?;
    act.require(&ATTEST)?;
    act.require_fresh_proof()?;
    let value = hex::encode(value.0);
    let gone = sqlx::query_scalar!(
        r#"SELECT forget_expected($1, $2) AS "gone!""#,
        register.get().cast_signed(),
        value
    )
    .fetch_one(&mut *act)
    .await?;
    if gone == 0 {
        return Err(Problem::not_found("expected value"));
    }
    act.record("registers.forget", register.get(), &json!({ "value": value })).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
