// SPDX-License-Identifier: Apache-2.0
//! Reads the blobs of present images back from the edge registry and hashes them, at a bounded rate: one image at a time of
//! all sets, every `contentVerifyInterval`, and when somebody asks. What a registry says of a blob (it is there, it has this
//! size) it says of damaged ones too. (T-60)
//!
//! An image is read in a task of its own; what comes of it, the next reconcile of the set takes into its state. Damage
//! stays in the state until the blob is gone from the registry, after which it is copied again, or is read and right again.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::prove::{Proof, ProveError, prove};
use krs_core::registry::{BlobSink, Client, ClientOptions, RegistryError};

use super::edge::{edge_options, explain};
use super::observe::Seen;
use super::round::Round;
use super::secrets::{SecretError, Secrets};
use super::{ReconcileError, Registries, lock};
use crate::decide::Answer;
use crate::demand::SetName;
use crate::remember::is_over;
use crate::state::SetState;
use crate::target::{Target, TargetKey};

/// Asks for the content of all images of a set to be read; any new value does.
const VERIFY_CONTENT_AT: &str = "kuberegistrysync.io/verify-content-at";
/// How often damaged content is read again, in case somebody mended it in place.
const DAMAGED_INTERVAL: Duration = Duration::from_secs(3600);
/// How long a set waits after an image could not be read.
const RETRY: Duration = Duration::from_secs(600);

/// What reading an image back found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Sound,
    /// What differs, and where.
    Damaged(String),
    /// It could not be read to its end; why, the checks of the registry say.
    Unknown,
}

/// What was read back, by the UID of the set.
#[derive(Default)]
pub(super) struct ContentReads {
    /// Whether an image is being read: one at a time.
    is_reading: Mutex<bool>,
    found: Mutex<HashMap<String, Vec<(TargetKey, Found)>>>,
    /// Sets that wait after a failure.
    not_before: Mutex<HashMap<String, Timestamp>>,
}

/// Ends the reading of an image, however it ends.
struct Reading(Arc<ContentReads>);

impl Drop for Reading {
    fn drop(&mut self) {
        *lock(&self.0.is_reading) = false;
    }
}

impl ContentReads {
    fn begin(self: &Arc<Self>) -> Option<Reading> {
        let mut is_reading = lock(&self.is_reading);
        (!std::mem::replace(&mut *is_reading, true)).then(|| Reading(Arc::clone(self)))
    }

    /// Forgets sets that are gone.
    pub(super) fn retain(&self, is_alive: impl Fn(&String) -> bool) {
        lock(&self.found).retain(|uid, _| is_alive(uid));
        lock(&self.not_before).retain(|uid, _| is_alive(uid));
    }
}

/// Nothing is kept of what is read.
struct Discard;

impl BlobSink for Discard {
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

async fn read(client: &Client, target: &Target) -> Found {
    let repository = client.repository(&target.registry, &target.repository);
    let contents = match prove(&repository, &target.digest, &target.platforms, &[]).await {
        Ok(Proof::Whole { contents, .. }) => contents,
        Err(ProveError::Registry(error @ RegistryError::Content { .. })) => {
            return Found::Damaged(explain(&error));
        }
        // The checks of the registry find it too, and say what to do.
        Ok(Proof::Missing { .. } | Proof::Tag { .. }) | Err(_) => return Found::Unknown,
    };
    for blob in contents {
        match repository.blob(&blob.digest, blob.size, &mut Discard).await {
            // An index may list what it is complete without.
            Ok(()) | Err(RegistryError::NotFound { .. }) => {}
            Err(error @ RegistryError::Content { .. }) => return Found::Damaged(explain(&error)),
            Err(error) => {
                tracing::debug!(repository = %target.repository, %error, "content cannot be read back");
                return Found::Unknown;
            }
        }
    }
    Found::Sound
}

/// Takes what was found into the state. `requested_at` is what the annotation says. Pure.
fn apply(
    state: &mut SetState,
    targets: &[Target],
    found: Vec<(TargetKey, Found)>,
    answers: &BTreeMap<TargetKey, Answer>,
    requested_at: Option<String>,
    now: Timestamp,
) {
    let is_wanted = |key: &TargetKey| targets.iter().any(|target| target.key == *key);
    state.content_verified.retain(|key, _| is_wanted(key));
    state.content_damage.retain(|key, _| is_wanted(key));
    for (key, found) in found.into_iter().filter(|(key, _)| is_wanted(key)) {
        match found {
            Found::Sound => drop(state.content_damage.remove(&key)),
            Found::Damaged(message) => drop(state.content_damage.insert(key, message)),
            Found::Unknown => continue,
        }
        state.content_verified.insert(key, now);
    }
    // What is being copied is hashed by the registry as it arrives: the time begins with the proof.
    for key in state.proofs.keys() {
        state.content_verified.entry(*key).or_insert(now);
    }
    if requested_at.is_some() && requested_at != state.content_requested_at {
        state.content_requested_at = requested_at;
        state.content_verified.values_mut().for_each(|at| *at = Timestamp::UNIX_EPOCH);
    }
    // Somebody removed the damaged copy: what takes its place is read as soon as it is there.
    let gone = |key: &TargetKey| matches!(answers.get(key), Some(Answer::Missing { .. }));
    for key in state.content_damage.keys().copied().filter(gone).collect::<Vec<_>>() {
        state.content_damage.remove(&key);
        state.content_verified.insert(key, Timestamp::UNIX_EPOCH);
    }
    let damaged = &state.content_damage;
    state.proofs.retain(|key, _| !damaged.contains_key(key));
}

/// The target that was read longest ago of those that are due.
fn due<'a>(
    state: &SetState,
    targets: &'a [Target],
    interval: Duration,
    now: Timestamp,
) -> Option<&'a Target> {
    let since = |target: &'a Target| {
        let is_damaged = state.content_damage.contains_key(&target.key);
        let interval = if is_damaged { interval.min(DAMAGED_INTERVAL) } else { interval };
        let at = *state.content_verified.get(&target.key)?;
        let counts = is_damaged || state.proofs.contains_key(&target.key);
        (counts && is_over(at, interval, now)).then_some((at, target))
    };
    targets.iter().filter_map(since).min_by_key(|(at, target)| (*at, target.key)).map(|(_, target)| target)
}

impl Round<'_> {
    /// Takes what was read back into the state, and takes back what the registry says of damaged images: that they are
    /// there.
    pub(super) fn content_found(&self, seen: &mut Seen, state: &mut SetState) {
        let found = lock(&self.importer.content.found).remove(&self.uid).unwrap_or_default();
        if seen.wanted.is_none() {
            return;
        }
        let annotations = self.set.metadata.annotations.as_ref();
        let requested_at = annotations.and_then(|annotations| annotations.get(VERIFY_CONTENT_AT)).cloned();
        apply(state, &seen.targets, found, &seen.said.answers, requested_at, self.now);
        let damaged = &state.content_damage;
        seen.said.answers.retain(|key, _| !damaged.contains_key(key));
    }

    /// Says of damaged images that they are.
    pub(super) fn content_damage(seen: &mut Seen, state: &SetState) {
        for (key, message) in &state.content_damage {
            seen.said.answers.insert(*key, Answer::Corrupt { message: message.clone() });
        }
    }

    /// Starts to read the next image back that is due, unless one is being read.
    pub(super) async fn read_content(
        &self,
        secrets: &Secrets<'_>,
        seen: &Seen,
        state: &SetState,
    ) -> Result<(), ReconcileError> {
        let (parts, content) = (&self.importer.parts, &self.importer.content);
        let Some(interval) = parts.config.content_verify_interval else { return Ok(()) };
        let waits = lock(&content.not_before).get(&self.uid).is_some_and(|until| self.now < *until);
        if seen.obstacle.is_some() || self.set.spec.suspend || waits {
            return Ok(());
        }
        let Some(target) = due(state, &seen.targets, interval, self.now) else { return Ok(()) };
        let Some(reading) = content.begin() else { return Ok(()) };
        let (login, authorities) = match self.destination(secrets, &target.registry).await {
            Ok(found) => found,
            Err(SecretError::Api(error)) => return Err(ReconcileError::api("Secrets cannot be read")(error)),
            // The next check of the registry says what is wrong with it.
            Err(SecretError::Obstacle(_)) => return Ok(()),
        };
        let credentials = login.as_ref().map(|login| &login.credentials);
        let tls = self.set.spec.destination_tls.as_ref();
        let options = ClientOptions {
            bandwidth: NonZeroU64::new(parts.config.content_verify_rate.saturating_mul(1 << 20)),
            ..edge_options(&target.registry, tls, credentials, authorities, &parts.barred)
        };
        let Ok(client) = Client::new(options) else { return Ok(()) };
        let set = (self.uid.clone(), self.name.clone());
        let registries = Arc::clone(&self.importer.registries);
        let retry = self.now.checked_add(RETRY).unwrap_or(self.now);
        tokio::spawn(run(reading, client, target.clone(), set, registries, retry));
        Ok(())
    }
}

async fn run(
    reading: Reading,
    client: Client,
    target: Target,
    (uid, set): (String, SetName),
    registries: Arc<Registries>,
    retry: Timestamp,
) {
    let found = read(&client, &target).await;
    let repository = format!("{}/{}", target.registry, target.repository);
    match &found {
        Found::Sound => tracing::debug!(%set, repository, digest = %target.digest, "content read back"),
        Found::Damaged(message) => {
            tracing::error!(%set, repository, digest = %target.digest, reason = "Corrupt", "{message}");
        }
        Found::Unknown => drop(lock(&reading.0.not_before).insert(uid.clone(), retry)),
    }
    lock(&reading.0.found).entry(uid).or_default().push((target.key, found));
    drop(reading);
    registries.wakeups.wake(&set);
}
