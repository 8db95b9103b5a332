// SPDX-License-Identifier: Apache-2.0
//! What keeps strangers from making the importer ask the API server without end: a token that does not even claim to be what
//! a copy Job's Pod has is refused unasked, and tokens that the API server refuses are reviewed at a bounded rate. (T-144)

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::task::AUDIENCE;

/// Refusals at once, and the time after which one more is allowed.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(1);

/// Whether a token claims to be a Pod's and for the importer. Nothing is believed of it: the API server decides.
pub(super) fn claims_to_be_ours(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Ok(payload) = URL_SAFE_NO_PAD.decode(payload) else { return false };
    let Ok(claims) = serde_json::from_slice::<Value>(&payload) else { return false };
    let audience = match &claims["aud"] {
        Value::String(one) => one == AUDIENCE,
        Value::Array(several) => several.iter().any(|one| one == AUDIENCE),
        _ => false,
    };
    audience && claims["kubernetes.io"]["pod"]["name"].is_string()
}

/// How many tokens may still be refused by the API server.
#[derive(Debug)]
pub(super) struct RefusalBudget(Mutex<(u32, Instant)>);

impl RefusalBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new((BURST, now)))
    }

    /// Whether a token that nobody knows may be reviewed.
    pub(super) fn is_left(&self, now: Instant) -> bool {
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = &mut *budget;
        let passed = now.saturating_duration_since(*since).as_nanos() / REFILL.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        *since += REFILL.saturating_mul(passed);
        *left = left.saturating_add(passed).min(BURST);
        *left > 0
    }

    /// One was refused.
    pub(super) fn spend(&self) {
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        budget.0 = budget.0.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn t144_only_a_token_that_claims_to_be_a_pods_for_the_importer_is_worth_a_question() {
        let token = |claims: &Value| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let pod = json!({"namespace": "apps", "pod": {"name": "p", "uid": "u"}});
        let good = json!({"aud": [AUDIENCE], "kubernetes.io": pod});
        assert!(claims_to_be_ours(&token(&good)));
        assert!(claims_to_be_ours(&token(&json!({"aud": AUDIENCE, "kubernetes.io": pod}))));
        for bad in [
            json!({"aud": ["https://kubernetes.default.svc"], "kubernetes.io": pod}),
            json!({"aud": [AUDIENCE], "kubernetes.io": {"namespace": "apps"}}),
            json!({"kubernetes.io": pod}),
            json!([]),
        ] {
            assert!(!claims_to_be_ours(&token(&bad)), "{bad}");
        }
        for bad in ["", "a", "a.b", "a.b.c", &(token(&good) + ".d")] {
            assert!(!claims_to_be_ours(bad), "{bad}");
        }
    }

    #[test]
    fn t144_refusals_have_a_rate() {
        let start = Instant::now();
        let budget = RefusalBudget::new(start);
        for _ in 0..BURST {
            assert!(budget.is_left(start));
            budget.spend();
        }
        assert!(!budget.is_left(start + REFILL / 2));
        assert!(budget.is_left(start + REFILL));
        budget.spend();
        assert!(!budget.is_left(start + REFILL));
        assert!(budget.is_left(start + REFILL * 1000));
        for _ in 0..=BURST {
            budget.spend();
        }
        assert!(!budget.is_left(start + REFILL * 1000), "no more than a burst was saved up");
    }
}
