// SPDX-License-Identifier: Apache-2.0
//! What a `kustomization.yaml` says.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::crd::{GROUP, KIND};
use crate::set::text::says_set;

/// Largest file of Kustomize that is read.
const MAX_FILE: u64 = 1 << 20;

/// A kustomization.
#[derive(Debug)]
pub(super) struct Kustomization {
    pub(super) file: PathBuf,
    pub(super) folder: PathBuf,
    value: Value,
}

/// A patch of a kustomization.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch<'a> {
    /// The file that holds it.
    pub(super) file: Option<&'a str>,
    /// The patch itself, where it is written in place.
    pub(super) text: Option<&'a str>,
    /// What it is applied to.
    pub(super) target: Option<&'a Value>,
}

impl Kustomization {
    pub(super) fn read(file: &Path) -> Option<Self> {
        Self::parse(file, &read_small(file)?)
    }

    pub(super) fn parse(file: &Path, text: &[u8]) -> Option<Self> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: 32, max_nodes: 50_000, max_aliases: 100 },
            with_snippet: false,
        };
        let text = std::str::from_utf8(text).ok()?;
        let value: Value = serde_saphyr::from_str_with_options(text, options).ok()?;
        Some(Self { file: file.to_owned(), folder: file.parent()?.to_owned(), value })
    }

    fn entries(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.value.get(key).and_then(Value::as_array).into_iter().flatten()
    }

    fn texts(&self, key: &str) -> impl Iterator<Item = &str> {
        self.entries(key).filter_map(Value::as_str)
    }

    /// A text that is there and not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Whether a list is there and not empty.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries(key).next().is_some()
    }

    /// Files, folders and addresses whose objects it takes.
    pub(super) fn resources(&self) -> impl Iterator<Item = &str> {
        // A resource may be written in place, too.
        ["resources", "bases"]
            .into_iter()
            .flat_map(move |key| self.texts(key))
            .filter(|text| !text.contains('\n'))
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

    /// What its replacements are written to; `None` for one that is in a file.
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
    /// Whether it says itself that it is for a set.
    pub(super) fn names_set(&self) -> bool {
        let kind = self.target.and_then(|target| target.get("kind")).and_then(Value::as_str);
        kind.map_or_else(|| self.text.is_some_and(says_set), |kind| kind == KIND)
    }
}

/// Whether a selector of Kustomize can choose a set that has one of these names. Its fields are regular expressions
/// that must match as a whole.
pub(super) fn selects(selector: &Value, names: &[&str]) -> bool {
    let field = |key: &str| selector.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    field("group").is_none_or(|group| may_match(group, GROUP))
        && field("kind").is_none_or(|kind| may_match(kind, KIND))
        && field("name")
            .is_none_or(|name| names.is_empty() || names.iter().any(|known| may_match(name, known)))
}

/// Whether a regular expression may match a text. One that is more than a choice of words may match anything.
fn may_match(expression: &str, text: &str) -> bool {
    let words = expression.trim_matches(['^', '$', '(', ')']).split('|');
    words.into_iter().any(|word| word == text || word.contains(['*', '+', '?', '[', '(', ')', '\\', '{']))
}

/// Reads a file that is small enough to be one of Kustomize's.
pub(super) fn read_small(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(())?;
    file.take(MAX_FILE).read_to_end(&mut text).ok()?;
    Some(text)
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
