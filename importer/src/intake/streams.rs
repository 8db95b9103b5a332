// SPDX-License-Identifier: Apache-2.0
//! The highest bundle of each stream that was imported: a ConfigMap that is never pruned. A person may lower an entry, the
//! importer never does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use krs_core::bundle::{HighWaterMark, StreamName};
use krs_core::digest::Digest;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name of the ConfigMap.
pub(super) const NAME: &str = "krs-streams";

/// An imported bundle. Importers of all versions read each other's marks, after an update and after a rollback: these three
/// fields never change, and what a later version adds is ignored (`docs/adr/0006-how-formats-change.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mark {
    pub sequence: u64,
    pub identity: Digest,
    /// When its content was decided: a clock that says less is wrong.
    pub created_at: Timestamp,
}

/// By stream.
pub(super) type Marks = BTreeMap<StreamName, Mark>;

/// Why the marks are not known or not kept.
#[derive(Debug, Error)]
pub(super) enum StreamsError {
    /// The API server does not answer as hoped.
    #[error("ConfigMap {NAME} cannot be read or written: {0}")]
    Api(#[from] kube::Error),
    /// An entry is no mark. Nothing is accepted then: an older bundle could not be told from a newer one.
    #[error("entry `{key}` of ConfigMap {NAME} is not readable: {detail}; mend or delete the entry")]
    Entry { key: String, detail: String },
}

/// Reads the data of the ConfigMap.
pub(super) fn parse(data: &BTreeMap<String, String>) -> Result<Marks, StreamsError> {
    let one = |(key, text): (&String, &String)| {
        let bad = |detail: String| StreamsError::Entry { key: krs_core::redact::printable(key, 80), detail };
        let stream = key.parse::<StreamName>().map_err(bad)?;
        let mark = serde_json::from_str::<Mark>(text).map_err(|error| bad(error.to_string()))?;
        Ok((stream, mark))
    };
    data.iter().map(one).collect()
}

/// Whether `mark` is to be written where `current` stands.
pub(super) fn raises(current: Option<&Mark>, mark: &Mark) -> bool {
    current.is_none_or(|current| mark.sequence > current.sequence)
}

/// As the core compares with them.
pub(super) fn freshness(marks: &Marks) -> BTreeMap<StreamName, HighWaterMark> {
    let one = |mark: &Mark| HighWaterMark { sequence: mark.sequence, identity: Some(mark.identity) };
    marks.iter().map(|(stream, mark)| (stream.clone(), one(mark))).collect()
}

/// The marks as they are in the cluster.
pub(super) async fn read(api: &Api<ConfigMap>) -> Result<Marks, StreamsError> {
    let map = api.get_opt(NAME).await?;
    parse(&map.and_then(|map| map.data).unwrap_or_default())
}

/// Writes `mark` unless the cluster has a higher one by now.
pub(super) async fn raise(
    api: &Api<ConfigMap>,
    stream: &StreamName,
    mark: &Mark,
) -> Result<(), StreamsError> {
    let text = serde_json::json!(mark).to_string();
    let Some(map) = api.get_opt(NAME).await? else {
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let data = Some(BTreeMap::from([(stream.to_string(), text)]));
        api.create(&PostParams::default(), &ConfigMap { metadata, data, ..ConfigMap::default() }).await?;
        return Ok(());
    };
    let current = parse(&map.data.unwrap_or_default())?;
    if !raises(current.get(stream), mark) {
        return Ok(());
    }
    // Refused where somebody else wrote in between.
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": map.metadata.resource_version},
        "data": {stream.as_str(): text},
    });
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t27_marks_are_only_raised_and_unreadable_ones_let_nothing_pass() {
        let mark = |sequence| Mark { sequence, identity: Digest::of(b""), created_at: Timestamp::UNIX_EPOCH };
        assert!(raises(None, &mark(0)) && raises(Some(&mark(4)), &mark(5)));
        assert!(!raises(Some(&mark(5)), &mark(5)) && !raises(Some(&mark(6)), &mark(5)));
        let data = |text: &str| BTreeMap::from([("prod".to_owned(), text.to_owned())]);
        let written = serde_json::json!(mark(7)).to_string();
        let marks = parse(&data(&written)).unwrap();
        assert_eq!(freshness(&marks)[&"prod".parse().unwrap()].sequence, 7);
        assert!(parse(&data("7")).unwrap_err().to_string().contains("prod"));
    }

    /// What version 0.1 wrote into the ConfigMap.
    const GOLDEN: &str = include_str!("../../../testdata/golden/0.1/importer/streams.json");

    #[test]
    fn t82_marks_survive_an_update_from_0_1_and_a_rollback_to_it() {
        let data = serde_json::from_str::<BTreeMap<String, String>>(GOLDEN).unwrap();
        let marks = parse(&data).unwrap();
        let of = |stream: &str| &marks[&stream.parse().unwrap()];
        assert_eq!((of("prod").sequence, of("default").sequence), (7, 1_795_406_400));
        assert_eq!(
            (of("prod").identity, of("prod").created_at.as_second()),
            (Digest::of(b"identity"), 1_795_492_800)
        );
        // 0.1 refuses a mark with any further field, and then every bundle: what is written today is what it wrote.
        let written = |mark: &Mark| serde_json::json!(mark).to_string();
        let again = marks.iter().map(|(stream, mark)| (stream.to_string(), written(mark)));
        assert_eq!(again.collect::<BTreeMap<_, _>>(), data);
    }

    #[test]
    fn t82_marks_survive_a_rollback_from_a_later_version() {
        let data = serde_json::from_str::<BTreeMap<String, String>>(GOLDEN).unwrap();
        let later = |text: &String| text.replacen('{', "{\"added\":{\"later\":[1]},", 1);
        let later = data.iter().map(|(stream, text)| (stream.clone(), later(text))).collect();
        assert_eq!(parse(&later).unwrap(), parse(&data).unwrap());
        let without = data["prod"].replace("\"sequence\"", "\"number\"");
        assert!(
            parse(&BTreeMap::from([("prod".to_owned(), without)])).is_err(),
            "nothing is taken for a mark"
        );
    }
}
