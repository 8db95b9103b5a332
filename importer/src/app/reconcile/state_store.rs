// SPDX-License-Identifier: Apache-2.0
//! Where the memory of each set lies: a ConfigMap `krs-state-UID` in the importer's own namespace, which only the importer
//! writes. What is lost is worked out again: a verification by walking at the edge, an attempt by another one.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::adapters::heartbeat::Heartbeat;
use crate::adapters::writes::FIELD_MANAGER;
use crate::model::packed::CompressedJson;
use crate::model::state::SetState;

/// Begins the name of every such ConfigMap; the UID of the set follows.
const PREFIX: &str = "krs-state-";
/// The key of the state in the ConfigMap.
const KEY: &str = "state.json";
/// Marks them.
const LABEL: &str = "kuberegistrysync.io/state";
/// States in one page of a list.
const PAGE: u32 = 100;
/// Most bytes of a state: a ConfigMap takes 1 MiB with its keys.
const MAX_STATE: usize = 900 << 10;

/// The states of all sets, and a copy of each in memory.
pub(super) struct StateStore {
    api: Api<ConfigMap>,
    known: Mutex<HashMap<String, Known>>,
}

/// The copy of a state.
struct Known {
    state: Arc<CompressedJson<SetState>>,
    /// The names of the Jobs in it, where it has Jobs.
    jobs: Option<BTreeSet<String>>,
}

impl StateStore {
    pub(super) fn new(client: kube::Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock()
    }

    /// What is remembered of the set `uid`; nothing, of one that is new.
    pub(super) async fn load(&self, uid: &str) -> Result<SetState, kube::Error> {
        let known = self.known().get(uid).map(|known| Arc::clone(&known.state));
        if let Some(state) = known.and_then(|packed| packed.get().ok()) {
            return Ok(state);
        }
        let stored = self.api.get_opt(&name(uid)).await?;
        let state = match stored {
            // Of a set that no importer knew there are no Jobs, whatever they look like.
            None => SetState { jobs: Some(BTreeMap::new()), ..SetState::default() },
            Some(map) => {
                let text = map.data.unwrap_or_default().remove(KEY).unwrap_or_default();
                if text.is_empty() { SetState::default() } else { parse(uid, &text) }
            }
        };
        self.know(uid, &state, CompressedJson::new(&state).ok());
        Ok(state)
    }

    /// Keeps `state`, in the cluster first. One that says nothing new but when the registry was last asked is kept in memory
    /// only: a write for each set in each `resyncInterval` is most of what an idle importer would have etcd store, and an
    /// importer that is started again merely asks again.
    pub(super) async fn save(&self, uid: &str, state: &SetState) -> Result<(), kube::Error> {
        let packed = CompressedJson::new(state).ok();
        let known = self.known().get(uid).map(|known| Arc::clone(&known.state));
        if known.is_some() && known.as_deref() == packed.as_ref() {
            return Ok(());
        }
        if packed.is_some()
            && known
                .and_then(|known| known.get().ok())
                .is_some_and(|known| differs_by_check_only(known, state))
        {
            self.know(uid, state, packed);
            return Ok(());
        }
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name(uid), "labels": {LABEL: "true"}},
            "data": {KEY: encode(state)},
        });
        let how = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch(&name(uid), &how, &Patch::Apply(map)).await?;
        self.know(uid, state, packed);
        Ok(())
    }

    /// Keeps the copy. A state that cannot be packed is read from the cluster each time.
    fn know(&self, uid: &str, state: &SetState, packed: Option<CompressedJson<SetState>>) {
        let jobs = state.jobs.as_ref().map(|jobs| jobs.keys().cloned().collect());
        let known = packed.map(|packed| Known { state: Arc::new(packed), jobs });
        match known {
            Some(known) => drop(self.known().insert(uid.to_owned(), known)),
            None => drop(self.known().remove(uid)),
        }
    }

    /// Whether a Job of this name may be one of the set `uid`: its state has the name, or is not known yet.
    pub(super) fn may_own(&self, uid: &str, job: &str) -> bool {
        let known = self.known();
        let jobs = known.get(uid).and_then(|known| known.jobs.as_ref());
        jobs.is_none_or(|jobs| jobs.contains(job))
    }

    /// Forgets the sets that are not among `alive`. Their ConfigMaps cannot be owned by them: they lie in another namespace.
    /// `heartbeat` beats for each page and each deletion.
    pub(super) async fn delete_stale(
        &self,
        alive: &BTreeSet<String>,
        heartbeat: &Heartbeat,
    ) -> Result<(), kube::Error> {
        self.known().retain(|uid, _| alive.contains(uid));
        let mut params = ListParams::default().labels(&format!("{LABEL}=true")).limit(PAGE);
        loop {
            heartbeat.beat();
            let page = self.api.list_metadata(&params).await?;
            for map in page.items {
                let Some(name) = map.metadata.name else { continue };
                let Some(uid) = name.strip_prefix(PREFIX) else { continue };
                if alive.contains(uid) {
                    continue;
                }
                heartbeat.beat();
                match self.api.delete(&name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    other => drop(other?),
                }
            }
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => return Ok(()),
            }
        }
    }
}

/// Whether `state` differs from `before` only by when the registry was asked.
fn differs_by_check_only(before: SetState, state: &SetState) -> bool {
    let both = before.observed_at.is_some() && state.observed_at.is_some();
    both && SetState { observed_at: state.observed_at, ..before } == *state
}

fn name(uid: &str) -> String {
    format!("{PREFIX}{uid}")
}

fn parse(uid: &str, text: &str) -> SetState {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(uid, %error, "the stored state of a set cannot be read; it is computed again");
        SetState::default()
    })
}

/// The text of a state, in bounds: what is longest and matters least is left out first.
fn encode(state: &SetState) -> String {
    let text = |state: &SetState| serde_json::to_string(state).unwrap_or_default();
    let encoded = text(state);
    if encoded.len() <= MAX_STATE {
        return encoded;
    }
    let mut less = state.clone();
    less.attempts.values_mut().for_each(|attempt| attempt.message.clear());
    let shorter = text(&less);
    if shorter.len() <= MAX_STATE {
        return shorter;
    }
    less.resolved = BTreeMap::new();
    text(&less)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::state::{Attempt, ResolvedTag};
    use krs_core::oci::digest::Digest;

    #[test]
    fn the_state_of_the_largest_set_fits_a_config_map() {
        let mut state = SetState::default();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for n in 0..1000 {
            let key = format!("{n:032x}").parse().unwrap();
            state.verified_at.insert(key, now);
            let attempt = Attempt {
                count: 9,
                at: now,
                reason: "RegistryUnreachable".to_owned(),
                message: "m".repeat(1024),
                job: "krs-a-name-of-some-length-0123456789ab-99".to_owned(),
            };
            state.attempts.insert(key, attempt);
            state.resolved.insert(
                format!("{n:0320}"),
                ResolvedTag { digest: Digest::of(b"x"), at: now, decided_by: None },
            );
        }
        let text = encode(&state);
        assert!(text.len() <= MAX_STATE, "{}", text.len());
        let back = parse("uid", &text);
        assert_eq!(back.verified_at, state.verified_at);
        assert_eq!(back.resolved, state.resolved);
        assert_eq!(back.attempts.len(), 1000);
    }

    #[test]
    fn a_state_that_is_garbage_is_worked_out_again() {
        assert_eq!(parse("uid", "{\"proofs\": 3}"), SetState::default());
    }

    /// A state with every field.
    fn full() -> SetState {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        let key = |n: u8| format!("{n:032x}").parse().unwrap();
        let attempt = Attempt {
            count: 2,
            at: at("2026-11-24T04:00:01Z"),
            reason: "RegistryUnreachable".to_owned(),
            message: "edge.local:5000 cannot be reached".to_owned(),
            job: "krs-berlin-0123456789ab-2".to_owned(),
        };
        let resolved =
            ResolvedTag { digest: Digest::of(b"web"), at: at("2026-11-24T04:00:02Z"), decided_by: None };
        let bundle = krs_core::crd::BundleReference {
            name: "prod-7".to_owned(),
            stream: "prod".to_owned(),
            sequence: 7,
            digest: Digest::of(b"bundle").to_string(),
        };
        SetState {
            verified_at: BTreeMap::from([(key(1), at("2026-11-24T04:00:03Z"))]),
            attempts: BTreeMap::from([(key(2), attempt)]),
            resolved: BTreeMap::from([("quay.io/team/web:1.0".to_owned(), resolved)]),
            versions: BTreeMap::from([("Secret/apps/edge".to_owned(), "17".to_owned())]),
            bundle: Some(bundle),
            last_sync_time: Some(at("2026-11-24T04:00:04Z")),
            observed_at: Some(at("2026-11-24T04:00:05Z")),
            ended: BTreeMap::from([(key(2), at("2026-11-24T04:00:06Z"))]),
            tried: BTreeMap::from([(key(2), Digest::of(b"bundle"))]),
            moved: BTreeMap::from([(key(1), vec![at("2026-11-24T04:00:07Z")])]),
            ..SetState::default()
        }
    }

    #[test]
    fn t82_the_state_of_a_set_survives_an_update_from_0_1_and_a_rollback_to_any_version() {
        let golden = include_str!("../../../../testdata/golden/0.1/importer/state.json");
        assert_eq!(parse("uid", golden), full());
        let later = golden.replacen('{', "{\"added\":{\"later\":[1]},", 1);
        assert_eq!(parse("uid", &later), full());
        let attempt = golden.replacen("{\"count\"", "{\"added\":1,\"count\"", 1);
        assert_eq!(parse("uid", &attempt), full());
        // What 0.1 reads: all of its fields, with the types that they had.
        let (now, before) = (encode(&full()), serde_json::from_str::<serde_json::Value>(golden).unwrap());
        let now = serde_json::from_str::<serde_json::Value>(&now).unwrap();
        for (key, value) in before.as_object().unwrap() {
            assert_eq!(&now[key], value, "{key}");
        }
    }
}
