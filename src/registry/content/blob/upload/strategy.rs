// SPDX-License-Identifier: Apache-2.0
//! How an upload continues after the registry refused one of its requests.

use crate::registry::failure::error::RegistryError;

/// What was sent when the registry refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum SentBody {
    /// A part of the blob, the first of its session or a later one.
    Part { first: bool },
    /// All of it, or the rest.
    Last,
}

/// How an upload that was refused may still succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Strategy {
    /// The upload fails with this error.
    Fail,
    /// With a new session: the registry does not know this one any more, or got out of step with it.
    Reopen,
    /// In one request: the registry accepts no parts.
    SingleRequest,
    /// In smaller requests.
    SmallerParts,
}

/// Decides how to continue after a refusal. Pure.
pub(in crate::registry) fn strategy_after(error: &RegistryError, sent: SentBody) -> Strategy {
    let detail = if let RegistryError::Refused { detail, .. } = error { detail.as_str() } else { "" };
    let Some(status) = error.status() else { return Strategy::Fail };
    if matches!(error, RegistryError::Denied { .. }) {
        return Strategy::Fail;
    }
    let lost = match status {
        404 | 416 => true,
        400 => detail.contains("DIGEST_INVALID") || detail.contains("BLOB_UPLOAD"),
        _ => false,
    };
    match (sent, status) {
        (_, 413) => Strategy::SmallerParts,
        (SentBody::Part { first: false } | SentBody::Last, _) if lost => Strategy::Reopen,
        (SentBody::Part { .. }, 400 | 402..=499 | 501) => Strategy::SingleRequest,
        _ => Strategy::Fail,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(status: u16, detail: &str) -> RegistryError {
        let (registry, what) = ("a.example".parse().unwrap(), String::new());
        RegistryError::Refused { registry, what, status, detail: detail.to_owned() }
    }

    #[test]
    fn a_refused_part_is_no_reason_to_give_up() {
        for status in [400, 404, 405, 411, 415, 416, 422, 501] {
            assert_eq!(
                strategy_after(&refusal(status, ""), SentBody::Part { first: true }),
                Strategy::SingleRequest,
                "{status}"
            );
        }
        for status in [404, 416] {
            assert_eq!(
                strategy_after(&refusal(status, ""), SentBody::Part { first: false }),
                Strategy::Reopen,
                "{status}"
            );
            assert_eq!(strategy_after(&refusal(status, ""), SentBody::Last), Strategy::Reopen, "{status}");
        }
        for sent in [SentBody::Part { first: true }, SentBody::Part { first: false }, SentBody::Last] {
            assert_eq!(strategy_after(&refusal(413, ""), sent), Strategy::SmallerParts);
            assert_eq!(strategy_after(&refusal(507, ""), sent), Strategy::Fail);
        }
        for status in [400, 403, 405, 409, 412] {
            assert_eq!(
                strategy_after(&refusal(status, ": DENIED"), SentBody::Last),
                Strategy::Fail,
                "{status}"
            );
        }
        assert_eq!(strategy_after(&refusal(400, ": DIGEST_INVALID"), SentBody::Last), Strategy::Reopen);
    }
}
