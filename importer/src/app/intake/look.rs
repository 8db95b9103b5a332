// SPDX-License-Identifier: Apache-2.0
//! Lists the drop folder and opens what has to be opened. Blocking, but never for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::sign::Trust;
use krs_core::bundle::{Bundle, BundleError, Freshness, Policy};
use krs_core::oci::Descriptor;
use krs_core::oci::reference::RepositoryName;

use super::entry::Accepted;
use super::folder::{Found, Stamp};
use super::keys;
use super::scan::{self, Listing};
use super::verdict::{self, Failure, Kind};
use super::watchdog::{Hangs, Watchdog};
use crate::adapters::library::Held;
use crate::model::marks::Standing;
use crate::model::stock::{StockBundle, StockImage};
use crate::model::task::MAX_MOUNT_FROM;

/// Most media from which bundles are opened at once.
const MAX_OPENERS: usize = 4;
/// How long opening all bundles may hold up what a look tells, up to their manifests and sets, nothing of their blobs. What
/// takes longer is opened nevertheless, and a later look has it.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// A file that was written to so lately is still being copied.
pub(super) const FRESH: Duration = Duration::from_secs(60);

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
    pub files: Vec<File>,
    pub keys: Vec<String>,
    /// Folders that do not answer, as below the drop folder, and since when.
    pub hanging: BTreeMap<Utf8PathBuf, Hangs>,
    /// Media that answer, and whose files cannot be read, as [`Found::media`], and since when.
    pub unread: BTreeMap<Utf8PathBuf, Hangs>,
    /// Folders and files that cannot be read, as below the drop folder, and why.
    pub unreadable: BTreeMap<Utf8PathBuf, String>,
    /// What was not looked at because there is too much.
    pub left_out: Vec<String>,
}

/// A file that a look found.
pub(super) struct File {
    pub path: Utf8PathBuf,
    pub stamp: Stamp,
    /// As [`Found::media`].
    pub media: Utf8PathBuf,
    pub finding: Finding,
}

/// What was done about a file.
pub(super) enum Finding {
    /// As before.
    Unchanged,
    /// It changed since the last look.
    Changing,
    /// Its media do not answer.
    Hangs(Hangs),
    /// It was opened.
    Opened(Result<Box<Accepted>, Failure>),
}

/// Bundles whose opening took longer than a look waits, by their paths. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct LateOpens(Arc<Mutex<BTreeMap<Utf8PathBuf, LateOpen>>>);

struct LateOpen {
    stamp: Stamp,
    /// The keys that were trusted.
    keys: Vec<String>,
    result: mpsc::Receiver<Opened>,
}

type Opened = Result<Box<Accepted>, Failure>;

impl LateOpens {
    /// What came of opening the file, where it is still the same one and the same keys are trusted.
    fn take(&self, path: &Utf8Path, stamp: &Stamp, keys: &[String]) -> Option<Opened> {
        let late = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(path)?;
        if late.stamp != *stamp || late.keys != keys {
            return None;
        }
        late.result.try_recv().ok()
    }

    fn keep(&self, path: &Utf8Path, late: LateOpen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), late);
    }

    /// Forgets files that are not there any more.
    fn retain(&self, found: &[Found]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|path, late| found.iter().any(|file| file.path == *path && file.stamp == late.stamp));
    }
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
    late: &LateOpens,
) -> Look {
    let trusted = keys::read(&rules.trusted_keys);
    let mut ids = trusted.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>();
    ids.sort_unstable();
    let rotated = ids != old_keys;
    let policy = Policy {
        trust: if rules.unsigned { Trust::Anyone } else { Trust::Keys(trusted) },
        freshness: Freshness { audience: rules.site.clone(), now: rules.now, ..Freshness::default() },
    };
    let Listing { found, folders, hanging, unreadable, left_out } = scan::list(&rules.folder, watchdog);
    late.retain(&found);
    let deadline = Instant::now() + OPEN_LIMIT;
    let opening = Arc::new((rules.clone(), policy, folders));
    let find = |file: &Found| {
        let mut known = known.get(&file.path).copied();
        if let Some(known) = known.as_mut() {
            known.again |= rotated;
        }
        // Nothing on media that hang can be read, whether a file is open or not.
        if let Some(hangs) = watchdog.hanging(&file.media) {
            return Finding::Hangs(hangs);
        }
        match step(known, &file.stamp) {
            Step::Keep => Finding::Unchanged,
            Step::Wait => Finding::Changing,
            Step::Open => {
                if let Some(opened) = late.take(&file.path, &file.stamp, &ids) {
                    return Finding::Opened(opened);
                }
                let (with, path, stamp) = (Arc::clone(&opening), file.path.clone(), file.stamp);
                let open = move || open(&with.0, &with.1, &with.2, &path, &stamp);
                match watchdog.call_or_keep(&file.media, scan::time_left(deadline), open) {
                    Ok(opened) => Finding::Opened(opened),
                    Err((hangs, result)) => {
                        if let Some(result) = result {
                            late.keep(&file.path, LateOpen { stamp, keys: ids.clone(), result });
                        }
                        Finding::Hangs(hangs)
                    }
                }
            }
        }
    };
    let mut media = BTreeMap::<_, Vec<Found>>::new();
    for file in found {
        media.entry(file.media.clone()).or_default().push(file);
    }
    let (media, files) = (Mutex::new(media.into_values()), Mutex::new(Vec::new()));
    let next = || media.lock().unwrap_or_else(PoisonError::into_inner).next();
    // One after the other on each of the media, which do not wait for each other.
    std::thread::scope(|scope| {
        for _ in 0..MAX_OPENERS {
            scope.spawn(|| {
                while let Some(found) = next() {
                    for file in found {
                        let finding = find(&file);
                        let Found { path, stamp, media } = file;
                        let file = File { path, stamp, media, finding };
                        files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
                    }
                }
            });
        }
    });
    let mut files = files.into_inner().unwrap_or_else(PoisonError::into_inner);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let hangs = |file: &File| match file.finding {
        Finding::Hangs(hangs) => Some((file.media.clone(), hangs)),
        _ => None,
    };
    let unread = files.iter().filter_map(hangs).collect();
    Look { files, keys: ids, hanging, unread, unreadable, left_out }
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
    pub(super) fn new(held: Held) -> Self {
        let manifest = held.bundle.manifest();
        let images = manifest.images.iter().zip(&held.images.images).map(|(image, found)| {
            let closures = || std::iter::once(&found.closure).chain(found.referrers.iter().map(|(_, c)| c));
            StockImage {
                reference: image.reference.clone(),
                digest: image.digest,
                platforms: image.platforms.clone(),
                size: closures().map(krs_core::oci::closure::Closure::size).sum(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t36_a_file_that_is_pulled_between_listing_and_opening_is_not_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let rules = Rules {
            folder: root.to_owned(),
            trusted_keys: root.join("keys"),
            unsigned: true,
            site: None,
            now: None,
            clock: Timestamp::now(),
        };
        let long_ago = Timestamp::UNIX_EPOCH.into();
        let stamp = Stamp { size: 100_000, modified: Some(long_ago), place: (1, 2) };
        let path = Utf8Path::new("usb1/a.krs.tar");
        let opened = open(&rules, &Policy::default(), &[root.to_owned()], path, &stamp);
        let failure = opened.map(drop).unwrap_err();
        assert_eq!((failure.kind, failure.reason), (Kind::Medium, "MediumReadError"), "{}", failure.message);
    }
}
