// SPDX-License-Identifier: Apache-2.0
//! How an upload goes on after the registry refused a request of it.

use crate::registry::failure::error::RegistryError;

/// What was sent when the registry refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// A part of the blob, the first of its session or a later one.
    Part { first: bool },
    /// All of it, or the rest.
    Last,
}

/// How an upload that was refused may still succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It may not.
    Fail,
    /// With a new session: the registry does not know this one any more, or got out of step with it.
    Reopen,
    /// In one request: the registry takes no parts.
    Whole,
    /// In smaller requests.
    SmallerParts,
}

/// Decides how to go on after a refusal. Pure.
pub(super) fn way_after(error: &RegistryError, sent: Sent) -> Way {
    let detail = if let RegistryError::Refused { detail, .. } = error { detail.as_str() } else { "" };
    let Some(status) = error.status() else { return Way::Fail };
    if matches!(error, RegistryError::Denied { .. }) {
        return Way::Fail;
    }
    let lost = match status {
        404 | 416 => true,
        400 => detail.contains("DIGEST_INVALID") || detail.contains("BLOB_UPLOAD"),
        _ => false,
    };
    match (sent, status) {
        (_, 413) => Way::SmallerParts,
        (Sent::Part { first: false } | Sent::Last, _) if lost => Way::Reopen,
        (Sent::Part { .. }, 400 | 402..=499 | 501) => Way::Whole,
        _ => Way::Fail,
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
            assert_eq!(way_after(&refusal(status, ""), Sent::Part { first: true }), Way::Whole, "{status}");
        }
        for status in [404, 416] {
            assert_eq!(way_after(&refusal(status, ""), Sent::Part { first: false }), Way::Reopen, "{status}");
            assert_eq!(way_after(&refusal(status, ""), Sent::Last), Way::Reopen, "{status}");
        }
        for sent in [Sent::Part { first: true }, Sent::Part { first: false }, Sent::Last] {
            assert_eq!(way_after(&refusal(413, ""), sent), Way::SmallerParts);
            assert_eq!(way_after(&refusal(507, ""), sent), Way::Fail);
        }
        for status in [400, 403, 405, 409, 412] {
            assert_eq!(way_after(&refusal(status, ": DENIED"), Sent::Last), Way::Fail, "{status}");
        }
        assert_eq!(way_after(&refusal(400, ": DIGEST_INVALID"), Sent::Last), Way::Reopen);
    }
}
