//! Enrolment by a cheat who has a real TPM: every refusal of the server, through its API.

use crate::lab;
use crate::raw::refused_as;
use anyhow::Context as _;
use noderr_cli::Client;
use noderr_hil::{ControlOptions, Lab, LabOptions, SoftTpm, TpmVendor, binary, until};
use noderr_identity::{NodeKeys, SoftwareKey, Tpm, TpmConfig, certificate_request};
use noderr_protocol::Base64;
use noderr_protocol::enrol::{
    BeginRequest, BeginResponse, FinishRequest, Register, TpmKeys, TpmProof, enrol_binding,
};
use serde_json::{Value, json};
use sqlx::postgres::PgPool;
use std::path::Path;
use std::time::Duration;

/// A cheat: has a TPM, and calls the API without a node.
struct Cheat {
    tpm: Tpm,
    device: SoftTpm,
    api: Client,
}

impl Cheat {
    async fn new(lab: &Lab, vendor: &TpmVendor, state: &Path) -> anyhow::Result<Self> {
        vendor.make(state).await?;
        let mut device = SoftTpm::new(state)?;
        device.on().await?;
        let tpm = Tpm::start(TpmConfig {
            program: binary("noderr-tpm")?,
            tcti: device.tcti(),
            deadline: Duration::from_secs(5),
        })?;
        Ok(Self { tpm, device, api: lab.control.anonymous()? })
    }

    fn keys(&self) -> anyhow::Result<TpmKeys> {
        let public = self.tpm.public_keys(true)?;
        Ok(TpmKeys {
            ek_cert: public.ek_cert.map(Base64),
            ek_pub: Base64(public.ek),
            ak_pub: Base64(public.ak),
            tls_pub: Base64(public.tls),
        })
    }

    async fn begin(&self, token: &str, keys: Option<TpmKeys>) -> Result<Value, noderr_cli::ApiError> {
        let request = BeginRequest { token: token.to_owned(), tpm: keys };
        self.api.post("/enrol/begin", &serde_json::to_value(request).unwrap_or_default()).await
    }

    /// Begins an enrolment honestly.
    async fn begun(&self, token: &str) -> anyhow::Result<BeginResponse> {
        Ok(serde_json::from_value(self.begin(token, Some(self.keys()?)).await?)?)
    }

    /// The answer of an honest box, with a certificate request signed by `csr_keys`.
    fn honest(&self, begun: &BeginResponse, csr_keys: &NodeKeys) -> anyhow::Result<FinishRequest> {
        let challenge = begun.challenge.clone().context("no challenge")?;
        let csr = certificate_request(csr_keys)?;
        let secret = self.tpm.activate(challenge.credential_blob.0, challenge.encrypted_secret.0)?;
        let binding = enrol_binding(&secret, &begun.session, &csr, None);
        let proof = self.proof(&binding, challenge.pcr_mask)?;
        let result_key = self.own().prove_result_key(&binding)?;
        Ok(FinishRequest {
            session: begun.session.clone(),
            csr: Base64(csr),
            proof: Some(proof),
            possession: None,
            result_key,
        })
    }

    fn proof(&self, binding: &[u8; 32], mask: u32) -> anyhow::Result<TpmProof> {
        let (quote, pcrs) = self.tpm.quote(*binding, mask)?;
        let certify = self.tpm.certify(*binding)?;
        let pcrs = pcrs.into_iter().filter_map(Register::of).collect();
        Ok(TpmProof {
            pcrs,
            event_log: None,
            quote: Base64(quote.attest),
            quote_sig: Base64(quote.signature),
            certify: Base64(certify.attest),
            certify_sig: Base64(certify.signature),
        })
    }

    fn own(&self) -> NodeKeys {
        NodeKeys::Tpm(self.tpm.clone())
    }

    async fn finish(&self, request: &FinishRequest) -> Result<Value, noderr_cli::ApiError> {
        self.api.post("/enrol/finish", &serde_json::to_value(request).unwrap_or_default()).await
    }

    async fn enrol(&self, token: &str) -> anyhow::Result<Value> {
        let begun = self.begun(token).await?;
        Ok(self.finish(&self.honest(&begun, &self.own())?).await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_that_is_barred_while_it_enrols_gets_no_certificate() -> anyhow::Result<()> {
    let (folder, lab) = lab(LabOptions::default()).await?;
    let cheat = Cheat::new(&lab, &lab.vendor, &folder.path().join("cheat")).await?;
    let (stolen, token) = lab.add_node("stolen").await?;
    cheat.enrol(&token).await?;
    let (_, token) = lab.add_node("another").await?;
    let begun = cheat.begun(&token).await?;
    lab.admin
        .post(&format!("/nodes/{stolen}/revoke"), &json!({ "reason": "stolen", "bar_tpm": true }))
        .await?;
    let answer = cheat.honest(&begun, &cheat.own())?;
    assert_eq!(refused_as(cheat.finish(&answer).await), "tpm-barred");
    Ok(())
}

/// One way to cheat, with the kind of its refusal.
type Lie = (&'static str, fn(&mut TpmProof));

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_any_lie_in_it_is_refused_and_ends_its_session() -> anyhow::Result<()> {
    let (folder, lab) = lab(LabOptions::default()).await?;
    let cheat = Cheat::new(&lab, &lab.vendor, &folder.path().join("cheat")).await?;
    let (node, token) = lab.add_node("cheated").await?;
    let lies: [Lie; 9] = [
        ("signature", |proof| proof.quote.0[20] ^= 1),
        ("signature", |proof| proof.certify.0[20] ^= 1),
        ("signature", |proof| std::mem::swap(&mut proof.quote_sig, &mut proof.certify_sig)),
        ("signature", |proof| proof.quote.0.truncate(40)),
        ("malformed", |proof| proof.certify_sig.0.clear()),
        ("pcr-digest", |proof| proof.pcrs[0].sha256.0[0] ^= 1),
        ("pcr-selection", |proof| proof.pcrs.truncate(3)),
        ("nonce", |proof| proof.event_log = Some(Base64(b"another start".to_vec()))),
        ("not-of-tpm", |proof| {
            proof.certify.clone_from(&proof.quote);
            proof.certify_sig.clone_from(&proof.quote_sig);
        }),
    ];
    for (number, (refusal, lie)) in lies.into_iter().enumerate() {
        let begun = cheat.begun(&token).await?;
        let honest = cheat.honest(&begun, &cheat.own())?;
        let mut lying = honest.clone();
        lie(lying.proof.as_mut().context("no proof")?);
        assert_eq!(refused_as(cheat.finish(&lying).await), refusal, "lie {number}");
        // The honest answer comes too late now.
        assert_eq!(refused_as(cheat.finish(&honest).await), "session", "after lie {number}");
    }

    // A key outside the TPM, with the TPM's certification of another key.
    let outside = NodeKeys::Software {
        tls: SoftwareKey::open_or_create(&folder.path().join("key"))?,
        results: SoftwareKey::open_or_create(&folder.path().join("results.key"))?,
    };
    let begun = cheat.begun(&token).await?;
    assert_eq!(refused_as(cheat.finish(&cheat.honest(&begun, &outside)?).await), "csr-key");
    // An answer without a proof to a session that was begun with a TPM.
    let begun = cheat.begun(&token).await?;
    let (csr, result_key) = (certificate_request(&outside)?, outside.prove_result_key(&[0; 32])?);
    let bare =
        FinishRequest { session: begun.session, csr: Base64(csr), proof: None, possession: None, result_key };
    assert_eq!(refused_as(cheat.finish(&bare).await), "proof");
    // The right answer to the challenge of another session.
    let (one, other) = (cheat.begun(&token).await?, cheat.begun(&token).await?);
    let crossed = FinishRequest { session: other.session, ..cheat.honest(&one, &cheat.own())? };
    assert_eq!(refused_as(cheat.finish(&crossed).await), "nonce");

    // All refusals are on record; the node is not enrolled, and its token not used up.
    let refusals = lab.admin.list(&format!("/audit?subject={node}"), 100).await?;
    let refusals = refusals.iter().filter(|entry| entry["action"] == "node.enrol.refused").count();
    assert_eq!(refusals, lies.len() + 3);
    assert!(lab.node(&node).await?["enrolled_at"].is_null());
    let enrolled = cheat.enrol(&token).await?;
    assert_eq!(enrolled["node"], node);
    // A session that was answered once is over.
    let begun = cheat.begun(&token).await?;
    let answer = cheat.honest(&begun, &cheat.own())?;
    cheat.finish(&answer).await?;
    assert_eq!(refused_as(cheat.finish(&answer).await), "session");
    Ok(())
}

/// One way to cheat about the key of results, with the kind of its refusal.
type ResultLie = (&'static str, fn(&mut FinishRequest, &TpmKeys));

#[tokio::test(flavor = "multi_thread")]
async fn results_are_signed_by_a_key_of_their_own_that_the_tpm_vouches_for() -> anyhow::Result<()> {
    let (folder, lab) = lab(LabOptions::default()).await?;
    let cheat = Cheat::new(&lab, &lab.vendor, &folder.path().join("cheat")).await?;
    let (_, token) = lab.add_node("cheated").await?;
    let lies: [ResultLie; 4] = [
        ("proof", |answer, _| answer.result_key.certify = None),
        ("certified-name", |answer, _| {
            let proof = answer.proof.clone().map(|proof| (proof.certify, proof.certify_sig));
            let (certify, signature) = proof.unwrap_or_default();
            (answer.result_key.certify, answer.result_key.signature) = (Some(certify), signature);
        }),
        ("result-key", |answer, keys| answer.result_key.public.clone_from(&keys.tls_pub)),
        ("result-key", |answer, keys| answer.result_key.public.clone_from(&keys.ak_pub)),
    ];
    for (refusal, lie) in lies {
        let begun = cheat.begun(&token).await?;
        let mut answer = cheat.honest(&begun, &cheat.own())?;
        lie(&mut answer, &cheat.keys()?);
        assert_eq!(refused_as(cheat.finish(&answer).await), refusal);
    }
    // A certification from another exchange: nobody can use a certification again.
    let begun = cheat.begun(&token).await?;
    let stale = cheat.own().prove_result_key(&[7; 32])?;
    let stale = FinishRequest { result_key: stale, ..cheat.honest(&begun, &cheat.own())? };
    assert_eq!(refused_as(cheat.finish(&stale).await), "nonce");

    cheat.enrol(&token).await?;
    let result_key: Vec<u8> = sqlx::query_scalar("SELECT result_key FROM nodes WHERE label = 'cheated'")
        .fetch_one(&lab.database)
        .await?;
    noderr_ca::check_signature(&result_key, b"42", &cheat.tpm.sign_result(b"42")?)?;
    assert!(noderr_ca::check_signature(&result_key, b"42", &cheat.tpm.sign(b"42")?).is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_that_is_not_the_one_it_shows_does_not_begin() -> anyhow::Result<()> {
    let (folder, lab) = lab(LabOptions::default()).await?;
    let cheat = Cheat::new(&lab, &lab.vendor, &folder.path().join("cheat")).await?;
    let stranger = TpmVendor::open(&folder.path().join("other-vendor"))?;
    let foreign = Cheat::new(&lab, &stranger, &folder.path().join("foreign")).await?;
    let (_, token) = lab.add_node("cheated").await?;

    let (own, other) = (cheat.keys()?, foreign.keys()?);
    for (refusal, keys) in [
        ("ek-chain", other.clone()),
        ("ek-mismatch", TpmKeys { ek_cert: own.ek_cert.clone(), ..other.clone() }),
        ("ek-certificate-required", TpmKeys { ek_cert: None, ..own.clone() }),
        ("ak-as-tls-key", TpmKeys { tls_pub: own.ak_pub.clone(), ..own.clone() }),
        ("ak-attributes", TpmKeys { ak_pub: own.tls_pub.clone(), ..own.clone() }),
        ("ek-attributes", TpmKeys { ek_pub: own.ak_pub.clone(), ..own.clone() }),
        ("malformed", TpmKeys { ak_pub: Base64(own.ak_pub[..30].to_vec()), ..own.clone() }),
    ] {
        assert_eq!(refused_as(cheat.begin(&token, Some(keys)).await), refusal);
    }
    assert_eq!(refused_as(cheat.begin(&token, None).await), "software-not-allowed");
    assert_eq!(refused_as(cheat.begin("nit_nobodys", Some(own.clone())).await), "install-token");

    // The attestation key of another TPM beside an endorsed TPM: neither TPM can open a credential for both.
    let mixed = TpmKeys { ak_pub: other.ak_pub, tls_pub: other.tls_pub, ..own };
    let begun: BeginResponse = serde_json::from_value(cheat.begin(&token, Some(mixed)).await?)?;
    let challenge = begun.challenge.clone().context("no challenge")?;
    for tpm in [&cheat.tpm, &foreign.tpm] {
        let (blob, secret) = (challenge.credential_blob.clone(), challenge.encrypted_secret.clone());
        assert!(tpm.activate(blob.0, secret.0).is_err());
    }
    let csr = certificate_request(&foreign.own())?;
    let guessed = foreign.proof(&enrol_binding(&[0; 32], &begun.session, &csr, None), challenge.pcr_mask)?;
    let result_key = foreign.own().prove_result_key(&[0; 32])?;
    let guess = FinishRequest {
        session: begun.session,
        csr: Base64(csr),
        proof: Some(guessed),
        possession: None,
        result_key,
    };
    assert_eq!(refused_as(cheat.finish(&guess).await), "nonce");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tpm_is_one_node_and_what_has_expired_is_over() -> anyhow::Result<()> {
    let control = ControlOptions::default()
        .with("enrolment", "allow_software = true")
        .with("enrolment", "session_s = 2");
    let (folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let mut cheat = Cheat::new(&lab, &lab.vendor, &folder.path().join("cheat")).await?;
    let (node, token) = lab.add_node("first").await?;
    cheat.enrol(&token).await?;

    // A second node on the same TPM, which once shows itself as it is, and once as another TPM.
    let (_, second) = lab.add_node("second").await?;
    let mut dressed_up = cheat.keys()?;
    let policy = dressed_up.ek_pub.0.get_mut(10..42).context("an endorsement key without a policy")?;
    policy.fill(0x5a);
    for keys in [cheat.keys()?, dressed_up] {
        let begun: BeginResponse = serde_json::from_value(cheat.begin(&second, Some(keys)).await?)?;
        let refused = cheat.finish(&cheat.honest(&begun, &cheat.own())?).await;
        assert_eq!(refused_as(refused), "tpm-in-use");
    }
    // A node known with a TPM does not come back without one, until an admin unbinds it.
    let fresh = lab.install_token(&node).await?;
    assert_eq!(refused_as(cheat.begin(&fresh, None).await), "known-with-tpm");
    lab.admin.post(&format!("/nodes/{node}/unbind"), &json!({})).await?;
    cheat.enrol(&second).await?;
    assert_eq!(refused_as(cheat.begin(&fresh, None).await), "install-token", "it was for the box before");
    let fresh = lab.install_token(&node).await?;
    cheat.begin(&fresh, None).await?;

    // A session that was not answered in time.
    let (_, third) = lab.add_node("third").await?;
    cheat.device.off().await?;
    let other = Cheat::new(&lab, &lab.vendor, &folder.path().join("other")).await?;
    let begun = other.begun(&third).await?;
    let answer = other.honest(&begun, &other.own())?;
    until("the session to expire", Duration::from_secs(10), || async {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM enrolments WHERE expires_at > now()")
            .fetch_one(&lab.database)
            .await?;
        Ok((open == 0).then_some(()))
    })
    .await?;
    assert_eq!(refused_as(other.finish(&answer).await), "session");
    // A token that has expired.
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    sqlx::query("UPDATE install_tokens SET expires_at = now() WHERE used_at IS NULL").execute(&owner).await?;
    let keys = other.keys()?;
    assert_eq!(refused_as(other.begin(&third, Some(keys)).await), "install-token");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tpms_lets_in_those_on_it_and_tries_are_counted() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("enrolment", "ek_policy = \"allow-listed-ek\"");
    let (folder, lab) = lab(LabOptions { control, open_policy: true, ..LabOptions::default() }).await?;
    let cheat = Cheat::new(&lab, &lab.vendor, &folder.path().join("cheat")).await?;
    let (_, token) = lab.add_node("listed").await?;
    let keys = cheat.keys()?;
    let refused = cheat.begin(&token, Some(keys.clone())).await.expect_err("it is not on the list");
    assert_eq!(refused.kind(), Some("ek-not-listed"));
    let text = refused.to_string();
    let words = text.split(|char: char| !char.is_ascii_hexdigit());
    let fingerprint = words.max_by_key(|word| word.len()).context("no fingerprint is named")?;
    assert_eq!(fingerprint.len(), 64, "{text}");
    drop(lab);

    let control = ControlOptions::default()
        .with("enrolment", "ek_policy = \"allow-listed-ek\"")
        .with("enrolment", format!("allowed_eks = [\"{fingerprint}\"]"));
    let (_folder, lab) =
        crate::lab(LabOptions { control, open_policy: true, ..LabOptions::default() }).await?;
    let cheat = Cheat { api: lab.control.anonymous()?, ..cheat };
    let (node, token) = lab.add_node("listed").await?;
    cheat.enrol(&token).await?;
    assert_eq!(lab.node(&node).await?["tpm_certified"], false, "a list is no vendor");
    let (_, token) = lab.add_node("tried").await?;
    for _ in 0..30 {
        cheat.begin(&token, Some(keys.clone())).await?;
    }
    assert_eq!(refused_as(cheat.begin(&token, Some(keys)).await), "too-many-attempts");
    Ok(())
}
