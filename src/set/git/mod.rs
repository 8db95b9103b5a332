// SPDX-License-Identifier: Apache-2.0
//! The commit of a checkout and its files, read from the objects of the repository without its index, its configuration
//! and its filters.

mod batch;
mod commit;
mod object;

pub(super) use commit::{Commit, TrackedFile};
pub(super) use object::{Hasher, ObjectId};

/// The commit of a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Full hash of the commit that is checked out, in hex.
    pub commit: String,
    /// Whether the sets that were read differ from those of the commit.
    pub dirty: bool,
    /// When the commit was made, in seconds since 1970.
    pub commit_time: i64,
}

impl Source {
    pub(super) fn of(commit: &Commit, dirty: bool) -> Self {
        Self { commit: commit.id(), dirty, commit_time: commit.time() }
    }
}
