// SPDX-License-Identifier: Apache-2.0
//! The images that a resource names: in the containers of Pod templates wherever they stand, in fields that are called
//! after images, in arguments and environments, and in texts of ConfigMaps.

use std::rc::Rc;

use super::known;
use super::model::{Collection, ImageUse, Origin, Problem};
use super::reference::{has_variable, is_full, is_versioned, may_be_image};
use super::resource::Resource;
use super::variables::is_flux_kustomization;
use super::yaml::{Node, Value, documents};
use crate::redact::printable;

/// Most uses of images of one call.
pub(super) const MAX_USES: usize = 200_000;
/// Most values of one resource that are visited; aliases can make a small text very large.
const MAX_VISITS: usize = 500_000;
/// Most texts within texts that are followed.
const MAX_TEXT_DEPTH: usize = 3;
/// The lists of a Pod's containers.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// The annotation in which a chart or an operator lists its images.
const ARTIFACT_HUB: &str = "artifacthub.io/images";

/// Adds the images of a resource. What is called after images and names none goes to `skipped`.
pub(super) fn images_of(resource: &Resource, collection: &mut Collection, skipped: &mut Vec<Problem>) {
    if known::is_without_images(resource) {
        return;
    }
    if known::has_implied_image(resource) {
        let reason = "names no image: its operator runs one of its own choice, which is not known here";
        let help = "state it in spec.image, or add it to the set by hand and pass --allow-incomplete";
        collection.problems.push(resource.problem("spec.image", reason, help));
    }
    for (field, addition) in known::extended_tags(resource) {
        let reason = format!("names an image to whose tag the operator adds {addition}");
        let help = "add the image with that tag to the set by hand, remove the other one, and pass --allow-incomplete";
        collection.problems.push(resource.problem(&format!("spec.{field}"), reason, help));
    }
    let mut finder =
        Finder { resource, collection, skipped, path: String::new(), visits: 0, text_depth: 0, line: None };
    for (key, value) in resource.node.fields() {
        match key.as_str() {
            // What was pulled before is no demand.
            "status" | "apiVersion" | "kind" => {}
            "metadata" => finder.metadata(value),
            "data" | "binaryData" if resource.is("", "ConfigMap") => finder.config_map(value),
            // Its images and patches change others, and are applied to these.
            "spec" if is_flux_kustomization(resource) => {}
            _ => finder.field(key, value, false),
        }
    }
    if finder.visits > MAX_VISITS {
        let reason = format!("has more than {MAX_VISITS} values, of which not all were read");
        let problem = resource.problem("", reason, "list its images in the set by hand");
        collection.problems.push(problem);
    }
}

/// Adds the images of an `artifacthub.io/images` annotation.
pub(super) fn artifact_hub_images(text: &str, origin: &Origin, collection: &mut Collection) {
    let (documents, error) = documents(text);
    if error.is_some() {
        let reason = format!("has an annotation {ARTIFACT_HUB} that is not valid YAML");
        collection.problems.push(Problem { origin: origin.clone(), reason, help: None });
        return;
    }
    for item in documents.iter().flat_map(|document| document.items()) {
        if let Some(image) = item.text_at(&["image"]) {
            collection.images.push(ImageUse { image: image.to_owned(), origin: origin.clone() });
        }
    }
}

struct Finder<'a> {
    resource: &'a Resource,
    collection: &'a mut Collection,
    skipped: &'a mut Vec<Problem>,
    /// The field that is visited.
    path: String,
    visits: usize,
    text_depth: usize,
    /// Line of the text that is read as YAML: its values have no lines of the file.
    line: Option<usize>,
}

impl Finder<'_> {
    fn origin(&self, line: usize) -> Origin {
        self.resource.origin(&self.path, self.line.unwrap_or(line))
    }

    fn found(&mut self, image: &str, line: usize) {
        // The caller says so where there are more.
        if self.collection.images.len() < MAX_USES {
            let image = image.trim().to_owned();
            self.collection.images.push(ImageUse { image, origin: self.origin(line) });
        }
    }

    /// Visits a value with a part of a path added.
    fn within(&mut self, part: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() && !part.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(part);
        visit(self);
        self.path.truncate(length);
    }

    /// Visits the field of a mapping; `is_container`: the mapping is a container of a Pod.
    fn field(&mut self, key: &str, value: &Node, is_container: bool) {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return;
        }
        self.within(key, |this| match &value.value {
            Value::Scalar(..) => this.scalar(key, value, is_container),
            Value::Map(_) => this.map(value, key, false),
            Value::List(items) => this.list(key, items),
        });
    }

    fn list(&mut self, key: &str, items: &[Rc<Node>]) {
        match key {
            "args" | "command" => return self.arguments(items),
            "env" => return self.environment(items),
            _ => {}
        }
        for (n, item) in items.iter().enumerate() {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                return;
            }
            self.within(&format!("[{n}]"), |this| match &item.value {
                Value::Map(_) => this.map(item, key, CONTAINERS.contains(&key)),
                Value::List(items) => this.list(key, items),
                Value::Scalar(..) if is_image_list(key) => this.scalar("images", item, false),
                Value::Scalar(..) => {}
            });
        }
    }

    fn map(&mut self, map: &Node, key: &str, is_container: bool) {
        let composed = composed(map, is_image_key(key));
        let beside = with_tag_beside(map, known::has_version_as_tag(self.resource));
        let taken: &[&str] = match (composed, beside) {
            (Some(image), _) => {
                self.found(&image, map.line);
                &["image", "repository", "reference", "name"]
            }
            (None, Some((field, image))) => {
                let line = map.get(field).map_or(0, |node| node.line);
                self.within(field, |this| this.found(&image, line));
                &[field]
            }
            (None, None) => &[],
        };
        for (key, value) in map.fields().iter().filter(|(key, _)| !taken.contains(&key.as_str())) {
            self.field(key, value, is_container);
        }
    }

    fn scalar(&mut self, key: &str, value: &Node, is_container: bool) {
        let Some(text) = value.text().map(str::trim).filter(|text| !text.is_empty()) else { return };
        let general = without_indices(&self.path);
        if known::is_output(&general) {
            return;
        }
        // A text within a value: the manifest that a workflow creates, the template that a webhook injects.
        if text.contains('\n') {
            return self.text(text, value.line);
        }
        if is_container && key == "image" && text == "auto" {
            let reason = "has the image `auto`, which Istio's webhook replaces in the cluster";
            let help = "add the proxy image of your Istio to the set by hand";
            let problem = self.resource.problem(&self.path, reason, help);
            return self.collection.problems.push(problem);
        }
        let is_certain = (is_container && key == "image") || known::holds_image(self.resource, &general);
        if is_certain || text.starts_with("docker://") {
            return self.found(text, value.line);
        }
        if !is_image_key(key) {
            return;
        }
        let may_be = may_be_image(text) && (matches!(key, "image" | "images") || is_versioned(text));
        if may_be || (has_variable(text) && text.contains(['/', ':'])) {
            self.found(text, value.line);
        } else if key == "image" {
            let reason = format!("`{text}` is not read as an image: it has no registry, path, tag or digest");
            let origin = self.origin(value.line);
            self.skipped.push(Problem { origin, reason, help: None });
        }
    }

    fn arguments(&mut self, items: &[Rc<Node>]) {
        let mut option = "";
        for (n, item) in items.iter().enumerate() {
            let Some(text) = item.text() else { continue };
            let named = text.split_once('=').filter(|(name, _)| !name.contains([' ', '/', '\n']));
            let (name, value) = named.unwrap_or((option, text));
            self.within(&format!("[{n}]"), |this| this.named_value(name, value, item.line));
            // `--image NAME`: the value follows.
            option = if text.starts_with('-') && named.is_none() { text } else { "" };
        }
    }

    fn environment(&mut self, items: &[Rc<Node>]) {
        for (n, item) in items.iter().enumerate() {
            let (Some(name), Some(value)) = (item.text_at(&["name"]), item.get("value")) else { continue };
            let Some(text) = value.text() else { continue };
            self.within(&format!("[{n}].value"), |this| {
                if name.starts_with("RELATED_IMAGE_") && !text.is_empty() {
                    this.found(text, value.line);
                } else {
                    this.named_value(name, text, value.line);
                }
            });
        }
    }

    /// The images in the value of an option or a variable: of several, each; of `NAME=IMAGE`, the image.
    fn named_value(&mut self, name: &str, value: &str, line: usize) {
        let is_called_image = name.to_ascii_lowercase().contains("image");
        for part in value.split([',', ' ', '\n', '\t']).filter(|part| !part.is_empty()) {
            let image = part.rsplit_once('=').map_or(part, |(_, image)| image);
            let is_image = if is_called_image {
                is_versioned(image) && (may_be_image(image) || (has_variable(image) && image.contains('/')))
            } else {
                // Of a longer text, such as a script, nothing is guessed.
                part.len() == value.trim().len() && is_full(image)
            };
            if is_image {
                self.found(image, line);
            }
        }
    }

    fn metadata(&mut self, metadata: &Node) {
        let annotations = metadata.get("annotations").map(|node| node.fields()).unwrap_or_default();
        for (key, value) in annotations {
            let Some(text) = value.text() else { continue };
            let is_image = is_image_key(key) && is_versioned(text) && may_be_image(text);
            self.within(&format!("metadata.annotations[{key}]"), |this| {
                if key == ARTIFACT_HUB {
                    let origin = this.origin(value.line);
                    artifact_hub_images(text, &origin, this.collection);
                } else if is_image {
                    this.found(text, value.line);
                }
            });
        }
    }

    fn config_map(&mut self, data: &Node) {
        for (key, value) in data.fields() {
            let Some(text) = value.text() else { continue };
            self.within(&format!("data[{key}]"), |this| {
                if !text.trim().contains('\n') {
                    return this.named_value(key, text, value.line);
                }
                this.text(text, value.line);
            });
        }
    }

    /// A text that may be YAML: the template of a Pod in a ConfigMap.
    fn text(&mut self, text: &str, line: usize) {
        if !text.contains("image") || self.text_depth == MAX_TEXT_DEPTH {
            return;
        }
        let (documents, error) = documents(text);
        if error.is_some() {
            let reason = "is a text with the word `image` that is not valid YAML; of images in it, only those without a template are found";
            let origin = self.origin(line);
            self.skipped.push(Problem { origin, reason: reason.to_owned(), help: None });
            let images = text.lines().filter_map(image_of_line);
            let (unknown, known): (Vec<_>, Vec<_>) = images.partition(|image| image.contains("{{"));
            known
                .into_iter()
                .filter(|image| is_versioned(image) && may_be_image(image))
                .for_each(|image| self.found(image, line));
            if let Some(image) = unknown.first() {
                let image = printable(image, 120);
                let reason =
                    format!("is a template that a program fills in: the image `{image}` is not known");
                let help =
                    "add the images that the program starts to the set by hand, and pass --allow-incomplete";
                let problem = Problem { origin: self.origin(line), reason, help: Some(help.to_owned()) };
                self.collection.problems.push(problem);
            }
        }
        let outer = self.line.replace(line);
        self.text_depth += 1;
        for document in &documents {
            match &document.value {
                Value::Map(_) => self.map(document, "", false),
                Value::List(items) => self.list("", items),
                Value::Scalar(..) => {}
            }
        }
        self.text_depth -= 1;
        self.line = outer;
    }
}

/// What a line of YAML in a template states as the image: the injection templates of service meshes have such lines.
fn image_of_line(line: &str) -> Option<&str> {
    let line = line.trim();
    let value = line.strip_prefix("- ").unwrap_or(line).strip_prefix("image:")?.trim();
    Some(value.trim_matches(['"', '\'']))
}

/// Whether a field with this name holds an image.
fn is_image_key(key: &str) -> bool {
    let key = key.rsplit('/').next().unwrap_or(key);
    matches!(key, "image" | "images" | "imageName" | "imageRef" | "containerImage" | "baseImage")
        || ["Image", "-image", "_image", "_IMAGE", ".image"].iter().any(|end| key.ends_with(end))
}

fn is_image_list(key: &str) -> bool {
    key == "images" || key.ends_with("Images")
}

/// The image that a mapping names in parts: `{registry, repository, tag, digest}`, `{repository, image, version}`,
/// `{reference}` of an image volume, `{kind: DockerImage, name}`.
fn composed(map: &Node, is_image: bool) -> Option<String> {
    let text = |key: &str| map.text_at(&[key]);
    if text("kind") == Some("DockerImage") {
        return text("name").map(str::to_owned);
    }
    if let (true, Some(reference)) = (is_image, text("reference")) {
        return Some(reference.to_owned());
    }
    let tag = text("tag").or_else(|| text("version"));
    let digest = text("digest").or_else(|| text("sha"));
    let name = match (text("repository"), text("image"), text("name")) {
        (Some(repository), Some(image), _) if tag.is_some() || digest.is_some() => {
            format!("{repository}/{image}")
        }
        (Some(repository), _, _) if is_image || tag.is_some() || digest.is_some() => repository.to_owned(),
        (None, None, Some(name)) if is_image && (tag.is_some() || digest.is_some()) => name.to_owned(),
        _ => return None,
    };
    if !name.contains(['/', ':']) && !is_image {
        return None;
    }
    let registry = text("registry").filter(|registry| !name.starts_with(&format!("{registry}/")));
    let name = registry
        .map_or_else(|| name.clone(), |registry| format!("{}/{name}", registry.trim_end_matches('/')));
    Some(versioned(&name, tag, digest))
}

/// An image field without a tag that has its tag in a field beside it.
fn with_tag_beside(map: &Node, has_version: bool) -> Option<(&'static str, String)> {
    let text = |key: &str| map.text_at(&[key]);
    let tag = text("tag").or_else(|| text("imageTag")).or_else(|| text("version").filter(|_| has_version));
    let digest = text("digest").or_else(|| text("sha"));
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let field = ["image", "baseImage", "imageName"].into_iter().find(|field| text(field).is_some())?;
    let image = text(field).filter(|image| !is_versioned(image) && !image.contains(' '))?;
    // An operator takes its own default where only the name is stated.
    Some((field, versioned(image, tag, digest)))
}

fn versioned(name: &str, tag: Option<&str>, digest: Option<&str>) -> String {
    let (tag, digest) = match (tag, digest) {
        (Some(tag), None) if tag.starts_with("sha256:") => (None, Some(tag)),
        both => both,
    };
    let mut image = name.to_owned();
    if let Some(tag) = tag.filter(|_| !is_versioned(name)) {
        image.push_str(&format!(":{tag}"));
    }
    if let Some(digest) = digest.filter(|_| !name.contains('@')) {
        let algorithm = if digest.contains(':') { "" } else { "sha256:" };
        image.push_str(&format!("@{algorithm}{digest}"));
    }
    image
}

/// A path with `[]` for each place in a list.
fn without_indices(path: &str) -> String {
    let mut general = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        if c == ']' {
            inside = false;
        }
        if !inside {
            general.push(c);
        }
        if c == '[' {
            inside = true;
        }
    }
    general
}
