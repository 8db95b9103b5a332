// SPDX-License-Identifier: Apache-2.0
//! What the ImageBundles say of the bundles, for the receipt of the site. Pure.

use std::collections::BTreeMap;

use krs_core::bundle::StreamName;
use krs_core::crd::{ImageBundleStatus, condition};
use krs_core::redact::printable;
use krs_core::sync::receipt::{ImportedBundle, RefusedBundle};

use super::report::Report;
use crate::model::bundle_outcomes::BundleOutcomes;
use crate::model::media_record::MediaBundles;

/// Longest name of a file, reason and message, in characters.
const MAX_TEXT: usize = 1000;

/// What became of the bundles of these ImageBundles. `media` wait for the receipt.
pub(super) fn outcomes(reports: &[Report], media: MediaBundles) -> BundleOutcomes {
    let imported = reports.iter().filter_map(|report| imported(&report.status));
    let imported = imported.map(|bundle| ((bundle.stream.clone(), bundle.sequence, bundle.digest), bundle));
    let mut refused = reports.iter().filter_map(refused).collect::<Vec<_>>();
    refused.sort();
    let digest = |status: &ImageBundleStatus| status.digest.as_ref()?.parse().ok();
    let undecided = reports.iter().filter(|report| is_undecided(&report.status));
    BundleOutcomes {
        // One bundle may lie on several media.
        imported: imported.collect::<BTreeMap<_, _>>().into_values().collect(),
        refused,
        media,
        listed: reports.iter().filter_map(|report| digest(&report.status)).collect(),
        undecided: undecided.filter_map(|report| digest(&report.status)).collect(),
    }
}

fn is_imported(status: &ImageBundleStatus) -> bool {
    let holds = |type_| status.conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
    holds(condition::VERIFIED) && holds(condition::IMPORTED)
}

fn is_undecided(status: &ImageBundleStatus) -> bool {
    let types = [condition::VERIFIED, condition::IMPORTED];
    status.conditions.iter().any(|c| types.contains(&c.type_.as_str()) && c.status == "Unknown")
}

/// The bundle, where it is imported and all is known that a receipt says of it.
fn imported(status: &ImageBundleStatus) -> Option<ImportedBundle> {
    if !is_imported(status) {
        return None;
    }
    let (stream, sequence) = numbered(status)?;
    let digest = status.digest.as_ref()?.parse().ok()?;
    Some(ImportedBundle { created_at: status.created_at.as_ref()?.0, digest, sequence, stream })
}

fn refused(report: &Report) -> Option<RefusedBundle> {
    let conditions = &report.status.conditions;
    let verified = conditions.iter().find(|c| c.type_ == condition::VERIFIED && c.status == "False")?;
    let text = |text: &str| match printable(text, MAX_TEXT) {
        text if text.is_empty() => "unknown".to_owned(),
        text => text,
    };
    let (stream, sequence) = numbered(&report.status).unzip();
    Some(RefusedBundle {
        file: text(&report.file),
        message: text(&verified.message),
        reason: text(&verified.reason),
        sequence,
        stream,
    })
}

fn numbered(status: &ImageBundleStatus) -> Option<(StreamName, u64)> {
    Some((status.stream.as_ref()?.parse().ok()?, u64::try_from(status.sequence?).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::engine::condition::ConditionBuilder;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use krs_core::oci::digest::Digest;

    fn report(file: &str, sequence: Option<i64>, verified: &str, imported: &str) -> Report {
        let builder = ConditionBuilder::new(&[], 1, jiff::Timestamp::UNIX_EPOCH);
        let verified = builder.condition(condition::VERIFIED, verified, "Why", "because\u{1b}".to_owned());
        let imported = builder.condition(condition::IMPORTED, imported, "Why", "so".to_owned());
        let status = ImageBundleStatus {
            stream: sequence.map(|_| "prod".to_owned()),
            sequence,
            digest: sequence.map(|sequence| Digest::of(&sequence.to_le_bytes()).to_string()),
            created_at: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
            conditions: vec![verified, imported],
            ..ImageBundleStatus::default()
        };
        Report { name: file.to_owned(), file: file.to_owned(), status }
    }

    #[test]
    fn imported_and_refused_bundles_are_told_apart_and_each_is_listed_once() {
        let reports = [
            report("usb2/b.krs.tar", Some(2), "True", "True"),
            report("usb1/b.krs.tar", Some(2), "True", "True"),
            report("usb1/a.krs.tar", Some(1), "True", "True"),
            report("usb1/c.krs.tar", Some(3), "True", "False"),
            report("usb1/d.krs.tar", Some(4), "Unknown", "True"),
            report("usb1/e.krs.tar", Some(5), "False", "False"),
            report("\u{1b}[1mf.krs.tar", None, "False", "False"),
        ];
        let found = outcomes(&reports, MediaBundles::new());
        assert_eq!(found.imported.iter().map(|bundle| bundle.sequence).collect::<Vec<_>>(), [1, 2]);
        let refused = found.refused.iter().map(|bundle| (bundle.file.as_str(), bundle.sequence));
        let refused = refused.collect::<Vec<_>>();
        assert_eq!(refused.len(), 2);
        assert!(refused.contains(&("usb1/e.krs.tar", Some(5))));
        let all = found.refused.iter().flat_map(|bundle| [&bundle.file, &bundle.message]);
        assert!(all.clone().all(|text| !text.contains('\u{1b}')), "{:?}", all.collect::<Vec<_>>());
        assert_eq!(found.listed.len(), 5);
        assert_eq!(found.undecided, [Digest::of(&4i64.to_le_bytes())].into());
    }
}
