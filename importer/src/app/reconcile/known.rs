// SPDX-License-Identifier: Apache-2.0
//! What the edge registry said of the targets of a set, and need not be asked again for now. Pure.
//!
//! Without it, a set of a thousand missing images would ask a thousand times whenever it is reconciled. Nothing is present
//! because of it: verifications are kept in [`crate::model::state::SetState`], and only a fresh answer makes one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::reason;

use crate::engine::update_state::CheckKind;
use crate::model::answer::Answer;
use crate::model::bundle_inventory::BundleInventory;
use crate::model::clock::is_over;
use crate::model::target::{Target, TargetKey};

/// How long it counts that the registry could not be asked about a target: a little less than until the set is reconciled.
const FAILED: Duration = Duration::from_secs(20);

/// The answers for one set.
#[derive(Default)]
pub(super) struct KnownAnswers {
    answers: HashMap<TargetKey, (Timestamp, Known)>,
    /// Targets that a Job copied when the set was last reconciled.
    pub(super) copying: BTreeSet<TargetKey>,
    /// When all present targets were last asked about, not a sample.
    pub(super) checked: Option<Timestamp>,
    /// When the registry was last asked what running Jobs brought.
    pub(super) probed: Option<Timestamp>,
    /// Whether a sample found something missing, so that the rest is to be asked about.
    pub(super) is_suspected: bool,
    stock: Option<Arc<BundleInventory>>,
    requested_at: Option<String>,
}

/// An answer. Most are of the first two kinds, which need no memory of their own.
enum Known {
    /// The top manifest and the tags of a verified target are there.
    Observed,
    Missing,
    Other(Box<Answer>),
}

impl KnownAnswers {
    /// Drops what may not be true any more: of targets that the set does not have, of those that a Job `touched`, what is
    /// older than its time, all where somebody asks for a reconcile (`requested_at`), and all that is missing once other
    /// bundles are there.
    pub(super) fn retain(
        &mut self,
        targets: &[Target],
        touched: &BTreeSet<TargetKey>,
        stock: &Arc<BundleInventory>,
        requested_at: Option<&str>,
        resync: Duration,
        now: Timestamp,
    ) {
        let same_stock = self.stock.as_ref().is_some_and(|known| Arc::ptr_eq(known, stock));
        if self.requested_at.as_deref() != requested_at {
            self.answers.clear();
            self.requested_at = requested_at.map(str::to_owned);
        }
        self.stock = Some(Arc::clone(stock));
        let wanted = targets.iter().map(|target| target.key).collect::<BTreeSet<_>>();
        self.answers.retain(|key, (at, known)| {
            let interval = match known {
                Known::Other(answer) => match **answer {
                    Answer::Failed { reason, .. } if reason != reason::AUTH_FAILED => FAILED,
                    _ => resync,
                },
                Known::Observed | Known::Missing => resync,
            };
            let holds = same_stock || matches!(known, Known::Observed);
            holds && !is_over(*at, interval, now) && wanted.contains(key) && !touched.contains(key)
        });
        self.copying.retain(|key| wanted.contains(key));
    }

    /// Whether a target need not be asked about in this way.
    pub(super) fn suffices(&self, key: &TargetKey, how: CheckKind) -> bool {
        match self.answers.get(key) {
            Some((_, Known::Observed)) => how == CheckKind::Head,
            Some((_, Known::Missing | Known::Other(_))) => true,
            None => false,
        }
    }

    /// Whether it is known that a target is not there, or whether it could not be said.
    pub(super) fn has(&self, key: &TargetKey) -> bool {
        self.answers.contains_key(key)
    }

    /// Records answers. Where all verified targets were asked about, the state says so, and they need no entries here.
    pub(super) fn record(&mut self, answers: &BTreeMap<TargetKey, Answer>, complete: bool, now: Timestamp) {
        if complete {
            self.answers.retain(|_, (_, known)| !matches!(known, Known::Observed));
        }
        for (key, answer) in answers {
            let known = match answer {
                Answer::Complete => {
                    self.answers.remove(key);
                    continue;
                }
                Answer::Observed if complete => continue,
                Answer::Observed => Known::Observed,
                Answer::Missing { .. } => Known::Missing,
                other => Known::Other(Box::new(other.clone())),
            };
            self.answers.insert(*key, (now, known));
        }
    }

    /// The answers that still hold.
    pub(super) fn answers(&self) -> impl Iterator<Item = (TargetKey, Answer)> {
        self.answers.iter().map(|(key, (_, known))| {
            let answer = match known {
                Known::Observed => Answer::Observed,
                // What exactly is missing was said when it was asked, and matters for the end of a Job only.
                Known::Missing => Answer::Missing { what: String::new() },
                Known::Other(answer) => (**answer).clone(),
            };
            (*key, answer)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use krs_core::oci::reference::Destination;

    const RESYNC: Duration = Duration::from_secs(600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn sample(count: usize) -> Vec<Target> {
        let images = (0..count).map(|n| {
            let digest = krs_core::oci::digest::Digest::of(n.to_string().as_bytes());
            serde_json::json!({"image": format!("example.com/app{n}:1@{digest}")})
        });
        let spec =
            serde_json::json!({"destinationRegistry": "edge.local", "images": images.collect::<Vec<_>>()});
        let images = krs_core::set::check_spec(&serde_json::from_value(spec).unwrap()).unwrap();
        let destination = "edge.local".parse::<Destination>().unwrap();
        crate::model::target::targets(&destination, &images, |_| None, |reference| reference.digest).unwrap()
    }

    fn known(targets: &[Target], answers: Vec<Answer>, stock: &Arc<BundleInventory>) -> KnownAnswers {
        let mut known = KnownAnswers::default();
        known.retain(targets, &BTreeSet::new(), stock, None, RESYNC, at(0));
        let answers = targets.iter().map(|target| target.key).zip(answers).collect();
        known.record(&answers, false, at(0));
        known
    }

    fn missing() -> Answer {
        Answer::Missing { what: "manifest".to_owned() }
    }

    #[test]
    fn what_is_missing_is_known_until_a_job_ended_other_bundles_came_or_its_time_is_over() {
        let (targets, stock) = (sample(2), Arc::new(BundleInventory::default()));
        let mut known = known(&targets, vec![missing(), missing()], &stock);
        let (first, second) = (targets[0].key, targets[1].key);
        let nothing = BTreeSet::new();
        known.retain(&targets, &nothing, &stock, None, RESYNC, at(599));
        assert!(known.suffices(&first, CheckKind::Full) && known.suffices(&second, CheckKind::Full));
        known.retain(&targets, &BTreeSet::from([first]), &stock, None, RESYNC, at(599));
        assert!(!known.suffices(&first, CheckKind::Full) && known.suffices(&second, CheckKind::Full));
        known.retain(&targets, &nothing, &stock, None, RESYNC, at(600));
        assert!(!known.suffices(&second, CheckKind::Full));
        for (change, stock, requested) in [
            ("other bundles", Arc::new(BundleInventory::default()), None),
            ("somebody asks", Arc::clone(&stock), Some("now")),
        ] {
            let mut known =
                self::known(&targets, vec![missing(), missing()], &Arc::new(BundleInventory::default()));
            known.stock = Some(if requested.is_some() { Arc::clone(&stock) } else { Arc::default() });
            known.retain(&targets, &nothing, &stock, requested, RESYNC, at(1));
            assert!(!known.suffices(&first, CheckKind::Full), "{change}");
        }
    }

    #[test]
    fn that_the_registry_failed_counts_for_seconds_and_a_head_check_is_no_full_one() {
        let (targets, stock) = (sample(2), Arc::new(BundleInventory::default()));
        let failed = Answer::Failed { reason: reason::REGISTRY_UNREACHABLE, message: "down".to_owned() };
        let mut known = known(&targets, vec![failed, Answer::Observed], &stock);
        let nothing = BTreeSet::new();
        known.retain(&targets, &nothing, &stock, None, RESYNC, at(19));
        assert!(known.suffices(&targets[0].key, CheckKind::Full));
        assert!(
            known.suffices(&targets[1].key, CheckKind::Head)
                && !known.suffices(&targets[1].key, CheckKind::Full)
        );
        known.retain(&targets, &nothing, &stock, None, RESYNC, at(20));
        assert!(!known.suffices(&targets[0].key, CheckKind::Full));
        known.record(&BTreeMap::from([(targets[1].key, Answer::Complete)]), true, at(20));
        assert_eq!(known.answers().count(), 0);
    }
}
