//! Asks the control plane for the time, over TLS that does not lean on the box's own clock.

use crate::https::{CallError, HttpsClient};
use noderr_identity::{TrustRoots, certificate_validity};
use noderr_protocol::enrol::ServerTime;
use std::time::{Duration, Instant};

/// The control plane's time in milliseconds since the Unix epoch, corrected by half the round trip.
///
/// The answer counts only if the certificate that vouches for the answer is valid at that very time: a key
/// that was stolen long ago cannot move the box's clock beyond the validity of the key's own certificate.
pub async fn ask_time(base: &str, roots: &TrustRoots, deadline: Duration) -> Result<i64, CallError> {
    let tls = roots.time_config().map_err(|error| CallError::Unusable(error.to_string()))?;
    let client = HttpsClient::new(base, tls, deadline)?;
    let asked = Instant::now();
    let answer = client.get::<ServerTime>("/time").await?;
    let unix_ms = answer.body.unix_ms;
    let validity = answer
        .certificate
        .and_then(|certificate| certificate_validity(&certificate))
        .ok_or_else(|| CallError::Answer("no certificate vouches for the time".to_owned()))?;
    if !validity.contains(&(unix_ms / 1000)) {
        let why = "the time is outside the validity of the certificate that vouches for it";
        return Err(CallError::Answer(why.to_owned()));
    }
    let half_trip = i64::try_from(asked.elapsed().as_millis() / 2).unwrap_or_default();
    Ok(unix_ms.saturating_add(half_trip))
}
