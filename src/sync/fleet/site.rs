// SPDX-License-Identifier: Apache-2.0
//! What is known of one site: of everything that came back from there, the newest counts.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::word::SiteWord;
use crate::bundle::StreamName;
use crate::sync::catalog::Confirmation;

/// What is known of a site.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// The newest complete receipt.
    pub(super) receipt: Option<SiteWord>,
    /// The newest confirmation of each stream, and how a call names it.
    pub(super) confirmations: BTreeMap<StreamName, (Confirmation, String)>,
    pub(super) older: usize,
}

impl Site {
    pub(super) fn confirm(&mut self, confirmation: Confirmation, source: String) {
        let age = |one: &Confirmation| (one.created_at, one.sequence, one.signed_by.is_some());
        match self.confirmations.get(&confirmation.stream) {
            Some((other, _)) if age(other) >= age(&confirmation) => {}
            _ => {
                self.confirmations.insert(confirmation.stream.clone(), (confirmation, source));
            }
        }
    }

    /// The newest confirmation of each stream: those of the receipt, without a source, and those that are newer than it.
    pub(super) fn current(&self) -> impl Iterator<Item = (&Confirmation, Option<&String>)> {
        let made = self.receipt.as_ref().map(|word| word.created_at);
        let newer = move |one: &Confirmation| made.is_none_or(|made| one.created_at > made);
        let others = self.confirmations.values().filter(move |(one, _)| newer(one));
        let own = self.receipt.iter().flat_map(|word| &word.confirmations);
        let own =
            own.filter(move |one| self.confirmations.get(&one.stream).is_none_or(|(other, _)| !newer(other)));
        own.map(|one| (one, None)).chain(others.map(|(one, source)| (one, Some(source))))
    }

    /// When it last said something, the key that verified it, and what it reads.
    pub(super) fn newest(&self) -> Option<(Timestamp, Option<String>, u32)> {
        let receipt = self.receipt.iter().map(|word| (word.created_at, word.verified_by.clone(), word.reads));
        let others = self.confirmations.values();
        let others = others.map(|(one, _)| (one.created_at, one.signed_by.clone(), one.reads));
        // Of equal times the last one counts: the receipt.
        others.chain(receipt).max_by_key(|(created_at, ..)| *created_at)
    }
}
