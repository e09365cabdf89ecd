//! Statements about quarantine.

use crate::settings::{EnrolmentSettings, OnChanged};
use sqlx::{PgConnection, PgPool};

/// What nodes are judged by.
pub(super) struct Policy<'a> {
    ek_policy: &'a str,
    allowed_eks: Vec<String>,
    allow_software: bool,
    on_changed: bool,
    trusted_within_s: f64,
}

impl<'a> Policy<'a> {
    pub(super) fn of(settings: &'a EnrolmentSettings) -> Self {
        Self {
            ek_policy: settings.ek_policy.as_str(),
            allowed_eks: settings.allowed_eks.iter().map(|name| name.to_lowercase()).collect(),
            allow_software: settings.allow_software,
            on_changed: settings.on_changed == OnChanged::Quarantine,
            trusted_within_s: settings.trusted_within_s.into(),
        }
    }
}

/// A node whose quarantine is not what it should be.
pub(super) struct Judged {
    pub(super) id: Vec<u8>,
    /// Why it should be in quarantine; `None` if it should not.
    pub(super) reason: Option<String>,
    /// Why it was until now.
    pub(super) before: Option<String>,
}

/// Those of these nodes, or of all, whose quarantine is not what policy and evidence say. The last verdict that says anything
/// counts: neither silence nor an excuse lifts a quarantine. Time in which nobody asked, because the box was off, does not count.
pub(super) async fn misplaced(
    connection: &mut PgConnection,
    policy: &Policy<'_>,
    nodes: Option<&[Vec<u8>]>,
    most: i64,
) -> sqlx::Result<Vec<Judged>> {
    sqlx::query_as!(
        Judged,
        r#"SELECT judged.id AS "id!", judged.reason, judged.before FROM (
             SELECT n.id, n.quarantine AS before, CASE
               WHEN n.kind IS NULL THEN NULL
               WHEN EXISTS (SELECT FROM barred_tpms b WHERE b.ek_fingerprint = n.ek_fingerprint) THEN 'tpm-barred'
               WHEN n.kind = 'software' THEN CASE WHEN NOT $2 THEN 'software-not-allowed' END
               WHEN $3 = 'require-ek-cert' AND NOT n.ek_certified THEN 'ek-certificate-required'
               WHEN $3 = 'allow-listed-ek' AND encode(n.ek_fingerprint, 'hex') <> ALL($4) THEN 'ek-not-listed'
               WHEN NOT $5 THEN NULL
               WHEN said.verdict = 'changed' THEN 'registers-changed'
               WHEN said.verdict = 'refused' THEN 'attestation-refused'
               WHEN (SELECT max(v.sent_at) - min(v.sent_at) FROM verdicts v WHERE v.node_id = n.id
                     AND v.verdict IN ('silent', 'unavailable')
                     AND v.requested_at > coalesce(said.requested_at, '-infinity')) >= make_interval(secs => $6)
                 THEN 'not-attested' END AS reason
             FROM nodes n LEFT JOIN LATERAL (
               SELECT v.verdict, v.requested_at FROM verdicts v WHERE v.node_id = n.id AND v.proves
               ORDER BY v.requested_at DESC LIMIT 1) said ON true
             WHERE n.revoked_at IS NULL AND ($1::bytea[] IS NULL OR n.id = ANY($1))) judged
           WHERE judged.reason IS DISTINCT FROM judged.before ORDER BY judged.id LIMIT $7"#,
        nodes,
        policy.allow_software,
        policy.ek_policy,
        &policy.allowed_eks,
        policy.on_changed,
        policy.trusted_within_s,
        most
    )
    .fetch_all(connection)
    .await
}

/// The ids of nodes whose quarantine is not what it should be, as of now and unlocked.
pub(super) async fn candidates(pool: &PgPool, policy: &Policy<'_>, most: i64) -> sqlx::Result<Vec<Vec<u8>>> {
    let mut connection = pool.acquire().await?;
    let found = misplaced(&mut connection, policy, None, most).await?;
    Ok(found.into_iter().map(|node| node.id).collect())
}

/// Locks nodes, so that nothing about them changes between judging and acting.
pub(super) async fn lock(connection: &mut PgConnection, nodes: &[Vec<u8>]) -> sqlx::Result<()> {
    sqlx::query!("SELECT id FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", nodes)
        .fetch_all(connection)
        .await?;
    Ok(())
}

/// Puts a node into quarantine, or lets it out.
pub(super) async fn place(
    connection: &mut PgConnection,
    node: &[u8],
    reason: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET quarantine = $2, quarantined_at = CASE WHEN $2::text IS NOT NULL THEN now() END,
           desired_version = next_desired_version(desired_version), desired_sent = NULL WHERE id = $1",
        node,
        reason
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Why a node is in quarantine.
pub(super) async fn reason(connection: &mut PgConnection, node: &[u8]) -> sqlx::Result<Option<String>> {
    let reason = sqlx::query_scalar!("SELECT quarantine FROM nodes WHERE id = $1", node);
    Ok(reason.fetch_optional(connection).await?.flatten())
}
