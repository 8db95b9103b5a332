// SPDX-License-Identifier: Apache-2.0
//! Reads the blobs of present images back from the edge registry and hashes them, at a bounded rate: one image at a time of
//! all sets, the namespaces in turn, every `contentVerifyInterval`, and when somebody asks. What a registry says of a blob
//! (it is there, it has this size) it says of damaged ones too. (T-60)
//!
//! An image is read in a task of its own; what comes of it, the next reconcile of the set takes into its state. Damage
//! stays in the state until the blob is gone from the registry, after which it is copied again, or is read and right again.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::oci::Descriptor;
use krs_core::registry::{BlobSink, Client, RegistryError, Repository};
use krs_core::sync::verify_present::{Presence, PresenceError, verify_present};

use super::checks::Registries;
use super::edge::explain;
use super::permits::Permits;
use crate::engine::advice::Whose;
use crate::model::answer::Answer;
use crate::model::clock::Clock;
use crate::model::clock::after;
use crate::model::clock::{is_over, is_to_come};
use crate::model::required_images::SetName;
use crate::model::state::SetState;
use crate::model::target::{Target, TargetKey};

/// Asks for the content of all images of a set to be read; any new value does.
pub(super) const VERIFY_CONTENT_AT: &str = "kuberegistrysync.io/verify-content-at";
/// How often damaged content is read again, in case somebody mended it in place.
const DAMAGED_INTERVAL: Duration = Duration::from_secs(3600);
/// How long it takes until an image is read again that could not be; each further failure doubles it.
const RETRY: Duration = Duration::from_secs(600);
/// The longest such time.
const MAX_RETRY: Duration = Duration::from_secs(24 * 3600);
/// How long the walk over the manifests of an image may take, and how much longer than by its size the reading of its blobs.
const BASE_TIME: Duration = Duration::from_secs(120);
/// The longest time that an image may take.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// What reading an image back found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Sound,
    /// What differs, and where.
    Damaged(String),
    /// It could not be read to its end; why, the checks of the registry say.
    Unknown,
}

/// How often images of a set could not be read in a row, and when they are due again.
type FailedReads = BTreeMap<TargetKey, (u32, Timestamp)>;

/// What was read back, by the UID of the set, and whose turn it is.
pub(super) struct ContentReads {
    /// One image at a time; namespaces take turns.
    pub(super) permits: Mutex<Permits>,
    pub(super) found: Mutex<HashMap<String, Vec<(TargetKey, Found)>>>,
    /// Images that could not be read, by the UID of the set: how often in a row, and when they are read again.
    failed: Mutex<HashMap<String, FailedReads>>,
}

impl Default for ContentReads {
    fn default() -> Self {
        Self { permits: Mutex::new(Permits::new(1)), found: Mutex::default(), failed: Mutex::default() }
    }
}

/// Ends the reading of an image, however it ends.
pub(super) struct ContentRead {
    pub(super) content: Arc<ContentReads>,
    pub(super) registries: Arc<Registries>,
    pub(super) namespace: String,
    pub(super) clock: Clock,
}

impl Drop for ContentRead {
    fn drop(&mut self) {
        let to_wake = self.content.permits.lock().give_back(&self.namespace, (self.clock)());
        self.registries.wake(&to_wake);
    }
}

impl ContentReads {
    /// Forgets sets that are gone. Answers which sets are to be reconciled in their place.
    pub(super) fn retain(
        &self,
        uids: &BTreeSet<String>,
        names: &BTreeSet<SetName>,
        now: Timestamp,
    ) -> Vec<SetName> {
        self.found.lock().retain(|uid, _| uids.contains(uid));
        self.failed.lock().retain(|uid, _| uids.contains(uid));
        self.permits.lock().retain(|name| names.contains(name), now)
    }

    /// Records that an image could not be read: it is read again after a time that grows.
    fn failed(&self, uid: &str, target: TargetKey, now: Timestamp) {
        let mut failed = self.failed.lock();
        let (count, until) = failed.entry(uid.to_owned()).or_default().entry(target).or_insert((0, now));
        let wait = RETRY.saturating_mul(2_u32.saturating_pow((*count).min(16))).min(MAX_RETRY);
        (*count, *until) = (count.saturating_add(1), after(now, wait));
    }

    /// Whether an image may be read now.
    pub(super) fn may_read(&self, uid: &str, target: TargetKey, now: Timestamp) -> bool {
        let failed = self.failed.lock();
        let known = failed.get(uid).and_then(|targets| targets.get(&target));
        known.is_none_or(|(_, until)| !is_to_come(*until, MAX_RETRY, now))
    }

    /// Forgets failures of the set `uid` for all but these targets.
    pub(super) fn forget_failures(&self, uid: &str, is_kept: impl Fn(&TargetKey) -> bool) {
        let mut failed = self.failed.lock();
        let Some(targets) = failed.get_mut(uid) else { return };
        targets.retain(|target, _| is_kept(target));
        if targets.is_empty() {
            failed.remove(uid);
        }
    }
}

/// How long reading so many bytes may take: a registry has to deliver an eighth of the configured rate (MiB per second; 0: no
/// limit), and a day is enough for any: the size is what a manifest says, which may be anybody's. One that is slower would
/// keep the others waiting.
fn time_limit(bytes: u64, rate: u64) -> Duration {
    let least = (rate.saturating_mul(1 << 20) / 8).max(if rate == 0 { 1 << 20 } else { 1 });
    BASE_TIME.saturating_add(Duration::from_secs(bytes / least)).min(MAX_TIME)
}

/// Nothing is kept of what is read.
struct Discard;

impl BlobSink for Discard {
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

async fn read(client: &Client, target: &Target, rate: u64) -> Found {
    let repository = client.repository(&target.registry, &target.repository);
    let verification = verify_present(&repository, &target.digest, &target.platforms, &[]);
    let contents = match tokio::time::timeout(BASE_TIME, verification).await {
        Ok(Ok(Presence::Complete { blobs, .. })) => blobs,
        Ok(Err(PresenceError::Registry(error @ RegistryError::Content { .. }))) => {
            return Found::Damaged(explain(&error, Whose::Destination(None)));
        }
        // The checks of the registry find it too, and say what to do.
        Ok(Ok(Presence::Missing { .. } | Presence::Tag { .. }) | Err(_)) => return Found::Unknown,
        Err(_) => return too_slow(target, BASE_TIME, 0),
    };
    let bytes = contents.iter().map(|blob| blob.size).fold(0, u64::saturating_add);
    let limit = time_limit(bytes, rate);
    let reading = read_blobs(&repository, contents);
    tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| too_slow(target, limit, bytes))
}

fn too_slow(target: &Target, limit: Duration, bytes: u64) -> Found {
    tracing::warn!(
        repository = %format!("{}/{}", target.registry, target.repository),
        digest = %target.digest,
        bytes,
        seconds = limit.as_secs(),
        "content cannot be read back: the registry is too slow"
    );
    Found::Unknown
}

async fn read_blobs(repository: &Repository, contents: Vec<Descriptor>) -> Found {
    for blob in contents {
        match repository.blob(&blob.digest, blob.size, &mut Discard).await {
            // An index may list what it is complete without.
            Ok(()) | Err(RegistryError::NotFound { .. }) => {}
            Err(error @ RegistryError::Content { .. }) => {
                return Found::Damaged(explain(&error, Whose::Destination(None)));
            }
            Err(error) => {
                tracing::warn!(repository = %repository.name(), %error, "content cannot be read back");
                return Found::Unknown;
            }
        }
    }
    Found::Sound
}

/// Takes what was found into the state. `requested_at` is what the annotation says. Pure.
pub(super) fn apply(
    state: &mut SetState,
    is_wanted: impl Fn(&TargetKey) -> bool,
    found: Vec<(TargetKey, Found)>,
    answers: &BTreeMap<TargetKey, Answer>,
    requested_at: Option<String>,
    now: Timestamp,
) {
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
    // What is being copied is hashed by the registry as it arrives: the time begins with the verification.
    for key in state.verified_at.keys() {
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
    state.verified_at.retain(|key, _| !damaged.contains_key(key));
}

/// The target that was read longest ago of those that are due. Without an `interval` only what somebody asked for is, and
/// what is damaged.
pub(super) fn due<'a>(
    state: &SetState,
    targets: &'a [Target],
    interval: Option<Duration>,
    may_read: impl Fn(TargetKey) -> bool,
    now: Timestamp,
) -> Option<&'a Target> {
    let since = |target: &'a Target| {
        let is_damaged = state.content_damage.contains_key(&target.key);
        let at = *state.content_verified.get(&target.key)?;
        let damaged = is_damaged.then_some(DAMAGED_INTERVAL);
        let interval = interval.into_iter().chain(damaged).min();
        let is_due =
            at == Timestamp::UNIX_EPOCH || interval.is_some_and(|interval| is_over(at, interval, now));
        let counts = is_damaged || state.verified_at.contains_key(&target.key);
        (is_due && counts && may_read(target.key)).then_some((at, target))
    };
    targets.iter().filter_map(since).min_by_key(|(at, target)| (*at, target.key)).map(|(_, target)| target)
}

pub(super) async fn run(
    reading: ContentRead,
    client: Client,
    target: Target,
    (uid, set): (String, SetName),
    rate: u64,
) {
    let found = read(&client, &target, rate).await;
    let repository = format!("{}/{}", target.registry, target.repository);
    let content = &reading.content;
    match &found {
        Found::Sound => tracing::debug!(%set, repository, digest = %target.digest, "content read back"),
        Found::Damaged(message) => {
            tracing::error!(%set, repository, digest = %target.digest, reason = "Corrupt", "{message}");
        }
        Found::Unknown => content.failed(&uid, target.key, (reading.clock)()),
    }
    if found != Found::Unknown {
        content.forget_failures(&uid, |key| *key != target.key);
    }
    content.found.lock().entry(uid).or_default().push((target.key, found));
    let registries = Arc::clone(&reading.registries);
    // The next set is told first.
    drop(reading);
    registries.wakeups.wake(&set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t202_an_image_may_take_as_long_as_its_size_and_the_rate_say() {
        assert_eq!(time_limit(0, 8), Duration::from_secs(120));
        assert_eq!(time_limit(1 << 30, 8), Duration::from_secs(120 + 1024));
        assert_eq!(time_limit(1 << 30, 80), Duration::from_secs(120 + 102));
        assert_eq!(time_limit(1 << 30, 0), Duration::from_secs(120 + 1024));
        assert_eq!(time_limit(u64::MAX, u64::MAX).as_secs(), 120 + 8);
        assert_eq!(time_limit(u64::MAX, 8), MAX_TIME, "a size that nothing has");
    }

    #[test]
    fn t202_an_image_that_cannot_be_read_waits_for_a_time_that_grows_and_the_others_do_not() {
        let content = ContentReads::default();
        let target: TargetKey = "00112233445566778899aabbccddeeff".parse().unwrap_or_else(|e| panic!("{e}"));
        let mut now = Timestamp::UNIX_EPOCH;
        let mut waits = Vec::new();
        for _ in 0..10 {
            content.failed("u", target, now);
            let (_, until) = content.failed.lock()["u"][&target];
            assert!(!content.may_read("u", target, now) && content.may_read("u", target, until));
            waits.push(until.as_second() - now.as_second());
            now = until;
        }
        assert_eq!(waits, [600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 86400, 86400]);
        assert!(content.may_read("other", target, Timestamp::UNIX_EPOCH));
        assert!(content.may_read("u", target, Timestamp::UNIX_EPOCH), "the clock was set back");
        content.forget_failures("u", |key| *key == target);
        content.forget_failures("other", |_| false);
        assert!(!content.may_read("u", target, now.checked_sub(Duration::from_secs(1)).unwrap_or(now)));
        content.forget_failures("u", |_| false);
        assert!(content.failed.lock().is_empty(), "the set has other images now");
    }
}
