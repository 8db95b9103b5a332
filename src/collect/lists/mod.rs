// SPDX-License-Identifier: Apache-2.0
//! Lists of images that other programs write or read, recognised by their content.
//!
//! What such a list refers to without naming images (charts, operators, releases) is a problem, because a set made
//! of the list would be incomplete without it.

mod compose;
mod found;
mod hauler;
mod lock;
mod node;
mod oc_mirror;
mod plain;
mod pod;
mod zarf;

use std::rc::Rc;

use super::resource::Resource;
use super::yaml::{Node, Value};
use found::Found;

pub(super) use found::Lists;
pub(super) use plain::read_plain;

/// Reads a resource that is a list. Answers whether it is one, and nothing else reads it.
pub(super) fn read_resource(resource: &Resource, lists: &mut Lists<'_>) -> bool {
    let mut found = Found::new(resource, lists);
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("content.hauler.cattle.io" | "collection.hauler.cattle.io", _) => hauler::read(&mut found),
        ("mirror.openshift.io", _) => oc_mirror::read(&mut found),
        ("zarf.dev", _) => zarf::read(&mut found),
        ("" | "imgpkg.carvel.dev", "ImagesLock") => lock::read(&mut found),
        // The other readers find what a Pod names in its arguments, too.
        ("", "Pod") => {
            pod::read(&mut found);
            return false;
        }
        ("", "Node") => node::read(&mut found),
        _ => return false,
    }
    true
}

/// Reads a document that is no resource, as [`read_resource`] does.
pub(super) fn read_document(
    source: &str,
    rendered: bool,
    document: &Rc<Node>,
    lists: &mut Lists<'_>,
) -> bool {
    let kind = document.text_at(&["kind"]).unwrap_or_default();
    let is_sequence = matches!(document.value, Value::List(_));
    let (group, kind, name) = if matches!(kind, "ZarfPackageConfig" | "ZarfInitConfig") {
        ("zarf.dev", kind, document.text_at(&["metadata", "name"]))
    } else if compose::is_compose(document) {
        ("", "Compose", document.text_at(&["name"]))
    } else if is_sequence && plain::is_sequence_of_images(document) {
        ("", "List", None)
    } else {
        return false;
    };
    let resource = Resource {
        source: source.to_owned(),
        rendered,
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: None,
        name: name.unwrap_or_default().to_owned(),
        node: Rc::clone(document),
    };
    let mut found = Found::new(&resource, lists);
    match resource.kind.as_str() {
        "Compose" => compose::read(&mut found),
        "List" => plain::read_sequence(&mut found),
        _ => zarf::read(&mut found),
    }
    true
}
