// SPDX-License-Identifier: Apache-2.0
//! Variables that a Kustomization of Flux replaces (`spec.postBuild`) in what lies in its folder.

use std::collections::BTreeMap;

use super::model::ImageUse;
use super::resource::Resource;

const FLUX: &str = "kustomize.toolkit.fluxcd.io";

/// The variables of a Kustomization, and the folder for which they hold, as messages call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variables {
    folder: String,
    values: BTreeMap<String, String>,
}

/// Whether a resource is a Kustomization of Flux.
pub(super) fn is_flux_kustomization(resource: &Resource) -> bool {
    resource.is(FLUX, "Kustomization")
}

impl Variables {
    /// The variables of a Kustomization for a folder. ConfigMaps come from `pool`; Secrets are not read.
    pub(super) fn of(kustomization: &Resource, folder: String, pool: &[Resource]) -> Self {
        let mut values = BTreeMap::new();
        for source in kustomization.node.items_at(&["spec", "postBuild", "substituteFrom"]) {
            let name = source.text_at(&["name"]).unwrap_or_default();
            let is_it = |other: &&Resource| {
                other.is("", "ConfigMap")
                    && other.name == name
                    && (other.namespace.is_none() || other.namespace == kustomization.namespace)
            };
            if source.text_at(&["kind"]) == Some("ConfigMap")
                && let Some(map) = pool.iter().find(is_it)
            {
                let data = map.node.get("data").map(|data| data.fields()).unwrap_or_default();
                values.extend(
                    data.iter().filter_map(|(key, value)| Some((key.clone(), value.text()?.to_owned()))),
                );
            }
        }
        let own = kustomization.node.at(&["spec", "postBuild", "substitute"]);
        let own = own.map(super::yaml::Node::fields).unwrap_or_default();
        values.extend(own.iter().filter_map(|(key, value)| Some((key.clone(), value.text()?.to_owned()))));
        Self { folder, values }
    }

    fn holds_for(&self, source: &str) -> bool {
        let is_top = matches!(self.folder.as_str(), "" | ".");
        is_top
            || source == self.folder
            || source.strip_prefix(&self.folder).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Replaces variables in the names of images. A name in the folders of several Kustomizations becomes several.
pub(super) fn replace(images: &mut Vec<ImageUse>, all: &[Variables]) {
    if all.is_empty() {
        return;
    }
    let with_variable = images.iter().any(|image| image.image.contains("${"));
    if !with_variable {
        return;
    }
    let mut replaced = Vec::with_capacity(images.len());
    for image in images.drain(..) {
        let names = all
            .iter()
            .filter(|variables| image.image.contains("${") && variables.holds_for(&image.origin.source));
        let names = names
            .filter_map(|variables| text(&image.image, &variables.values))
            .collect::<std::collections::BTreeSet<_>>();
        if names.is_empty() {
            replaced.push(image);
        } else {
            replaced
                .extend(names.into_iter().map(|name| ImageUse { image: name, origin: image.origin.clone() }));
        }
    }
    *images = replaced;
}

/// A text with its variables replaced: `${NAME}`, and `${NAME:=DEFAULT}` or `${NAME:-DEFAULT}`. `None`: one is not known.
fn text(text: &str, values: &BTreeMap<String, String>) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (expression, after) = after.split_once('}')?;
        let (name, default) = match expression.split_once(":=").or_else(|| expression.split_once(":-")) {
            Some((name, default)) => (name, Some(default)),
            None => (expression, None),
        };
        let value = values.get(name).map(String::as_str).filter(|value| !value.is_empty()).or(default)?;
        result.push_str(before);
        result.push_str(value);
        rest = after;
    }
    result.push_str(rest);
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_where_they_are_known() {
        let values = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        for (written, expected) in [
            ("q.io/a:${A}", Some("q.io/a:1")),
            ("${A}-${A}", Some("1-1")),
            ("q.io/a:${B:=2}", Some("q.io/a:2")),
            ("q.io/a:${E:-3}", Some("q.io/a:3")),
            ("q.io/a:${B}", None),
            ("q.io/a:${A", None),
            ("q.io/a", Some("q.io/a")),
        ] {
            assert_eq!(text(written, &values).as_deref(), expected, "{written}");
        }
    }
}
