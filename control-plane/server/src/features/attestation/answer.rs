//! Judging an answer.

use super::db::{self, Open, Verdict};
use crate::app::App;
use crate::database::Tx;
use crate::features::audit;
use crate::features::enrolment::pcrs_to_json;
use noderr_attestation::{AttestationKey, PcrSet, Refusal};
use noderr_protocol::enrol::attest_binding;
use noderr_protocol::{AttestationAnswer, AttestationChallenge, Evidence, NodeId, QuoteEvidence};
use serde_json::{Value, json};

/// Judges an answer and puts the verdict on record. An answer to no open challenge of this node, or
/// one that comes too late, is counted and dropped.
pub(crate) async fn take_answer(app: &App, node: &NodeId, answer: &AttestationAnswer) -> sqlx::Result<()> {
    let mut tx = app.database.begin().await?;
    let Some(open) =
        db::take(&mut tx, node, &answer.challenge, app.config.enrolment.attest_answer_s.into()).await?
    else {
        metrics::counter!("noderr_attestations_total", "verdict" => "unasked").increment(1);
        return Ok(());
    };
    let (verdict, detail, pcrs) = judge(&open, answer);
    db::conclude(&mut tx, &answer.challenge, verdict, &detail, pcrs.as_ref()).await?;
    if matches!(verdict, Verdict::Changed | Verdict::Refused) {
        let action =
            if verdict == Verdict::Changed { "node.registers-changed" } else { "node.attestation-refused" };
        audit::record(&mut tx, "attestation", action, &node.to_string(), &json!({ "detail": detail }))
            .await?;
    }
    tx.commit().await?;
    let label = match verdict {
        Verdict::Trusted => "trusted",
        Verdict::Changed => "changed",
        Verdict::Refused => "refused",
        Verdict::Unavailable => "unavailable",
        Verdict::Silent => "silent",
        Verdict::Software => "software",
    };
    metrics::counter!("noderr_attestations_total", "verdict" => label).increment(1);
    Ok(())
}

fn judge(open: &Open, answer: &AttestationAnswer) -> (Verdict, String, Option<Value>) {
    match &answer.evidence {
        Evidence::Software if open.kind == "software" => {
            (Verdict::Software, "a software identity has nothing to quote with".to_owned(), None)
        }
        Evidence::Software => {
            (Verdict::Refused, "a node known with a TPM claims to be software".to_owned(), None)
        }
        // A zero character is none in PostgreSQL.
        Evidence::Unavailable(why) => (Verdict::Unavailable, why.replace('\0', "\u{fffd}"), None),
        Evidence::Quote(quote) => match check(open, answer, quote) {
            Err(refusal) => (Verdict::Refused, refusal.to_string(), None),
            Ok(pcrs) => {
                let pcrs = pcrs_to_json(&pcrs);
                match changed_registers(open.pcr_baseline.as_ref(), &pcrs) {
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

fn check(open: &Open, answer: &AttestationAnswer, quote: &QuoteEvidence) -> Result<PcrSet, Refusal> {
    let ak = AttestationKey::parse(open.ak_public.as_deref().unwrap_or_default())?;
    let nonce = open.nonce.as_slice().try_into().map_err(|_| Refusal::Nonce { what: "quote" })?;
    let mask = open.pcr_mask.cast_unsigned();
    let binding =
        attest_binding(&AttestationChallenge { challenge: answer.challenge, nonce, pcr_mask: mask });
    let pcrs = PcrSet::new(quote.pcrs.iter().map(|pcr| (pcr.index, pcr.digest)))?;
    ak.check_quote(&quote.attest, &quote.signature, &binding, mask, pcrs)
}

/// Indices whose values differ, or that only one side has.
fn changed_registers(baseline: Option<&Value>, now: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let before = baseline.and_then(Value::as_object).unwrap_or(&empty);
    let now = now.as_object().unwrap_or(&empty);
    let indices: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).collect();
    indices.into_iter().filter(|index| before.get(*index) != now.get(*index)).cloned().collect()
}

/// Puts registers seen in passing (at a renewal) on record if they are not the baseline's.
pub(crate) async fn note_registers(
    tx: &mut Tx,
    node: &NodeId,
    baseline: Option<&Value>,
    now: &Value,
    occasion: &str,
) -> sqlx::Result<()> {
    let changed = changed_registers(baseline, now);
    if changed.is_empty() {
        return Ok(());
    }
    let detail = json!({ "occasion": occasion, "registers": changed });
    audit::record(tx, "attestation", "node.registers-changed", &node.to_string(), &detail).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_that_changed_appeared_or_vanished_is_named() {
        let baseline = json!({ "0": "aa", "1": "bb", "2": "cc" });
        let now = json!({ "0": "aa", "1": "xx", "3": "dd" });
        assert_eq!(changed_registers(Some(&baseline), &now), ["1", "2", "3"]);
        assert!(changed_registers(Some(&baseline), &baseline).is_empty());
        assert_eq!(changed_registers(None, &json!({ "0": "aa" })), ["0"]);
    }
}
