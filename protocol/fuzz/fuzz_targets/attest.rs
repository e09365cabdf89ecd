//! TPM structures and event logs from a hostile box: parsed or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noderr_attestation::{AttestationKey, EndorsementKey, EventLog, VendorRoots};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = AttestationKey::parse(bytes) {
        drop(key.check_quote(bytes, bytes, &[0; 32], 0xff, Default::default()));
    }
    drop(EndorsementKey::parse(bytes));
    if let Ok(log) = EventLog::parse(bytes) {
        for event in (0..=u8::MAX).flat_map(|register| log.of(register)) {
            drop((event.kind_name(), event.about()));
        }
    }
    drop(VendorRoots::default().check(bytes, rustls_time()));
});

fn rustls_time() -> noderr_attestation::UnixTime {
    noderr_attestation::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000))
}
