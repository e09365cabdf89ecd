//! Judges the answers to challenges.

use super::db::{self, OpenChallenge, Verdict};
use super::event_log;
use crate::quarantine::judge;
use crate::registers::{self, Expected};
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
    let expected = db::expected(&mut tx).await?;
    let before = db::last_verdict(&mut tx, node).await?;
    let (verdict, detail, pcrs) = weigh(&open, answer, &expected);
    db::conclude(&mut tx, &answer.challenge, verdict, &detail, pcrs.as_ref()).await?;
    if let (Verdict::Trusted, Some(pcrs)) = (verdict, &pcrs) {
        db::complete_baseline(&mut tx, node, pcrs).await?;
    }
    // What was found before is on record already: a box that is asked often does not fill the audit log.
    let is_new = before.is_none_or(|before| before.verdict != verdict.as_str() || before.pcrs != pcrs);
    let action = match verdict {
        Verdict::Changed => Some("node.registers-changed"),
        Verdict::Refused => Some("node.attestation-refused"),
        Verdict::Unavailable => Some("node.attestation-unavailable"),
        Verdict::Trusted | Verdict::Silent | Verdict::Software => None,
    };
    if let Some(action) = action.filter(|_| is_new) {
        record(&mut tx, "attestation", action, &node.to_string(), &json!({ "detail": detail })).await?;
    }
    judge(&mut tx, &fleet.settings.enrolment, &[node.as_bytes().to_vec()]).await?;
    tx.commit().await?;
    if verdict == Verdict::Changed {
        event_log::ask(fleet, node, answer.challenge).await;
    }
    metrics::counter!("noderr_attestations_total", "verdict" => verdict.as_str()).increment(1);
    Ok(())
}

fn weigh(
    open: &OpenChallenge,
    answer: &AttestationAnswer,
    expected: &Expected,
) -> (Verdict, String, Option<Value>) {
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
                let (verdict, detail) = compare(open.pcr_baseline.as_ref(), &pcrs, expected);
                (verdict, detail, Some(pcrs))
            }
        },
    }
}

fn compare(baseline: Option<&Value>, pcrs: &Value, expected: &Expected) -> (Verdict, String) {
    match registers::changed(baseline, pcrs, expected) {
        changed if changed.is_empty() => {
            (Verdict::Trusted, "the registers are those of the baseline".to_owned())
        }
        changed => {
            let detail = format!("registers that are not those of the baseline: {}", changed.join(", "));
            (Verdict::Changed, detail)
        }
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

/// Takes in registers that a node has shown at another occasion (its enrolment, a renewal): a baseline where there is none yet,
/// and evidence like any other.
pub(crate) async fn note_registers(
    connection: &mut PgConnection,
    fleet: &Fleet,
    node: &NodeId,
    baseline: Option<&Value>,
    now: &Value,
    occasion: &str,
) -> sqlx::Result<()> {
    let expected = db::expected(connection).await?;
    let (verdict, detail) = compare(baseline, now, &expected);
    let mask = fleet.settings.enrolment.pcr_mask();
    db::insert_shown(connection, node, occasion, mask, (verdict, &detail, now)).await?;
    match verdict {
        Verdict::Trusted => db::complete_baseline(connection, node, now).await?,
        _ => {
            let detail = json!({ "occasion": occasion, "detail": detail });
            record(connection, "attestation", "node.registers-changed", &node.to_string(), &detail).await?;
        }
    }
    judge(connection, &fleet.settings.enrolment, &[node.as_bytes().to_vec()]).await?;
    Ok(())
}
