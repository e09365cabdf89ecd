//! Every way in which evidence can fail to prove what it claims, beside evidence that proves it.
//!
//! The TPM here is written in Rust, so that it can lie in every detail; the suite of the rigs enrols with a real one.

#![expect(clippy::unwrap_used, reason = "in a test a failure is a failure")]

mod forge;

use forge::{Forge, attributes};
use noderr_attestation::{
    AttestationKey, EndorsementKey, PcrSet, Refusal, TlsKey, VendorRoots, make_credential,
};
use proptest::prelude::*;
use rustls_pki_types::UnixTime;
use std::time::Duration;

const MASK: u32 = 0b1000_1001;
const BINDING: [u8; 32] = [5; 32];

fn pcrs() -> PcrSet {
    PcrSet::new([(0, [10; 32]), (3, [13; 32]), (7, [17; 32])]).unwrap()
}

#[test]
fn honest_evidence_is_accepted() {
    let forge = Forge::new();
    let quote = forge.quote(&BINDING, MASK, &pcrs());
    let verified = forge.ak().check_quote(&quote.attest, &quote.signature, &BINDING, MASK, pcrs()).unwrap();
    assert_eq!(verified, pcrs());
    let certify = forge.certify(&BINDING);
    forge.ak().check_certify(&certify.attest, &certify.signature, &BINDING, forge.tls().name()).unwrap();
    forge.tls().check_csr_key(&forge.tls().sec1()).unwrap();
}

#[test]
fn a_credential_opens_only_for_the_right_tpm_and_the_right_key() {
    let forge = Forge::new();
    let secret = [42; 32];
    let credential = make_credential(&forge.ek(), &forge.ak(), &secret).unwrap();
    assert_eq!(forge.activate(&credential, forge.ak().name()), Some(secret.to_vec()));
    // The same TPM with another attestation key under the same credential.
    assert_eq!(forge.activate(&credential, Forge::new().ak().name()), None);
    // Another TPM.
    assert_eq!(Forge::new().activate(&credential, forge.ak().name()), None);
}

#[test]
fn a_quote_that_answers_another_question_is_refused() {
    let forge = Forge::new();
    let quote = forge.quote(&BINDING, MASK, &pcrs());
    let check = |binding: &[u8; 32], mask, pcrs| {
        forge.ak().check_quote(&quote.attest, &quote.signature, binding, mask, pcrs)
    };
    assert_eq!(check(&[6; 32], MASK, pcrs()), Err(Refusal::Nonce { what: "quote" }));
    assert_eq!(check(&BINDING, MASK | 1 << 4, pcrs()), Err(Refusal::PcrSelection));
    let fewer = PcrSet::new([(0, [10; 32]), (3, [13; 32])]).unwrap();
    assert_eq!(check(&BINDING, MASK, fewer), Err(Refusal::PcrSelection));
    let altered = PcrSet::new([(0, [10; 32]), (3, [99; 32]), (7, [17; 32])]).unwrap();
    assert_eq!(check(&BINDING, MASK, altered), Err(Refusal::PcrDigest));
    assert_eq!(PcrSet::new([(1, [0; 32]), (1, [1; 32])]), Err(Refusal::PcrSelection));
    assert_eq!(PcrSet::new([(24, [0; 32])]), Err(Refusal::PcrSelection));
}

#[test]
fn one_kind_of_statement_does_not_pass_for_another() {
    let forge = Forge::new();
    let (quote, certify) = (forge.quote(&BINDING, MASK, &pcrs()), forge.certify(&BINDING));
    let as_quote = forge.ak().check_quote(&certify.attest, &certify.signature, &BINDING, MASK, pcrs());
    assert_eq!(as_quote, Err(Refusal::NotOfTpm { what: "quote" }));
    let as_certify = forge.ak().check_certify(&quote.attest, &quote.signature, &BINDING, forge.tls().name());
    assert_eq!(as_certify, Err(Refusal::NotOfTpm { what: "certification" }));
}

#[test]
fn signatures_and_names_of_others_are_refused() {
    let (forge, other) = (Forge::new(), Forge::new());
    let quote = forge.quote(&BINDING, MASK, &pcrs());
    let by_other = other.ak().check_quote(&quote.attest, &quote.signature, &BINDING, MASK, pcrs());
    assert_eq!(by_other, Err(Refusal::Signature { what: "quote" }));
    let certify = forge.certify(&BINDING);
    let of_other =
        forge.ak().check_certify(&certify.attest, &certify.signature, &BINDING, other.tls().name());
    assert_eq!(of_other, Err(Refusal::CertifiedName));
    assert_eq!(forge.tls().check_csr_key(&other.tls().sec1()), Err(Refusal::CsrKey));
}

#[test]
fn something_signed_by_the_key_that_no_tpm_made_is_refused() {
    let forge = Forge::new();
    let mut attest = forge.quote(&BINDING, MASK, &pcrs()).attest;
    attest[0] ^= 0xff;
    let signature = forge.sign(&attest);
    let refused = forge.ak().check_quote(&attest, &signature, &BINDING, MASK, pcrs());
    assert_eq!(refused, Err(Refusal::NotOfTpm { what: "quote" }));
}

#[test]
fn evidence_truncated_at_any_length_or_followed_by_anything_is_refused() {
    let forge = Forge::new();
    for evidence in [forge.quote(&BINDING, MASK, &pcrs()), forge.certify(&BINDING)] {
        for len in 0..evidence.attest.len() {
            // Signed again, so that the parser must notice, and not the check of the signature.
            let short = &evidence.attest[..len];
            let signature = forge.sign(short);
            assert!(forge.ak().check_quote(short, &signature, &BINDING, MASK, pcrs()).is_err(), "{len}");
            assert!(
                forge.ak().check_certify(short, &signature, &BINDING, forge.tls().name()).is_err(),
                "{len}"
            );
        }
        let long = [&evidence.attest[..], &[0]].concat();
        let signature = forge.sign(&long);
        assert!(forge.ak().check_quote(&long, &signature, &BINDING, MASK, pcrs()).is_err());
        assert!(forge.ak().check_certify(&long, &signature, &BINDING, forge.tls().name()).is_err());
        for len in 0..evidence.signature.len() {
            let short = &evidence.signature[..len];
            assert!(
                forge.ak().check_quote(&evidence.attest, short, &BINDING, MASK, pcrs()).is_err(),
                "{len}"
            );
        }
    }
    for len in 0..forge.ak_public.len() {
        assert!(AttestationKey::parse(&forge.ak_public[..len]).is_err(), "{len}");
        assert!(
            EndorsementKey::parse(&forge.ek_public[..len.min(forge.ek_public.len() - 1)]).is_err(),
            "{len}"
        );
    }
}

#[test]
fn keys_with_the_wrong_attributes_are_refused() {
    let forge = Forge::new();
    for missing in [
        attributes::FIXED_TPM,
        attributes::FIXED_PARENT,
        attributes::ORIGIN,
        attributes::SIGN,
        attributes::RESTRICTED,
    ] {
        let area = forge.ak_area(attributes::AK & !missing);
        assert_eq!(AttestationKey::parse(&area).unwrap_err(), Refusal::AkAttributes, "{missing:x}");
    }
    for missing in [attributes::FIXED_TPM, attributes::FIXED_PARENT, attributes::ORIGIN, attributes::SIGN] {
        let area = forge.tls_area(attributes::TLS & !missing);
        assert_eq!(TlsKey::parse(&area, &forge.ak()).unwrap_err(), Refusal::TlsAttributes, "{missing:x}");
    }
    let restricted = forge.tls_area(attributes::TLS | attributes::RESTRICTED);
    assert_eq!(TlsKey::parse(&restricted, &forge.ak()).unwrap_err(), Refusal::TlsAttributes);
    let signing = forge.ek_area(attributes::EK | attributes::SIGN);
    assert_eq!(EndorsementKey::parse(&signing).unwrap_err(), Refusal::EkAttributes);
    let unrestricted = forge.ek_area(attributes::EK & !attributes::RESTRICTED);
    assert_eq!(EndorsementKey::parse(&unrestricted).unwrap_err(), Refusal::EkAttributes);
}

#[test]
fn the_attestation_key_is_no_tls_key_under_any_attributes() {
    let forge = Forge::new();
    assert_eq!(TlsKey::parse(&forge.ak_public, &forge.ak()).unwrap_err(), Refusal::AkAsTlsKey);
    let disguised = forge.ak_area(attributes::TLS);
    assert_eq!(TlsKey::parse(&disguised, &forge.ak()).unwrap_err(), Refusal::AkAsTlsKey);
}

#[test]
fn an_endorsement_certificate_must_lead_to_a_configured_vendor_and_speak_of_this_key() {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let (forge, other) = (Forge::new(), Forge::new());
    let (vendor, stranger) = (forge::Vendor::new(), forge::Vendor::new());
    let roots = VendorRoots::new(&[vendor.certificate()]).unwrap();
    let good = vendor.certify(&forge, true);
    forge.ek().check_certificate(&roots.check(&good, now).unwrap()).unwrap();

    // TPMs pad what they keep in NV memory; anything else behind the certificate is refused.
    roots.check(&[&good[..], &[0xff; 20], &[0; 4]].concat(), now).unwrap();
    assert!(roots.check(&[&good[..], b"x"].concat(), now).is_err());

    let code = |result: Result<_, Refusal>| result.map(drop).unwrap_err().code();
    assert_eq!(code(roots.check(&stranger.certify(&forge, true), now)), "ek-chain");
    assert_eq!(code(roots.check(&vendor.certify(&forge, false), now)), "ek-chain");
    assert_eq!(code(VendorRoots::default().check(&good, now)), "ek-chain");
    let of_other = roots.check(&vendor.certify(&other, true), now).unwrap();
    assert_eq!(forge.ek().check_certificate(&of_other), Err(Refusal::EkMismatch));
    for len in 0..good.len() {
        assert!(roots.check(&good[..len], now).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn garbage_is_refused_and_never_panics(bytes: Vec<u8>, signature: Vec<u8>) {
        let forge = Forge::new();
        prop_assert!(AttestationKey::parse(&bytes).is_err());
        prop_assert!(EndorsementKey::parse(&bytes).is_err());
        prop_assert!(forge.ak().check_quote(&bytes, &signature, &BINDING, MASK, pcrs()).is_err());
        let signed = forge.sign(&bytes);
        prop_assert!(forge.ak().check_quote(&bytes, &signed, &BINDING, MASK, pcrs()).is_err());
        prop_assert!(forge.ak().check_certify(&bytes, &signed, &BINDING, forge.tls().name()).is_err());
    }

    #[test]
    fn one_altered_byte_anywhere_is_refused(at: prop::sample::Index, by in 1..=255_u8) {
        let forge = Forge::new();
        let quote = forge.quote(&BINDING, MASK, &pcrs());
        let mut attest = quote.attest.clone();
        attest[at.index(quote.attest.len())] ^= by;
        prop_assert!(forge.ak().check_quote(&attest, &quote.signature, &BINDING, MASK, pcrs()).is_err());
        let mut signature = quote.signature.clone();
        signature[at.index(quote.signature.len())] ^= by;
        prop_assert!(forge.ak().check_quote(&quote.attest, &signature, &BINDING, MASK, pcrs()).is_err());
    }
}

#[test]
fn one_tpm_has_one_fingerprint_whatever_else_it_says_of_its_key() {
    let (forge, other) = (Forge::new(), Forge::new());
    // A policy in place of none: another name, which a credential does not look at, for the same key.
    let mut dressed_up = forge.ek_public.clone();
    dressed_up.splice(8..10, [0, 32].into_iter().chain([0x5a; 32]));
    let dressed_up = EndorsementKey::parse(&dressed_up).unwrap();
    assert_eq!(dressed_up.fingerprint(), forge.ek().fingerprint());
    assert_ne!(other.ek().fingerprint(), forge.ek().fingerprint());
}
