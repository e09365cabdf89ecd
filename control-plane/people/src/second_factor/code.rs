//! Codes of authenticator apps: which code counts at which time. Pure arithmetic.

use super::db::Factor;
use noderr_front::Pauses;
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use totp_rs::{Algorithm, TOTP};

const ISSUER: &str = "Noderr";
const DIGITS: usize = 6;
/// Seconds for which a code is valid.
const STEP: i64 = 30;
/// Pauses after consecutive wrong codes of an account. Guessing needs the password, and the throttle of
/// logins slows an address down earlier.
const PAUSES: Pauses = Pauses { free: 20, longest: Duration::from_secs(300) };

/// How long the account must wait after wrong codes.
pub(super) fn pause(factor: &Factor, now: OffsetDateTime) -> Option<Duration> {
    let pause = PAUSES.after(u32::try_from(factor.failures).unwrap_or_default())?;
    // The wait is bounded by the pause, in case the clocks of two instances differ.
    let left = (factor.failed_at + pause - now).min(time::Duration::try_from(pause).ok()?);
    left.is_positive().then(|| left.unsigned_abs())
}

/// The time step that the code belongs to: the present step or a neighbour, because clocks differ, but no
/// step up to the last that was used.
pub(super) fn matching(factor: &Factor, code: &str, now: OffsetDateTime) -> Option<i64> {
    let totp = totp(&factor.secret, String::new())?;
    let present = now.unix_timestamp() / STEP;
    (present - 1..=present + 1).filter(|step| *step > factor.step).find(|step| {
        let right = totp.generate((step * STEP).unsigned_abs());
        right.as_bytes().ct_eq(code.trim().as_bytes()).into()
    })
}

/// The codes of a secret, as an authenticator app makes them.
pub(super) fn totp(secret: &[u8], account: String) -> Option<TOTP> {
    // A colon would end the account's name in the URI.
    let (issuer, account) = (Some(ISSUER.to_owned()), account.replace(':', ""));
    TOTP::new(Algorithm::SHA1, DIGITS, 1, STEP.unsigned_abs(), secret.to_vec(), issuer, account).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(step: i64, failures: i32) -> Factor {
        let failed_at = OffsetDateTime::from_unix_timestamp(1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        // The secret of the examples in RFC 6238.
        Factor { secret: b"12345678901234567890".to_vec(), confirmed: true, step, failures, failed_at }
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // Appendix B of RFC 6238 shows eight digits; the codes here are the last six.
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(matching(&factor(0, 0), code, at(time)), Some(time / STEP));
        }
    }

    #[test]
    fn a_neighbouring_step_will_do_and_no_step_twice() {
        let code = "287082"; // of step 1
        assert_eq!(matching(&factor(0, 0), code, at(0)), Some(1));
        assert_eq!(matching(&factor(0, 0), code, at(89)), Some(1));
        assert_eq!(matching(&factor(0, 0), code, at(90)), None);
        assert_eq!(matching(&factor(1, 0), code, at(59)), None);
        assert_eq!(matching(&factor(0, 0), "28708", at(59)), None);
    }

    #[test]
    fn guessing_takes_longer_and_longer() {
        assert_eq!(pause(&factor(0, 19), at(1_000)), None);
        assert_eq!(pause(&factor(0, 20), at(1_000)), Some(Duration::from_secs(1)));
        assert_eq!(pause(&factor(0, 23), at(1_002)), Some(Duration::from_secs(6)));
        assert_eq!(pause(&factor(0, i32::MAX), at(1_000)), Some(PAUSES.longest));
        assert_eq!(pause(&factor(0, i32::MAX), at(1_300)), None);
        assert_eq!(pause(&factor(0, 20), at(0)), Some(Duration::from_secs(1)), "a clock that is behind");
    }
}
