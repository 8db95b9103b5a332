// SPDX-License-Identifier: Apache-2.0
//! Kubernetes resources in files and in what programs render.

use std::rc::Rc;

use super::model::{Collection, Origin, Problem};
use super::yaml::{Node, documents};

/// A resource, and where it is written.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    /// The file, or what was rendered.
    pub(super) source: String,
    /// Whether `source` was rendered, so that its lines are those of no file.
    pub(super) rendered: bool,
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) node: Rc<Node>,
}

impl Resource {
    fn new(source: &str, rendered: bool, node: &Rc<Node>) -> Option<Self> {
        let kind = node.text_at(&["kind"])?;
        let version = node.text_at(&["apiVersion"])?;
        let text = |path: &[&str]| node.text_at(path).map(str::to_owned);
        Some(Self {
            source: source.to_owned(),
            rendered,
            group: version.split_once('/').map(|(group, _)| group).unwrap_or_default().to_owned(),
            kind: kind.to_owned(),
            namespace: text(&["metadata", "namespace"]),
            name: text(&["metadata", "name"])
                .or_else(|| text(&["metadata", "generateName"]))
                .unwrap_or_default(),
            node: Rc::clone(node),
        })
    }

    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// What people call it: kind, namespace and name.
    pub(super) fn title(&self) -> String {
        let namespace = self.namespace.iter().map(|namespace| format!("{namespace}/")).collect::<String>();
        format!("{} {namespace}{}", self.kind, self.name)
    }

    /// The place of one of its values.
    pub(super) fn origin(&self, field: &str, line: usize) -> Origin {
        Origin {
            source: self.source.clone(),
            resource: Some(self.title()),
            field: (!field.is_empty()).then(|| field.to_owned()),
            line: (line > 0 && !self.rendered).then_some(line),
        }
    }

    pub(super) fn problem(&self, field: &str, reason: impl Into<String>, help: impl Into<String>) -> Problem {
        let help = help.into();
        let line = self.node.line;
        let help = (!help.is_empty()).then_some(help);
        Problem { origin: self.origin(field, line), reason: reason.into(), help }
    }
}

/// The documents of a text.
pub(super) struct Resources {
    pub(super) resources: Vec<Resource>,
    /// Documents that are no resources.
    pub(super) others: Vec<Rc<Node>>,
}

/// Reads the resources of a text. A mistake in it is a problem only where the text can hold resources.
pub(super) fn resources(source: &str, rendered: bool, text: &str, collection: &mut Collection) -> Resources {
    let (documents, error) = documents(text);
    let mut found = Resources { resources: Vec::new(), others: Vec::new() };
    for document in &documents {
        add(source, rendered, document, &mut found);
    }
    if let Some(error) = error
        && (rendered || may_hold_resources(text))
    {
        let is_template = text.contains("{{");
        let reason = format!("is not valid YAML: {}", error.reason);
        let help = if is_template {
            "it looks like a template: render it first, and pipe the result: … | krs collect -"
        } else {
            "correct the file, or name it in .krsignore"
        };
        let line = (error.line > 0).then_some(error.line);
        let origin = Origin { line, ..Origin::file(source) };
        collection.problems.push(Problem { origin, reason, help: Some(help.to_owned()) });
    }
    found
}

/// Whether a text that is not valid can hold resources or images: others are nobody's manifests.
fn may_hold_resources(text: &str) -> bool {
    ["apiVersion", "image:", "\"image\""].iter().any(|word| text.contains(word))
}

fn add(source: &str, rendered: bool, node: &Rc<Node>, found: &mut Resources) {
    let is_list = node.text_at(&["kind"]).is_some_and(|kind| kind.ends_with("List"));
    if is_list && node.get("items").is_some() && node.text_at(&["apiVersion"]).is_some() {
        // Items of a typed list, such as `DeploymentList`, need not say what they are.
        for item in node.items_at(&["items"]) {
            let before = found.resources.len();
            add(source, rendered, item, found);
            if found.resources.len() == before {
                let kind = node.text_at(&["kind"]).unwrap_or_default().trim_end_matches("List");
                let version = node.text_at(&["apiVersion"]).unwrap_or_default();
                if let Some(resource) = of_item(source, rendered, item, version, kind) {
                    found.others.pop();
                    found.resources.push(resource);
                }
            }
        }
    } else if let Some(resource) = Resource::new(source, rendered, node) {
        found.resources.push(resource);
    } else if node.text().is_some() || !node.fields().is_empty() || !node.items().is_empty() {
        found.others.push(Rc::clone(node));
    }
}

fn of_item(source: &str, rendered: bool, item: &Rc<Node>, version: &str, kind: &str) -> Option<Resource> {
    if kind.is_empty() || item.get("kind").is_some() || item.fields().is_empty() {
        return None;
    }
    let text = |path: &[&str]| item.text_at(path).map(str::to_owned);
    Some(Resource {
        source: source.to_owned(),
        rendered,
        group: version.split_once('/').map(|(group, _)| group).unwrap_or_default().to_owned(),
        kind: kind.to_owned(),
        namespace: text(&["metadata", "namespace"]),
        name: text(&["metadata", "name"]).unwrap_or_default(),
        node: Rc::clone(item),
    })
}
