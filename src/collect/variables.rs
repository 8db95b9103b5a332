// SPDX-License-Identifier: Apache-2.0
//! Variables that a Kustomization of Flux replaces (`spec.postBuild`) in what lies in its folder.

use std::collections::BTreeMap;

use super::resource::Resource;

const FLUX: &str = "kustomize.toolkit.fluxcd.io";
/// The label or annotation of resources in which nothing is replaced.
const DISABLED: &str = "kustomize.toolkit.fluxcd.io/substitute";

/// The variables of a Kustomization, and the folder for which they hold, as messages call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variables {
    folder: String,
    values: BTreeMap<String, String>,
    /// ConfigMaps that are not in the sources, and Secrets, which are never read.
    pub(super) unread: Vec<String>,
}

/// Whether a resource is a Kustomization of Flux.
pub(super) fn is_flux_kustomization(resource: &Resource) -> bool {
    resource.is(FLUX, "Kustomization")
}

/// Whether a Kustomization of Flux replaces variables at all: without any of its own it leaves also those with a default.
pub(super) fn has_variables(kustomization: &Resource) -> bool {
    let own = kustomization.node.at(&["spec", "postBuild", "substitute"]);
    own.is_some_and(|own| !own.fields().is_empty())
        || !kustomization.node.items_at(&["spec", "postBuild", "substituteFrom"]).is_empty()
}

impl Variables {
    /// The variables of a Kustomization for a folder. ConfigMaps come from `pool`; Secrets are not read.
    pub(super) fn of(kustomization: &Resource, folder: String, pool: &[Resource]) -> Self {
        let (mut values, mut unread) = (BTreeMap::new(), Vec::new());
        for source in kustomization.node.items_at(&["spec", "postBuild", "substituteFrom"]) {
            let name = source.text_at(&["name"]).unwrap_or_default();
            let is_it = |other: &&Resource| {
                other.is("", "ConfigMap")
                    && other.name == name
                    && (other.namespace.is_none() || other.namespace == kustomization.namespace)
            };
            let map = pool.iter().find(is_it).filter(|_| source.text_at(&["kind"]) == Some("ConfigMap"));
            if map.is_none() && source.text_at(&["optional"]) != Some("true") {
                unread.push(format!("{} `{name}`", source.text_at(&["kind"]).unwrap_or_default()));
            }
            if let Some(map) = map {
                let data = map.node.get("data").map(|data| data.fields()).unwrap_or_default();
                values.extend(
                    data.iter().filter_map(|(key, value)| Some((key.clone(), value.text()?.to_owned()))),
                );
            }
        }
        let own = kustomization.node.at(&["spec", "postBuild", "substitute"]);
        let own = own.map(super::yaml::Node::fields).unwrap_or_default();
        values.extend(own.iter().filter_map(|(key, value)| Some((key.clone(), value.text()?.to_owned()))));
        Self { folder, values, unread }
    }

    /// A text of YAML with the variables replaced that are known; resources that are marked for it keep theirs.
    pub(super) fn text(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut document = String::new();
        let mut end = |document: &mut String| {
            let has_mark = document.lines().any(|line| {
                line.split_once(DISABLED).is_some_and(|(_, value)| {
                    value.trim_start_matches(['"', '\'', ':', ' ']).starts_with("disabled")
                })
            });
            if has_mark {
                result.push_str(document);
            } else {
                result.push_str(&substitute(document, &self.values));
            }
            document.clear();
        };
        for line in text.split_inclusive('\n') {
            if line.starts_with("---") {
                end(&mut document);
            }
            document.push_str(line);
        }
        end(&mut document);
        result
    }

    /// Whether they hold for a file or something rendered, by what messages call it.
    pub(super) fn holds_for(&self, source: &str) -> bool {
        let is_top = matches!(self.folder.as_str(), "" | ".");
        is_top
            || source == self.folder
            || source.strip_prefix(&self.folder).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// A text with the variables replaced that are known. `$${NAME}` stands for `${NAME}`.
fn substitute(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let end = after.find('}');
        let Some((expression, after)) = end.and_then(|end| Some((after.get(..end)?, after.get(end + 1..)?)))
        else {
            break;
        };
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(&format!("{before}${{{expression}}}"));
        } else {
            result.push_str(before);
            match value(expression, values) {
                Some(value) => result.push_str(&value),
                None => result.push_str(&format!("${{{expression}}}")),
            }
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// The value of what stands between `${` and `}`: a name, with a default (`:=`, `:-`, `=`, `-`), a part (`:1`, `:1:2`), or a
/// replacement (`/a/b`, `//a/b`). `None`: it is not known, or another function.
fn value(expression: &str, values: &BTreeMap<String, String>) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = expression.find(|c| !is_part(c)).unwrap_or(expression.len());
    let (name, function) = expression.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = values.get(name);
    let filled = value.filter(|value| !value.is_empty());
    if function.is_empty() {
        return value.cloned();
    }
    if let Some(default) = function.strip_prefix(":=").or_else(|| function.strip_prefix(":-")) {
        return filled.cloned().or_else(|| is_plain(default));
    }
    if let Some(default) = function.strip_prefix('=').or_else(|| function.strip_prefix('-')) {
        return value.cloned().or_else(|| is_plain(default));
    }
    let value = value?;
    if let Some(range) = function.strip_prefix(':') {
        let (start, length) = range.split_once(':').map_or((range, None), |(start, n)| (start, Some(n)));
        let length = length.map_or(Some(usize::MAX), |length| length.trim().parse().ok())?;
        return Some(value.chars().skip(start.trim().parse().ok()?).take(length).collect());
    }
    let (is_all, pair) = match function.strip_prefix("//") {
        Some(pair) => (true, pair),
        None => (false, function.strip_prefix('/')?),
    };
    let (from, to) = pair.split_once('/').unwrap_or((pair, ""));
    // Patterns are not known here.
    let is_text = !from.is_empty() && !from.contains(['*', '?', '[', '#', '%', '/']);
    is_text.then(|| if is_all { value.replace(from, to) } else { value.replacen(from, to, 1) })
}

/// A default that is no expression itself.
fn is_plain(default: &str) -> Option<String> {
    (!default.contains("${")).then(|| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_where_they_are_known() {
        let values = [("A", "1"), ("E", ""), ("V", "v1.2.3")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let values = BTreeMap::from(values);
        for (written, expected) in [
            ("q.io/a:${A}", "q.io/a:1"),
            ("${A}-${A}", "1-1"),
            ("q.io/a:${B:=2}", "q.io/a:2"),
            ("q.io/a:${E:-3}", "q.io/a:3"),
            ("q.io/a${E=3}", "q.io/a"),
            ("q.io/a:${B}:${A}", "q.io/a:${B}:1"),
            ("q.io/a:${A", "q.io/a:${A"),
            ("q.io/a:$${A}", "q.io/a:${A}"),
            ("q.io/a:${V:1}", "q.io/a:1.2.3"),
            ("q.io/a:${V:1:3}", "q.io/a:1.2"),
            ("q.io/a:${V/v1/2}", "q.io/a:2.2.3"),
            ("q.io/a:${V//./-}", "q.io/a:v1-2-3"),
            ("${V^^} ${V/*/x} ${V:x} ${B:=${A}}", "${V^^} ${V/*/x} ${V:x} ${B:=${A}}"),
            ("${1A} ${} q.io/a", "${1A} ${} q.io/a"),
        ] {
            assert_eq!(substitute(written, &values), expected, "{written}");
        }
    }

    #[test]
    fn a_resource_may_keep_its_variables() {
        let variables = Variables {
            folder: String::new(),
            values: [("A".to_owned(), "1".to_owned())].into(),
            unread: Vec::new(),
        };
        let kept = "---\nmetadata: {labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}}\nb: ${A}\n";
        let text = format!("a: ${{A}}\n{kept}---\nc: ${{A}}\n");
        assert_eq!(variables.text(&text), format!("a: 1\n{kept}---\nc: 1\n"));
    }
}
