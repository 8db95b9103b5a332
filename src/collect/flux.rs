// SPDX-License-Identifier: Apache-2.0
//! What a Kustomization of Flux changes in the kustomization of its folder, as kustomize-controller writes it into a copy
//! (<https://fluxcd.io/flux/components/kustomize/kustomizations/>).
//!
//! `commonMetadata` is not among it: Flux adds it after the build, and labels and annotations select no image.

use std::rc::Rc;

use super::flow::flow;
use super::resource::Resource;
use super::yaml::{Node, Value};

/// Fields of a Kustomization of Flux that can change images.
const CHANGES: [&str; 5] = ["images", "patches", "patchesStrategicMerge", "patchesJson6902", "components"];
/// Fields that have the same meaning in the file, and their names there.
const NAMES: [(&str, &str); 3] =
    [("targetNamespace", "namespace"), ("namePrefix", "namePrefix"), ("nameSuffix", "nameSuffix")];

/// The first field with which a Kustomization of Flux can change the images in its folder.
pub(super) fn change_of_images(kustomization: &Resource) -> Option<&'static str> {
    CHANGES.into_iter().find(|field| !kustomization.node.items_at(&["spec", field]).is_empty())
}

/// The components that a Kustomization of Flux adds, as paths from its folder, and whether Flux ignores missing ones.
pub(super) fn components(kustomization: &Resource) -> (Vec<String>, bool) {
    let items = kustomization.node.items_at(&["spec", "components"]);
    let components = items.iter().filter_map(|item| item.text()).map(str::to_owned).collect();
    (components, kustomization.node.text_at(&["spec", "ignoreMissingComponents"]) == Some("true"))
}

/// The file `kustomization.yaml` with the changes of a Kustomization of Flux: of one that is there, or of one that lists
/// `resources`. `None`: it would be too large.
pub(super) fn with_changes(
    written: Option<&Node>,
    resources: &[String],
    components: &[String],
    spec: &Node,
) -> Option<String> {
    let mut fields = match written {
        Some(node) => node.fields().to_vec(),
        None => vec![
            ("apiVersion".to_owned(), text("kustomize.config.k8s.io/v1beta1")),
            ("kind".to_owned(), text("Kustomization")),
            ("resources".to_owned(), list(resources.iter().map(|resource| text(resource)).collect())),
        ],
    };
    for (field, name) in NAMES {
        if let Some(value) = spec.text_at(&[field]) {
            set(&mut fields, name, text(value));
        }
    }
    let patches = spec.items_at(&["patches"]).iter().cloned();
    let merges = spec.items_at(&["patchesStrategicMerge"]).iter().filter_map(|patch| inline(patch, None));
    let operations = spec.items_at(&["patchesJson6902"]).iter();
    let operations = operations.filter_map(|patch| inline(patch.get("patch")?, patch.get("target")));
    append(&mut fields, "patches", patches.chain(merges).chain(operations).collect());
    append(&mut fields, "components", components.iter().map(|path| text(path)).collect());
    let mut images = items(&fields, "images");
    for image in spec.items_at(&["images"]) {
        let is_it = |other: &Rc<Node>| other.text_at(&["name"]) == image.text_at(&["name"]);
        match images.iter().position(is_it).and_then(|index| images.get_mut(index)) {
            Some(known) => *known = Rc::clone(image),
            None => images.push(Rc::clone(image)),
        }
    }
    if !images.is_empty() {
        set(&mut fields, "images", list(images));
    }
    flow(&Node { line: 0, value: Value::Map(fields) })
}

/// A patch that older versions of the API take as YAML and not as text.
fn inline(patch: &Node, target: Option<&Rc<Node>>) -> Option<Rc<Node>> {
    let mut fields = vec![("patch".to_owned(), text(&flow(patch)?))];
    fields.extend(target.map(|target| ("target".to_owned(), Rc::clone(target))));
    Some(Rc::new(Node { line: 0, value: Value::Map(fields) }))
}

fn text(value: &str) -> Rc<Node> {
    Rc::new(Node { line: 0, value: Value::Scalar(value.to_owned(), false) })
}

fn list(items: Vec<Rc<Node>>) -> Rc<Node> {
    Rc::new(Node { line: 0, value: Value::List(items) })
}

fn items(fields: &[(String, Rc<Node>)], name: &str) -> Vec<Rc<Node>> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.items().to_vec()).unwrap_or_default()
}

fn set(fields: &mut Vec<(String, Rc<Node>)>, name: &str, value: Rc<Node>) {
    match fields.iter_mut().find(|(key, _)| key == name) {
        Some((_, known)) => *known = value,
        None => fields.push((name.to_owned(), value)),
    }
}

fn append(fields: &mut Vec<(String, Rc<Node>)>, name: &str, more: Vec<Rc<Node>>) {
    if !more.is_empty() {
        let mut all = items(fields, name);
        all.extend(more);
        set(fields, name, list(all));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::{Value as Json, json};

    use super::super::yaml::documents;
    use super::*;

    fn changed(written: Option<&str>, resources: &[&str], spec: &str) -> Json {
        let written = written.map(|text| Rc::clone(&documents(text).0[0]));
        let resources = resources.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let spec = Rc::clone(&documents(spec).0[0]);
        let text = with_changes(written.as_deref(), &resources, &["../c".to_owned()], &spec).unwrap();
        documents(&text).0[0].json(20)
    }

    #[test]
    fn a_folder_without_a_kustomization_gets_one() {
        let spec =
            "targetNamespace: n\nnamePrefix: p-\nnameSuffix: '-1'\nimages: [{name: a, newTag: '1.20'}]\n";
        let expected = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["a.yaml", "b"],
            "namespace": "n", "namePrefix": "p-", "nameSuffix": "-1", "components": ["../c"],
            "images": [{"name": "a", "newTag": "1.20"}],
        });
        assert_eq!(changed(None, &["a.yaml", "b"], spec), expected);
    }

    #[test]
    fn images_replace_those_of_the_same_name_and_patches_are_appended() {
        let written = "resources: [x]\nnamespace: old\nimages: [{name: a, newName: r/a}, {name: b, newTag: '1'}]\npatches: [{path: p}]\n";
        let spec = "targetNamespace: new\nimages: [{name: a, newTag: '2'}]\npatches: [{patch: q}]\n\
            patchesStrategicMerge: [{kind: Pod}]\npatchesJson6902: [{patch: [{op: add}], target: {kind: Pod}}]\n";
        let expected = json!({
            "resources": ["x"], "namespace": "new", "components": ["../c"],
            "images": [{"name": "a", "newTag": "2"}, {"name": "b", "newTag": "1"}],
            "patches": [
                {"path": "p"}, {"patch": "q"}, {"patch": "{\"kind\": Pod}"},
                {"patch": "[{\"op\": add}]", "target": {"kind": "Pod"}},
            ],
        });
        assert_eq!(changed(Some(written), &["y"], spec), expected);
    }
}
