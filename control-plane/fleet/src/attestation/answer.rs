//! Judges the answers to challenges.

use super::db::{self, OpenChallenge, Verdict};
use crate::registers;
use crate::state::Fleet;
use crate::values::text;
use noderr_attestation::{AttestationKey, PcrSet, Refusal};
use noderr_kernel::record;
use noderr_protocol::enrol::attest_binding;
use noderr_protocol::{AttestationAnswer, AttestationChallenge, Evidence, NodeId, QuoteEvidence};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// Judges an answer and puts the verdict on record. An answer that comes too late, or to no open challenge of
/// this node, is counted and dropped.
pub(super) async fn take(fleet: &Fleet, node: &NodeId, answer: &AttestationAnswer) -> sqlx::Result<()> {
    let mut tx = fleet.kernel.database.begin().await?;
    let answer_s = fleet.settings.enrolment.attest_answer_s.into();
    let Some(open) = db::take(&mut tx, node, &answer.challenge, answer_s).await? else {
        metrics::counter!("noderr_attestations_total", "verdict" => "unasked").increment(1);
        return Ok(());
    };
    let (verdict, detail, pcrs) = judge(&open, answer);
    db::conclude(&mut tx, &answer.challenge, verdict, &detail, pcrs.as_ref()).await?;
    let action = match verdict {
        Verdict::Changed => Some("node.registers-changed"),
        Verdict::Refused => Some("node.attestation-refused"),
        Verdict::Trusted | Verdict::Unavailable | Verdict::Silent | Verdict::Software => None,
    };
    if let Some(action) = action {
        record(&mut tx, "attestation", action, &node.to_string(), &json!({ "detail": detail })).await?;
    }
    tx.commit().await?;
    metrics::counter!("noderr_attestations_total", "verdict" => verdict.as_str()).increment(1);
    Ok(())
}

fn judge(open: &OpenChallenge, answer: &AttestationAnswer) -> (Verdict, String, Option<Value>) {
    match &answer.evidence {
        Evidence::Software if open.kind == "software" => {
            (Verdict::Software, "a software identity has nothing to quote with".to_owned(), None)
        }
        Evidence::Software => {
            (Verdict::Refused, "a node known with a TPM claims to be software".to_owned(), None)
        }
        Evidence::Unavailable(why) => (Verdict::Unavailable, text(why), None),
        Evidence::Quote(quote) => match check(open, answer, quote) {
            Err(refusal) => (Verdict::Refused, refusal.to_string(), None),
            Ok(pcrs) => {
                let pcrs = registers::to_json(&pcrs);
                match registers::changed(open.pcr_baseline.as_ref(), &pcrs) {
                    changed if changed.is_empty() => {
                        (Verdict::Trusted, "the registers are those of the baseline".to_owned(), Some(pcrs))
                    }
                    changed => {
                        let detail =
                            format!("registers that are not those of the baseline: {}", changed.join(", "));
                        (Verdict::Changed, detail, Some(pcrs))
                    }
                }
            }
        },
    }
}

fn check(open: &OpenChallenge, answer: &AttestationAnswer, quote: &QuoteEvidence) -> Result<PcrSet, Refusal> {
    let ak = AttestationKey::parse(open.ak_public.as_deref().unwrap_or_default())?;
    let nonce = open.nonce.as_slice().try_into().map_err(|_| Refusal::Nonce { what: "quote" })?;
    let mask = open.pcr_mask.cast_unsigned();
    let binding =
        attest_binding(&AttestationChallenge { challenge: answer.challenge, nonce, pcr_mask: mask });
    let pcrs = PcrSet::new(quote.pcrs.iter().map(|pcr| (pcr.index, pcr.digest)))?;
    ak.check_quote(&quote.attest, &quote.signature, &binding, mask, pcrs)
}

/// Puts registers that were seen at another occasion (a renewal) on record, if they differ from the baseline.
pub(crate) async fn note_registers(
    connection: &mut PgConnection,
    node: &NodeId,
    baseline: Option<&Value>,
    now: &Value,
    occasion: &str,
) -> sqlx::Result<()> {
    let changed = registers::changed(baseline, now);
    if changed.is_empty() {
        return Ok(());
    }
    let detail = json!({ "occasion": occasion, "registers": changed });
    record(connection, "attestation", "node.registers-changed", &node.to_string(), &detail).await
}
