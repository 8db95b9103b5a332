// SPDX-License-Identifier: Apache-2.0
//! What a bundle is needed for. Pure.

use crate::engine::needed::NameList;
use crate::model::marks::MarkComparison;

/// What a bundle is needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    /// Whether the sets can have used it. One that was taken out before they did is not imported, though no set needs it.
    pub may_be_imported: bool,
    /// Whether every set of the cluster was reconciled since the importer started.
    pub complete: bool,
    /// Sets that do not take it into account yet.
    pub pending: NameList,
    /// Sets that will copy from it, and what.
    pub missing: NameList,
    /// What became of its sets, where they are applied and all were tried.
    pub sets_applied: Option<Result<(), (&'static str, NameList)>>,
    /// Whether a Job copies from it.
    pub copying: bool,
    /// Whether its file is open.
    pub open: bool,
    /// What the mark of its stream says of it.
    pub standing: MarkComparison,
    /// Whether the mark of its stream is at it or above, durably, or was before a person lowered it.
    pub recorded: bool,
    /// Why the mark could not be raised.
    pub not_recorded: Option<String>,
    /// Whether the receipt of the site is on its media.
    pub receipt: ReceiptOnMedia,
}

/// Whether the receipt of the site is on the media of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum ReceiptOnMedia {
    /// It is not to be.
    #[default]
    NotWanted,
    /// It is written, or will be.
    Awaited,
    /// It is, durably.
    Written,
    /// It could not be written.
    Failed(String),
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            may_be_imported: false,
            complete: false,
            pending: NameList::default(),
            missing: NameList::default(),
            sets_applied: None,
            copying: false,
            open: false,
            standing: MarkComparison::Current,
            recorded: false,
            not_recorded: None,
            receipt: ReceiptOnMedia::NotWanted,
        }
    }
}

impl Usage {
    /// Whether it is known what the sets need of it.
    pub(super) const fn known(&self) -> bool {
        self.complete && self.pending.count == 0
    }

    /// Whether no set will copy anything that the bundle holds.
    pub(super) const fn imported(&self) -> bool {
        self.may_be_imported && self.known() && self.missing.count == 0
    }
}
