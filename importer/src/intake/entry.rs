// SPDX-License-Identifier: Apache-2.0
//! What is known of each file, and what a look at the folder changes in it. Pure, but for [`look`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::{Bundle, BundleError, Freshness, Policy, RollbackError, StreamName};
use krs_core::crd::ImageBundleStatus;
use krs_core::digest::Digest;
use krs_core::oci::Descriptor;
use krs_core::reference::RepositoryName;
use krs_core::sign::Trust;

use super::keys;
use super::needed;
use super::scan::{self, Listing, Stamp};
use super::verdict::{self, Failure, Kind, sentence};
use super::watchdog::{Hangs, Watchdog};
use crate::demand::Demand;
use crate::library::Held;
use crate::marks::{Mark, Marks, Standing};
use crate::stock::{Refusal, Stock, StockBundle, StockImage};
use crate::task::MAX_MOUNT_FROM;

/// First and longest time to wait before a medium that failed is read again.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// A file that was written to so lately is still being copied.
const FRESH: Duration = Duration::from_secs(60);

/// How long a bundle may take to be opened: up to its manifest and sets, nothing of its blobs.
const OPEN_LIMIT: Duration = Duration::from_secs(300);

/// What is known of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Of its ImageBundle.
    pub name: String,
    /// As it was seen last; `None` when it is away.
    pub stamp: Option<Stamp>,
    /// Size and time of the last change of the copy that was seen last, also while it is away.
    copy: Option<(u64, Option<SystemTime>)>,
    pub last_seen: Timestamp,
    pub state: State,
    /// Failures of the medium in a row, and when it is tried again.
    pub failures: u32,
    pub retry_at: Option<Timestamp>,
    /// What went wrong with the medium.
    pub fault: Option<String>,
    /// The manifest that was found damaged: it is read to its end before anything is copied from it again.
    pub suspect: Option<Digest>,
    /// The manifest whose blobs were all read and found right.
    pub proven: Option<Digest>,
    /// The manifest whose sequence the mark of its stream has reached once. A person who lowers or removes the mark
    /// afterwards wants it so.
    pub recorded: Option<Digest>,
    /// What the ImageBundle of an earlier run said.
    pub earlier: Option<ImageBundleStatus>,
}

/// What a look into the file gave.
#[derive(Debug)]
pub(super) enum State {
    /// Nobody looked yet.
    New,
    /// It is not whole, or still changes.
    Growing(String),
    /// It is not accepted.
    Refused { reason: &'static str, message: String },
    /// The medium fails.
    Unreadable(String),
    /// It passed.
    Accepted(Accepted),
}

/// A bundle that passed.
#[derive(Debug)]
pub(super) struct Accepted {
    pub held: Arc<Held>,
    pub stock: StockBundle,
    /// Bytes of all blobs.
    pub blob_bytes: u64,
}

/// What a file must satisfy.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub folder: Utf8PathBuf,
    pub trusted_keys: Utf8PathBuf,
    pub unsigned: bool,
    pub site: Option<String>,
    /// The time, where the end of a bundle counts.
    pub now: Option<Timestamp>,
    /// The system's clock.
    pub clock: Timestamp,
}

/// What one look at the folder found.
pub(super) struct Look {
    pub files: Vec<(Utf8PathBuf, Stamp, Finding)>,
    pub keys: Vec<String>,
    /// Folders that do not answer, as below the drop folder, and since when.
    pub hanging: BTreeMap<Utf8PathBuf, Timestamp>,
    /// What was not looked at because there is too much.
    pub left_out: Vec<String>,
}

/// What was done about a file.
pub(super) enum Finding {
    /// As before.
    Unchanged,
    /// It changed since the last look.
    Changing,
    /// It was opened.
    Opened(Result<Box<Accepted>, Failure>),
}

/// What a look has to know of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub stamp: Option<Stamp>,
    /// Whether it is opened again though it did not change.
    pub again: bool,
}

/// What to do about a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Keep,
    Wait,
    Open,
}

/// A file that did not change is not opened again; one that changes is left alone until it does not.
pub(super) fn step(known: Option<Known>, found: &Stamp) -> Step {
    match known {
        Some(Known { stamp: Some(stamp), again }) if stamp == *found => {
            if again {
                Step::Open
            } else {
                Step::Keep
            }
        }
        Some(Known { stamp: Some(stamp), .. }) if stamp.place == found.place => Step::Wait,
        _ => Step::Open,
    }
}

/// Lists the folder and opens what has to be opened. Blocking, but never for good: what hangs is left to `watchdog`.
pub(super) fn look(
    rules: &Rules,
    known: &BTreeMap<Utf8PathBuf, Known>,
    old_keys: &[String],
    watchdog: &Watchdog,
) -> Look {
    let trusted = keys::read(&rules.trusted_keys);
    let mut ids = trusted.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>();
    ids.sort_unstable();
    let rotated = ids != old_keys;
    let policy = Policy {
        trust: if rules.unsigned { Trust::Anyone } else { Trust::Keys(trusted) },
        freshness: Freshness { audience: rules.site.clone(), now: rules.now, ..Freshness::default() },
    };
    let Listing { found, folders, mut hanging, left_out } = scan::list(&rules.folder, watchdog);
    let opening = Arc::new((rules.clone(), policy, folders));
    let mut files = Vec::new();
    for file in found {
        let mut known = known.get(&file.path).copied();
        if let Some(known) = known.as_mut() {
            known.again |= rotated;
        }
        let finding = match step(known, &file.stamp) {
            Step::Keep => Finding::Unchanged,
            Step::Wait => Finding::Changing,
            Step::Open => {
                let (with, path, stamp) = (Arc::clone(&opening), file.path.clone(), file.stamp);
                let parent = file.path.parent().unwrap_or(Utf8Path::new(""));
                let folder = rules.folder.join(parent);
                match watchdog
                    .call(&folder, OPEN_LIMIT, move || open(&with.0, &with.1, &with.2, &path, &stamp))
                {
                    Ok(opened) => Finding::Opened(opened),
                    Err(Hangs(since)) => {
                        hanging.insert(parent.to_owned(), since);
                        continue;
                    }
                }
            }
        };
        files.push((file.path, file.stamp, finding));
    }
    Look { files, keys: ids, hanging, left_out }
}

fn open(
    rules: &Rules,
    policy: &Policy,
    folders: &[Utf8PathBuf],
    path: &Utf8Path,
    stamp: &Stamp,
) -> Result<Box<Accepted>, Failure> {
    let full = rules.folder.join(path);
    let opened = Bundle::open_with(&full, folders, policy).and_then(|bundle| {
        let audience = &bundle.manifest().audience;
        if rules.site.is_none() && !audience.is_empty() {
            // Who has not said which site this is, gets what is for all sites. (T-26)
            let got =
                "a site without a name (the value `site` of the importer's chart is not set)".to_owned();
            return Err(BundleError::Audience { path: path.to_owned(), expected: audience.join(", "), got });
        }
        let images = bundle.images()?;
        Ok(Held::new(bundle, images))
    });
    match opened {
        Ok(held) => Ok(Box::new(Accepted::new(held))),
        Err(error) => {
            let failure = verdict::judge(&error);
            let age = stamp.modified.and_then(|at| Timestamp::try_from(at).ok());
            let fresh = age.is_some_and(|at| at.duration_until(rules.clock).unsigned_abs() < FRESH);
            if failure.kind == Kind::Incomplete && !fresh {
                return Err(Failure { kind: Kind::Refused, ..failure });
            }
            Err(failure)
        }
    }
}

/// As few repositories as hold all layers that the bundle leaves to the site.
fn expected_in<'a>(bundle: &Bundle, contents: impl Iterator<Item = &'a Descriptor>) -> Vec<RepositoryName> {
    let layers = contents.filter_map(|content| bundle.base_layer(&content.digest));
    let mut open = layers.map(|layer| (layer.digest, &layer.repositories)).collect::<BTreeMap<_, _>>();
    let mut chosen = Vec::new();
    while chosen.len() < MAX_MOUNT_FROM {
        let mut holds = BTreeMap::<&str, usize>::new();
        for name in open.values().flat_map(|names| names.iter()) {
            *holds.entry(name).or_default() += 1;
        }
        let Some((best, _)) = holds.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))) else {
            break;
        };
        let best = best.to_owned();
        open.retain(|_, names| !names.contains(&best));
        // A name that is none cannot be looked into either.
        chosen.extend(best.parse().ok());
    }
    chosen
}

impl Accepted {
    fn new(held: Held) -> Self {
        let manifest = held.bundle.manifest();
        let images = manifest.images.iter().zip(&held.images.images).map(|(image, found)| {
            let closures = || std::iter::once(&found.closure).chain(found.referrers.iter().map(|(_, c)| c));
            StockImage {
                reference: image.reference.clone(),
                digest: image.digest,
                platforms: image.platforms.clone(),
                size: closures().map(krs_core::closure::Closure::size).sum(),
                contents: closures().flat_map(|c| &c.contents).map(|content| content.digest).collect(),
                partial: image.partial,
                expected_in: expected_in(&held.bundle, closures().flat_map(|c| &c.contents)),
                readers: held.readers.get(&image.digest).cloned().unwrap_or_default(),
            }
        });
        let stock = StockBundle {
            name: String::new(),
            stream: manifest.stream.clone(),
            identity: held.bundle.identity(),
            // Until the marks are compared with it.
            standing: Standing::Unknown { detail: "the marks were not read yet".to_owned() },
            sequence: manifest.sequence,
            digest: held.bundle.digest(),
            created_at: manifest.created_at,
            present: true,
            ready: true,
            images: images.collect(),
        };
        let blob_bytes = manifest.blobs.iter().map(|blob| blob.size).sum();
        Self { held: Arc::new(held), stock, blob_bytes }
    }
}

impl Entry {
    /// A file that was seen for the first time.
    pub(super) fn new(name: String, now: Timestamp) -> Self {
        Self {
            name,
            stamp: None,
            copy: None,
            last_seen: now,
            state: State::New,
            failures: 0,
            retry_at: None,
            fault: None,
            suspect: None,
            proven: None,
            recorded: None,
            earlier: None,
        }
    }

    /// The bundle, where it passed.
    pub(super) const fn accepted(&self) -> Option<&Accepted> {
        match &self.state {
            State::Accepted(accepted) => Some(accepted),
            _ => None,
        }
    }

    /// The manifest that it holds, as far as anything is known of it.
    pub(super) fn digest(&self) -> Option<Digest> {
        match &self.state {
            State::Accepted(accepted) => Some(accepted.stock.digest),
            State::New => self.earlier.as_ref()?.digest.as_ref()?.parse().ok(),
            _ => None,
        }
    }

    /// Its stream and its number in there; of a file that is away, as an earlier run has told.
    pub(super) fn stream(&self) -> Option<(StreamName, u64)> {
        match &self.state {
            State::Accepted(accepted) => Some((accepted.stock.stream.clone(), accepted.stock.sequence)),
            State::New => {
                let earlier = self.earlier.as_ref()?;
                Some((earlier.stream.as_ref()?.parse().ok()?, u64::try_from(earlier.sequence?).ok()?))
            }
            _ => None,
        }
    }

    /// The stream and the mark that the bundle would raise; of a file that is away, as an earlier run has told.
    pub(super) fn mark(&self) -> Option<(StreamName, Mark)> {
        match &self.state {
            State::Accepted(accepted) => Some((accepted.stock.stream.clone(), accepted.stock.mark())),
            State::New => {
                let (stream, sequence) = self.stream()?;
                let earlier = self.earlier.as_ref()?;
                let identity = earlier.identity.as_ref()?.parse().ok()?;
                Some((stream, Mark { sequence, identity, created_at: earlier.created_at.as_ref()?.0 }))
            }
            _ => None,
        }
    }

    /// Whether it can be copied from now, as far as the medium goes.
    pub(super) const fn present(&self) -> bool {
        self.stamp.is_some() && self.fault.is_none()
    }

    /// Whether every blob was read and found right.
    pub(super) fn is_proven(&self) -> bool {
        self.accepted().is_some_and(|accepted| self.proven == Some(accepted.stock.digest))
    }

    /// Whether copying may begin.
    pub(super) fn ready(&self, check_first: bool) -> bool {
        let suspect = self.accepted().is_some_and(|accepted| self.suspect == Some(accepted.stock.digest));
        self.is_proven() || !(check_first || suspect)
    }

    /// Whether the mark of its stream has reached it once.
    pub(super) fn was_recorded(&self) -> bool {
        self.recorded.is_some() && self.recorded == self.digest()
    }

    /// Takes in what a look found.
    pub(super) fn found(&mut self, stamp: Stamp, finding: Finding, now: Timestamp) {
        if self.stamp.is_some_and(|old| old != stamp) {
            self.failures = 0;
        }
        let copy = (stamp.size, stamp.modified);
        if self.copy.replace(copy).is_some_and(|old| old != copy) {
            // Another copy, which may be damaged where this one was not.
            self.proven = None;
        }
        (self.stamp, self.last_seen) = (Some(stamp), now);
        match finding {
            Finding::Unchanged => {}
            Finding::Changing => {
                let text = "the file is still being written";
                self.state = State::Growing(sentence(text, Some("wait until the copy is complete")));
                // The next look opens it where it did not change until then.
                self.retry_at = Some(now);
            }
            Finding::Opened(Ok(mut accepted)) => {
                accepted.stock.name.clone_from(&self.name);
                self.believe(&accepted);
                (self.fault, self.retry_at) = (None, None);
                self.state = State::Accepted(*accepted);
            }
            Finding::Opened(Err(Failure { kind, reason, message })) => {
                (self.fault, self.retry_at) = (None, None);
                match kind {
                    Kind::Refused => self.state = State::Refused { reason, message },
                    Kind::Incomplete => {
                        self.state = State::Growing(message);
                        self.retry_at = now.checked_add(FRESH).ok();
                    }
                    Kind::Medium => self.medium_failed(message, now),
                }
            }
        }
    }

    /// Believes the verdict that an earlier run left, where it is about the same manifest.
    fn believe(&mut self, accepted: &Accepted) {
        let Some(earlier) = self.earlier.take() else { return };
        let digest = accepted.stock.digest;
        let size = i64::try_from(accepted.held.bundle.size()).ok();
        if earlier.digest != Some(digest.to_string()) || earlier.size != size {
            return;
        }
        let verified = earlier.conditions.iter().find(|c| c.type_ == krs_core::crd::condition::VERIFIED);
        match verified {
            Some(c)
                if c.status == "True"
                    && earlier.bytes_verified == i64::try_from(accepted.blob_bytes).ok() =>
            {
                self.proven = Some(digest);
            }
            Some(c) if c.reason == verdict::DAMAGED => self.suspect = Some(digest),
            _ => {}
        }
    }

    /// The file is not there any more. Nobody may read it; what it held is still known.
    pub(super) fn gone(&mut self) {
        self.stamp = None;
        if matches!(self.state, State::Growing(_) | State::Unreadable(_)) {
            self.state = State::New;
        }
        (self.fault, self.retry_at, self.failures) = (None, None, 0);
    }

    /// Its folder does not answer: nobody may read it until it does, and then it is opened again at once.
    pub(super) fn hangs(&mut self, message: &str, now: Timestamp) {
        if self.fault.as_deref() != Some(message) {
            self.medium_failed(message.to_owned(), now);
        }
        self.retry_at = Some(now);
    }

    /// The medium cannot be read: it is tried again, each time later.
    pub(super) fn medium_failed(&mut self, message: String, now: Timestamp) {
        let wait = RETRY.0.saturating_mul(1 << self.failures.min(10)).min(RETRY.1);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.checked_add(wait).ok();
        if self.accepted().is_none() {
            self.state = State::Unreadable(message.clone());
        }
        self.fault = Some(message);
    }

    /// Content differs from its digest.
    pub(super) fn damaged(&mut self, message: String) {
        self.suspect = self.accepted().map(|accepted| accepted.stock.digest);
        self.proven = None;
        self.state = State::Refused { reason: verdict::DAMAGED, message };
    }
}

/// Refuses bundles that use the number of another one in the folder for other content; the one that was there before, or
/// whose path comes first, counts. (T-28)
pub(super) fn refuse_reused(entries: &mut BTreeMap<Utf8PathBuf, Entry>, opened: &[Utf8PathBuf]) {
    for path in opened {
        let Some(this) = entries.get(path).and_then(Entry::accepted) else { continue };
        let (stream, sequence, identity) =
            (this.stock.stream.clone(), this.stock.sequence, this.held.bundle.identity());
        let before = |other: &Utf8PathBuf| !opened.contains(other) || other < path;
        let clash = entries.iter().filter(|(other, _)| *other != path && before(other)).find(|(_, entry)| {
            entry.accepted().is_some_and(|other| {
                let same = other.stock.stream == stream && other.stock.sequence == sequence;
                same && other.held.bundle.identity() != identity
            })
        });
        let Some((other, _)) = clash else { continue };
        let text = format!(
            "{path} and {other} have the same sequence {sequence} of stream `{stream}` and other content"
        );
        let message = sentence(&text, Some("ask the sender which one counts, and remove the other"));
        if let Some(entry) = entries.get_mut(path) {
            entry.state = State::Refused { reason: verdict::REUSED, message };
        }
    }
}

/// Refuses accepted bundles whose number was used for other content. Whether a bundle is superseded is not kept but compared
/// anew each time: it may change with every mark.
pub(super) fn judge_again(entries: &mut BTreeMap<Utf8PathBuf, Entry>, marks: &Marks) {
    for (path, entry) in entries {
        let Some(accepted) = entry.accepted() else { continue };
        let stock = &accepted.stock;
        let Standing::Reused { expected } = marks.standing(&stock.stream, &stock.mark()) else { continue };
        let (stream, sequence, got) = (stock.stream.clone(), stock.sequence, stock.identity);
        let source = RollbackError::Reused { stream, sequence, expected, got };
        let Failure { reason, message, .. } =
            verdict::judge(&BundleError::Rollback { path: path.clone(), source });
        entry.state = State::Refused { reason, message };
    }
}

/// Remembers which manifests the marks have reached; a copy of the same manifest need not be recorded again.
pub(super) fn remember_recorded(entries: &mut BTreeMap<Utf8PathBuf, Entry>, marks: &Marks) {
    let reached =
        |entry: &Entry| entry.stream().is_some_and(|(stream, sequence)| marks.has_reached(&stream, sequence));
    let recorded = entries.values().filter(|entry| entry.was_recorded() || reached(entry));
    let recorded = recorded.filter_map(Entry::digest).collect::<BTreeSet<_>>();
    for entry in entries.values_mut() {
        if let Some(digest) = entry.digest().filter(|digest| recorded.contains(digest)) {
            entry.recorded = Some(digest);
        }
    }
}

/// What others see. Bundles whose media are away are listed while a set will copy something that they hold.
pub(super) fn stock(
    entries: &BTreeMap<Utf8PathBuf, Entry>,
    demand: &Demand,
    marks: &Marks,
    check_first: bool,
    scanned: bool,
    shared: bool,
) -> Stock {
    let mut stock = Stock { scanned, shared, ..Stock::default() };
    for entry in entries.values() {
        match &entry.state {
            State::Accepted(accepted)
                if entry.present() || needed::holds_missing(&accepted.stock, demand, shared) =>
            {
                let (present, ready) = (entry.present(), entry.ready(check_first));
                let standing = marks.standing(&accepted.stock.stream, &accepted.stock.mark());
                stock.bundles.push(StockBundle { present, ready, standing, ..accepted.stock.clone() });
            }
            State::Refused { reason, message } if entry.stamp.is_some() => stock.refused.push(Refusal {
                name: entry.name.clone(),
                reason: (*reason).to_owned(),
                message: message.clone(),
            }),
            _ => {}
        }
    }
    stock.bundles.sort_by(|a, b| {
        a.stream.cmp(&b.stream).then(b.sequence.cmp(&a.sequence)).then_with(|| a.name.cmp(&b.name))
    });
    stock
}
