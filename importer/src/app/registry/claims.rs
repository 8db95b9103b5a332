// SPDX-License-Identifier: Apache-2.0
//! What keeps strangers from making the importer ask the API server without end: a token that does not even claim to be what
//! a copy Job's Pod has is refused unasked, and tokens that the API server refuses are reviewed at a bounded rate. (T-144)

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::model::task::AUDIENCE;

/// Refusals of one address at once, and the time after which one more is allowed.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(1);
/// Most addresses that are remembered; beyond these, the one that was refused longest ago is forgotten.
const MAX_PEERS: usize = 1024;

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

/// How many tokens of each address may still be refused by the API server. Each has its own: whoever floods the importer
/// with tokens uses up none of what others have. (T-172)
#[derive(Debug, Default)]
pub(super) struct RefusalBudgets(Mutex<HashMap<IpAddr, Budget>>);

/// What an address has, of which tokens were refused.
#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
    refused: Instant,
}

impl Budget {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_nanos() / REFILL.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.since += REFILL.saturating_mul(passed);
        self.left = self.left.saturating_add(passed).min(BURST);
    }
}

impl RefusalBudgets {
    fn budgets(&self) -> MutexGuard<'_, HashMap<IpAddr, Budget>> {
        self.0.lock()
    }

    /// Whether a token that nobody knows may be reviewed for this address.
    pub(super) fn is_left(&self, peer: IpAddr, now: Instant) -> bool {
        self.budgets().get_mut(&peer).is_none_or(|budget| {
            budget.refill(now);
            budget.left > 0
        })
    }

    /// One of this address was refused.
    pub(super) fn spend(&self, peer: IpAddr, now: Instant) {
        let mut budgets = self.budgets();
        if budgets.len() >= MAX_PEERS && !budgets.contains_key(&peer) {
            let oldest = budgets.iter().min_by_key(|(_, budget)| budget.refused).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| budgets.remove(&oldest));
        }
        let full = Budget { left: BURST, since: now, refused: now };
        let budget = budgets.entry(peer).or_insert(full);
        budget.refill(now);
        budget.left = budget.left.saturating_sub(1);
        budget.refused = now;
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

    fn peer(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn t144_refusals_have_a_rate() {
        let start = Instant::now();
        let budgets = RefusalBudgets::default();
        let (left, spend) = (|at| budgets.is_left(peer(1), at), |at| budgets.spend(peer(1), at));
        for _ in 0..BURST {
            assert!(left(start));
            spend(start);
        }
        assert!(!left(start + REFILL / 2));
        assert!(left(start + REFILL));
        spend(start + REFILL);
        assert!(!left(start + REFILL));
        let late = start + REFILL * 1000;
        assert!(left(late));
        for _ in 0..=BURST {
            spend(late);
        }
        assert!(!left(late), "no more than a burst was saved up");
        assert!(budgets.is_left(peer(2), late), "others have their own");
    }

    #[test]
    fn t172_the_addresses_that_are_remembered_have_a_bound() {
        let start = Instant::now();
        let budgets = RefusalBudgets::default();
        for n in 0..2000 {
            budgets.spend(peer(n), start + Duration::from_millis(n.into()));
        }
        let known = budgets.budgets();
        assert_eq!(known.len(), MAX_PEERS);
        assert!(known.contains_key(&peer(1999)) && !known.contains_key(&peer(0)));
    }
}
