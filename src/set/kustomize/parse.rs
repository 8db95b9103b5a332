// SPDX-License-Identifier: Apache-2.0
//! Parses `kustomization.yaml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::crd::{GROUP, KIND};
use crate::set::yaml::kind::says_set;
use crate::set::yaml::text::split;

/// Largest file of Kustomize that is read.
const MAX_FILE: u64 = 1 << 20;
/// The fields that are read as lists.
const LISTS: [&str; 13] = [
    "resources",
    "bases",
    "components",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "images",
    "replacements",
    "transformers",
    "configurations",
    "generators",
    "helmCharts",
    "helmChartInflationGenerator",
];

/// A kustomization and where it lies.
#[derive(Debug)]
pub(super) struct Kustomization {
    pub(super) file: PathBuf,
    pub(super) folder: PathBuf,
    value: Value,
}

/// A patch of a kustomization.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch<'a> {
    /// The file that contains it.
    pub(super) file: Option<&'a str>,
    /// The patch itself, if it is inline.
    pub(super) text: Option<&'a str>,
    /// What it is applied to.
    pub(super) target: Option<&'a Value>,
}

impl Kustomization {
    /// Reads a kustomization; `None`: there is no such file.
    ///
    /// # Errors
    /// Why it cannot be read, as part of a sentence.
    pub(super) fn read(file: &Path) -> Option<Result<Self, String>> {
        let text = match read_small(file) {
            Ok(text) => text?,
            Err(reason) => return Some(Err(reason)),
        };
        Some(Self::parse(file, &text))
    }

    /// # Errors
    /// Why it cannot be read, as part of a sentence. Does not contain its text, which may have secrets.
    pub(super) fn parse(file: &Path, text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
        // As Kustomize does: the first YAML document of the file.
        let pieces = split(text);
        let text = pieces.first().map_or("", |piece| &piece.text);
        let value = yaml(text).map_err(|line| {
            let at = line.map(|line| pieces.first().map_or(1, |piece| piece.line(line)));
            format!(
                "is not valid YAML, or too large{}",
                at.map(|line| format!(" (line {line})")).unwrap_or_default()
            )
        })?;
        Self::of(file, file.parent().unwrap_or(file), value)
    }

    /// Parses the fields of a kustomization of `folder` from a value.
    ///
    /// # Errors
    /// Why it is invalid, as part of a sentence.
    pub(super) fn of(file: &Path, folder: &Path, value: Value) -> Result<Self, String> {
        if !matches!(value, Value::Object(_) | Value::Null) {
            return Err("is not a mapping".to_owned());
        }
        let is_list = |key: &&str| value.get(key).is_none_or(|list| list.is_array() || list.is_null());
        if let Some(key) = LISTS.iter().find(|key| !is_list(key)) {
            return Err(format!("has a field {key} that is not a list"));
        }
        Ok(Self { file: file.to_owned(), folder: folder.to_owned(), value })
    }

    fn entries(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.value.get(key).and_then(Value::as_array).into_iter().flatten()
    }

    fn texts(&self, key: &str) -> impl Iterator<Item = &str> {
        self.entries(key).filter_map(Value::as_str)
    }

    /// A string that is present and not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Whether a list is present and not empty.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries(key).next().is_some()
    }

    /// Files, folders and addresses whose objects it takes.
    pub(super) fn resources(&self) -> impl Iterator<Item = &str> {
        ["resources", "bases"].into_iter().flat_map(move |key| self.texts(key))
    }

    /// The Helm charts that it renders: their names, and their folders unless they come from a network.
    pub(super) fn charts(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        fn text<'a>(value: Option<&'a Value>, key: &str) -> Option<&'a str> {
            value?.get(key)?.as_str()
        }
        let home = text(self.value.get("helmGlobals"), "chartHome");
        let of = move |chart, name, home: Option<&str>| {
            let name = text(Some(chart), name).unwrap_or_default();
            (name, self.folder.join(home.unwrap_or("charts")).join(name))
        };
        let charts = self.entries("helmCharts").map(move |chart| of(chart, "name", home));
        let old = self.entries("helmChartInflationGenerator");
        charts.chain(old.map(move |chart| of(chart, "chartName", text(Some(chart), "chartHome"))))
    }

    pub(super) fn components(&self) -> impl Iterator<Item = &str> {
        self.texts("components")
    }

    /// Names of images that it replaces.
    pub(super) fn images(&self) -> impl Iterator<Item = &str> {
        self.entries("images").filter_map(|image| image.get("name")?.as_str())
    }

    pub(super) fn patches(&self) -> impl Iterator<Item = Patch<'_>> {
        ["patches", "patchesStrategicMerge", "patchesJson6902"]
            .into_iter()
            .flat_map(move |key| self.entries(key))
            .map(|entry| {
                let field = |name: &str| entry.get(name).and_then(Value::as_str);
                let written = entry.as_str();
                Patch {
                    file: field("path").or(written.filter(|text| !text.contains('\n'))),
                    text: field("patch").or(written.filter(|text| text.contains('\n'))),
                    target: entry.get("target"),
                }
            })
    }

    /// The targets of its replacements; `None` for one that is in a file.
    pub(super) fn replacement_targets(&self) -> impl Iterator<Item = Option<&Value>> {
        self.entries("replacements").flat_map(|replacement| {
            let targets = replacement.get("targets").and_then(Value::as_array);
            let selected = targets.into_iter().flatten().map(|target| target.get("select"));
            let in_file = replacement.get("path").map(|_| None);
            selected.chain(in_file)
        })
    }
}

impl Patch<'_> {
    /// Whether its content says that it is for a set.
    pub(super) fn names_set(&self) -> bool {
        let kind = self.target.and_then(|target| target.get("kind")).and_then(Value::as_str);
        kind.map_or_else(|| self.text.is_some_and(says_set), |kind| kind == KIND)
    }
}

/// Whether a selector of Kustomize can choose a set that has one of these names. Its fields are regular expressions
/// that must match completely.
pub(super) fn selects(selector: &Value, names: &[&str]) -> bool {
    let field = |key: &str| selector.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    field("group").is_none_or(|group| may_match(group, GROUP))
        && field("kind").is_none_or(|kind| may_match(kind, KIND))
        && field("name")
            .is_none_or(|name| names.is_empty() || names.iter().any(|known| may_match(name, known)))
}

/// Whether a regular expression may match a text. Anything but a list of alternatives counts as a match.
fn may_match(expression: &str, text: &str) -> bool {
    let words = expression.trim_matches(['^', '$', '(', ')']).split('|');
    words.into_iter().any(|word| word == text || word.contains(['*', '+', '?', '[', '(', ')', '\\', '{']))
}

/// Parses a YAML document as a value, with limits on its depth and size.
///
/// # Errors
/// The line from 1 at which it does not read, if that is known. Does not contain its text, which may have secrets.
pub(super) fn yaml(text: &str) -> Result<Value, Option<u64>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, max_nodes: 50_000, max_aliases: 100 },
        emit_comments: false,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| error.location().map(|location| location.line()))
}

/// Reads a file of Kustomize; `None`: there is no such file.
///
/// # Errors
/// Why it cannot be read, as part of a sentence.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    // Checked before it is opened, because opening a pipe would wait for a writer.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(cannot(error));
        }
        Ok(_) | Err(_) => return Ok(None),
    }
    match crate::files::read_file(path, MAX_FILE) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(format!("is larger than {MAX_FILE} bytes"))
        }
        Err(error) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn selectors_are_read_as_kustomize_reads_them() {
        for (selector, chosen) in [
            ("{}", true),
            ("{kind: EdgeImageSet}", true),
            ("{kind: Deployment}", false),
            ("{kind: Deployment|EdgeImageSet}", true),
            ("{kind: ^(Deployment|StatefulSet)$}", false),
            ("{kind: Edge.*}", true),
            ("{group: apps}", false),
            ("{group: kuberegistrysync.io, name: shop}", true),
            ("{name: other}", false),
            ("{name: '', kind: ''}", true),
            ("{labelSelector: a=b}", true),
        ] {
            let selector: Value = serde_saphyr::from_str(selector).unwrap();
            assert_eq!(selects(&selector, &["shop"]), chosen, "{selector}");
        }
    }
}
