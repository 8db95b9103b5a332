// SPDX-License-Identifier: Apache-2.0
//! Whether media may be pulled, and what to say to those who stand before them. Pure.

use krs_core::crd::reason;

use super::conditions::{IMAGES_MISSING, IMPORTED, MARK_UNREADABLE, WRITING_RECEIPT};
use super::entry::Entry;
use super::rejection::sentence;
use super::usage::{ReceiptOnMedia, Usage};
use crate::engine::condition::{MEDIA_ABSENT, USAGE_UNKNOWN};
use crate::engine::needed::NameList;
use crate::model::marks::MarkComparison;

/// Whether the media may be pulled, why, and in words.
pub(super) fn safe_to_remove(
    entry: &Entry,
    file: &str,
    usage: &Usage,
    is_verified: bool,
) -> (bool, &'static str, String) {
    let stay = |why: &'static str, text: &str| (false, why, format!("do not remove the media: {text}"));
    if entry.stamp.is_none() {
        let mut text = away(entry, file, &usage.missing);
        if usage.copying {
            text = format!(
                "{text}; a running copy Job has begun with it, and continues from another bundle or when the media are back"
            );
        }
        return (usage.imported() && usage.recorded && !usage.copying, MEDIA_ABSENT, text);
    }
    if let Some(fault) = &entry.fault {
        return (false, reason::MEDIA_READ_ERROR, fault.clone());
    }
    if usage.copying {
        return (false, reason::COPYING, "copying: do not remove the media".to_owned());
    }
    if !usage.known() {
        return stay(USAGE_UNKNOWN, &usage_unknown(usage));
    }
    if usage.missing.count > 0 {
        return stay(IMAGES_MISSING, &needs(&usage.missing));
    }
    if !is_verified {
        return stay("Checking", "it is being read to its end");
    }
    if let Some((why, text)) = not_recorded(usage) {
        return (false, why, text);
    }
    if usage.open {
        return stay("Reading", "it is being read");
    }
    match &usage.receipt {
        ReceiptOnMedia::Awaited => stay(WRITING_RECEIPT, "the receipt of the site is being written to it"),
        ReceiptOnMedia::NotWanted | ReceiptOnMedia::Written => {
            (true, IMPORTED, "you may remove the media".to_owned())
        }
        ReceiptOnMedia::Failed(why) => {
            let text = format!("you may remove the media; the receipt of the site is not on it: {why}");
            (true, IMPORTED, sentence(&text, None))
        }
    }
}

pub(super) fn needs(missing: &NameList) -> String {
    match missing.count {
        1 => missing.text(),
        n => format!("{n} images are needed: {}", missing.text()),
    }
}

pub(super) fn usage_unknown(usage: &Usage) -> String {
    let what = "what the sets need is not known yet";
    let text = if usage.pending.count > 0 {
        format!("{what}: {} must take it into account", usage.pending.text())
    } else {
        what.to_owned()
    };
    sentence(&text, None)
}

pub(super) fn away(entry: &Entry, file: &str, missing: &NameList) -> String {
    let at = entry.last_seen.round(jiff::Unit::Second).unwrap_or(entry.last_seen);
    let file = krs_core::redact::printable(file, 300);
    if missing.count > 0 {
        format!("insert the media with {file} again (last seen at {at}): {}", missing.text())
    } else {
        format!("{file} is not there: last seen at {at}")
    }
}

/// Why the media must stay although everything was copied; none where the mark is recorded.
fn not_recorded(usage: &Usage) -> Option<(&'static str, String)> {
    if usage.recorded {
        return None;
    }
    if let MarkComparison::Unknown { .. } = usage.standing {
        let text = "do not remove the media: the mark of its stream cannot be read, see Superseded";
        return Some((MARK_UNREADABLE, text.to_owned()));
    }
    let why = usage.not_recorded.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    Some((
        "MarkNotRecorded",
        format!("do not remove the media: that it was imported is not recorded yet{why}"),
    ))
}
