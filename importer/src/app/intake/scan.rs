// SPDX-License-Identifier: Apache-2.0
//! Scans the drop folder: lists it and opens what has to be opened. Blocking, but never without limit.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::sign::Trust;
use krs_core::bundle::{Bundle, BundleError, Freshness, Policy};
use parking_lot::Mutex;

use super::accepted::AcceptedBundle;
use super::finding::{FRESH, File, Finding, Known, Scan, Step, step};
use super::folder::{Found, Stamp};
use super::keys;
use super::listing::{self, Listing};
use super::rejection::{self, Failure, Kind};
use super::watchdog::Watchdog;
use crate::adapters::bundle_store::OpenBundle;
use crate::model::config::Config;

/// Most media from which bundles are opened at once.
const MAX_OPENERS: usize = 4;
/// How long opening all bundles may hold up a scan, up to their manifests and sets, nothing of their blobs. What takes
/// longer is opened nevertheless, and a later scan has it.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

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

impl Rules {
    /// Those of a site. `now` is the latest time that is known.
    pub(super) fn of(config: &Config, now: Timestamp, clock: Timestamp) -> Self {
        Self {
            folder: config.intake.folder.clone(),
            trusted_keys: config.trusted_keys.clone(),
            unsigned: config.unsigned_bundles,
            site: config.site.clone(),
            now: config.enforce_expiry.then_some(now),
            clock,
        }
    }
}

/// Bundles whose opening took longer than a scan waits, by their paths. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct LateOpens(Arc<Mutex<BTreeMap<Utf8PathBuf, LateOpen>>>);

struct LateOpen {
    stamp: Stamp,
    /// The keys that were trusted.
    keys: Vec<String>,
    result: mpsc::Receiver<OpenResult>,
}

type OpenResult = Result<Box<AcceptedBundle>, Failure>;

impl LateOpens {
    /// What came of opening the file, where it is still the same one and the same keys are trusted.
    fn take(&self, path: &Utf8Path, stamp: &Stamp, keys: &[String]) -> Option<OpenResult> {
        let late = self.0.lock().remove(path)?;
        if late.stamp != *stamp || late.keys != keys {
            return None;
        }
        late.result.try_recv().ok()
    }

    fn keep(&self, path: &Utf8Path, late: LateOpen) {
        self.0.lock().insert(path.to_owned(), late);
    }

    /// Forgets files that are not there any more.
    fn retain(&self, found: &[Found]) {
        let mut all = self.0.lock();
        all.retain(|path, late| found.iter().any(|file| file.path == *path && file.stamp == late.stamp));
    }
}

/// Lists the folder and opens what has to be opened. Blocking, but never without limit: what hangs is left to `watchdog`.
pub(super) fn scan(
    rules: &Rules,
    known: &BTreeMap<Utf8PathBuf, Known>,
    old_keys: &[String],
    watchdog: &Watchdog,
    late: &LateOpens,
) -> Scan {
    let trusted = keys::read(&rules.trusted_keys);
    let mut ids = trusted.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>();
    ids.sort_unstable();
    let rotated = ids != old_keys;
    let policy = Policy {
        trust: if rules.unsigned { Trust::Anyone } else { Trust::Keys(trusted) },
        freshness: Freshness { audience: rules.site.clone(), now: rules.now, ..Freshness::default() },
    };
    let Listing { found, folders, hanging, unreadable, left_out } = listing::list(&rules.folder, watchdog);
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
                match watchdog.call_or_keep(&file.media, listing::time_left(deadline), open) {
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
    let next = || media.lock().next();
    // One after the other on each of the media, which do not wait for each other.
    std::thread::scope(|scope| {
        for _ in 0..MAX_OPENERS {
            scope.spawn(|| {
                while let Some(found) = next() {
                    for file in found {
                        let finding = find(&file);
                        let Found { path, stamp, media } = file;
                        let file = File { path, stamp, media, finding };
                        files.lock().push(file);
                    }
                }
            });
        }
    });
    let mut files = files.into_inner();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let hangs = |file: &File| match file.finding {
        Finding::Hangs(hangs) => Some((file.media.clone(), hangs)),
        _ => None,
    };
    let unread = files.iter().filter_map(hangs).collect();
    Scan { files, keys: ids, hanging, unread, unreadable, left_out }
}

fn open(
    rules: &Rules,
    policy: &Policy,
    folders: &[Utf8PathBuf],
    path: &Utf8Path,
    stamp: &Stamp,
) -> Result<Box<AcceptedBundle>, Failure> {
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
        Ok(OpenBundle::new(bundle, images))
    });
    match opened {
        Ok(held) => Ok(Box::new(AcceptedBundle::new(held))),
        Err(error) => {
            let failure = rejection::judge(&error);
            let age = stamp.modified.and_then(|at| Timestamp::try_from(at).ok());
            let fresh = age.is_some_and(|at| at.duration_until(rules.clock).unsigned_abs() < FRESH);
            if failure.kind == Kind::Incomplete && !fresh {
                return Err(Failure { kind: Kind::Refused, ..failure });
            }
            Err(failure)
        }
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
        let stamp = Stamp { size: 100_000, modified: Some(long_ago), inode: (1, 2), device: 1 };
        let path = Utf8Path::new("usb1/a.krs.tar");
        let opened = open(&rules, &Policy::default(), &[root.to_owned()], path, &stamp);
        let failure = opened.map(drop).unwrap_err();
        assert_eq!((failure.kind, failure.reason), (Kind::Media, "MediaReadError"), "{}", failure.message);
    }
}
