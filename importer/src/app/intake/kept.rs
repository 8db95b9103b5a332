// SPDX-License-Identifier: Apache-2.0
//! What is kept of bundles and streams from one scan to the next, for as long as a file is of them. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use camino::Utf8PathBuf;
use krs_core::bundle::StreamName;
use krs_core::oci::digest::Digest;

use super::entry::{Entry, State};
use super::namespaces::Mismatches;
use crate::engine::needed::ApplyState;

/// Most bundles, and most streams, that are kept without a file while the bundle of some file is not known.
const MAX_UNLISTED: usize = 64;

/// What is kept of bundles and streams.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What became of the sets of bundles that are applied, by manifest and in the order of its sets.
    pub(super) applied: HashMap<Digest, Vec<ApplyState>>,
    /// By manifest, for what the sets need now.
    pub(super) mismatches: HashMap<Digest, Mismatches>,
    /// Why the mark of a stream could not be written.
    pub(super) not_recorded: BTreeMap<StreamName, String>,
}

impl Kept {
    /// Drops what is kept of bundles and streams that no file is of. A file whose bundle is not known, because it is still
    /// being written or cannot be read, may be of any of them: some are kept for it. A file may stay so for as long as the
    /// importer runs, so that there is a limit. What is dropped too early is worked out again: sets are applied again, and
    /// a mark that cannot be written says so again.
    pub(super) fn forget_unlisted(&mut self, entries: &BTreeMap<Utf8PathBuf, Entry>) {
        let is_unknown = |entry: &Entry| matches!(entry.state, State::Growing(_) | State::Unreadable(_));
        let spare = if entries.values().any(is_unknown) { MAX_UNLISTED } else { 0 };
        let bundles = entries.values().filter_map(Entry::digest).collect::<BTreeSet<_>>();
        let streams = entries.values().filter_map(Entry::stream).map(|(stream, _)| stream);
        let streams = streams.collect::<BTreeSet<_>>();
        if has_more_unlisted(self.applied.keys(), &bundles, spare) {
            self.applied.retain(|digest, _| bundles.contains(digest));
        }
        if has_more_unlisted(self.mismatches.keys(), &bundles, spare) {
            self.mismatches.retain(|digest, _| bundles.contains(digest));
        }
        if has_more_unlisted(self.not_recorded.keys(), &streams, spare) {
            self.not_recorded.retain(|stream, _| streams.contains(stream));
        }
    }
}

/// Whether more than `most` of `kept` are not among `listed`.
fn has_more_unlisted<'a, T: Ord + 'a>(
    kept: impl Iterator<Item = &'a T>,
    listed: &BTreeSet<T>,
    most: usize,
) -> bool {
    kept.filter(|kept| !listed.contains(kept)).nth(most).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use krs_core::crd::ImageBundleStatus;

    use super::*;

    fn stream(n: usize) -> StreamName {
        format!("s{n}").parse().unwrap()
    }

    fn digest(n: usize) -> Digest {
        Digest::of(n.to_string().as_bytes())
    }

    fn entry(state: State) -> Entry {
        let mut entry = Entry::new("a".to_owned(), Timestamp::UNIX_EPOCH);
        entry.state = state;
        entry
    }

    /// The file of a bundle, as an earlier run left its ImageBundle.
    fn listed(n: usize) -> Entry {
        let status = ImageBundleStatus {
            digest: Some(digest(n).to_string()),
            stream: Some(stream(n).to_string()),
            sequence: Some(1),
            ..ImageBundleStatus::default()
        };
        let mut entry = entry(State::New);
        entry.earlier = Some(status);
        entry
    }

    fn sizes(kept: &Kept) -> (usize, usize, usize) {
        (kept.applied.len(), kept.mismatches.len(), kept.not_recorded.len())
    }

    /// Bundles come one after the other, and their files go, beside one file in `states`.
    fn pass_by(bundles: usize, beside: Option<State>) -> (Kept, (usize, usize, usize)) {
        let (mut kept, mut most) = (Kept::default(), (0, 0, 0));
        let mut entries = BTreeMap::new();
        entries.extend(beside.map(|state| ("beside.krs.tar".into(), entry(state))));
        for n in 0..bundles {
            entries.insert("usb.krs.tar".into(), listed(n));
            kept.applied.insert(digest(n), vec![ApplyState::Due]);
            kept.mismatches.insert(digest(n), Mismatches::default());
            kept.not_recorded.insert(stream(n), "the quota is used up".to_owned());
            kept.forget_unlisted(&entries);
            assert!(kept.applied.contains_key(&digest(n)) && kept.mismatches.contains_key(&digest(n)));
            assert!(kept.not_recorded.contains_key(&stream(n)), "its file is there");
            let (a, b, c) = sizes(&kept);
            most = (most.0.max(a), most.1.max(b), most.2.max(c));
        }
        (kept, most)
    }

    #[test]
    fn t232_what_is_kept_of_bundles_goes_with_their_files() {
        let (mut kept, most) = pass_by(1000, None);
        assert_eq!(most, (1, 1, 1));
        kept.forget_unlisted(&BTreeMap::new());
        assert_eq!(sizes(&kept), (0, 0, 0));
    }

    #[test]
    fn t232_a_file_that_can_never_be_read_lets_a_bounded_number_of_bundles_be_kept() {
        for state in [State::Unreadable("Input/output error".to_owned()), State::Growing(String::new())] {
            let (mut kept, most) = pass_by(1000, Some(state));
            let limit = MAX_UNLISTED + 1;
            assert_eq!(most, (limit, limit, limit));
            kept.forget_unlisted(&BTreeMap::new());
            assert_eq!(sizes(&kept), (0, 0, 0));
        }
    }

    /// The same file may be copied again, and is then of the same bundle.
    #[test]
    fn what_is_kept_of_a_bundle_whose_file_is_being_written_stays() {
        let (mut kept, _) = pass_by(1, None);
        let growing = entry(State::Growing("the file is still being written".to_owned()));
        kept.forget_unlisted(&BTreeMap::from([("usb.krs.tar".into(), growing)]));
        assert_eq!(sizes(&kept), (1, 1, 1));
        let refused = State::Refused { reason: "NotABundle", message: String::new() };
        kept.forget_unlisted(&BTreeMap::from([("usb.krs.tar".into(), entry(refused))]));
        assert_eq!(sizes(&kept), (0, 0, 0));
    }
}
