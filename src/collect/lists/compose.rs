// SPDX-License-Identifier: Apache-2.0
//! Compose files: <https://github.com/compose-spec/compose-spec/blob/main/spec.md>.
//!
//! Variables are not filled in, because their values are in the environment and in files of the machine that runs
//! Compose; `docker compose config` prints a file with its values.

use std::rc::Rc;

use super::super::yaml::Node;
use super::found::{Found, shown};

const RENDER: &str = "pipe the file with its values: docker compose config | krs collect -";

/// Whether a document that is no resource has services as Compose does.
pub(super) fn is_compose(document: &Node) -> bool {
    let says_image = |(_, service): &(String, Rc<Node>)| {
        ["image", "build", "extends", "provider"].iter().any(|key| service.get(key).is_some())
    };
    let is_resource = document.get("apiVersion").is_some() || document.get("kind").is_some();
    !is_resource
        && document.at(&["services"]).is_some_and(|services| services.fields().iter().any(says_image))
}

pub(super) fn read(found: &mut Found<'_, '_>) {
    let node = &found.resource.node;
    for (name, service) in node.at(&["services"]).map(Node::fields).unwrap_or_default() {
        let at = format!("services.{}", shown(name));
        service_image(service, &at, found);
        volumes(service, &at, found);
    }
    for (name, model) in node.at(&["models"]).map(Node::fields).unwrap_or_default() {
        if let Some(image) = model.text_at(&["model"]) {
            let reason = format!("refers to the model `{}`, which was not followed", shown(image));
            let help = "if a registry has it as an OCI artifact, add it to the set by hand";
            found.problem(&format!("models.{}", shown(name)), model.line, reason, help);
        }
    }
    for (n, item) in includes(node).into_iter().enumerate() {
        let reason = format!("includes {}, which was not followed", shown(&crate::redact::address(item.1)));
        found.problem(&format!("include[{n}]"), item.0, reason, "name that file as a source, too");
    }
}

fn service_image(service: &Node, at: &str, found: &mut Found<'_, '_>) {
    let field = format!("{at}.image");
    if let Some(image) = service.text_at(&["image"]) {
        let line = service.get("image").map_or(service.line, |image| image.line);
        return named(image, &field, line, found);
    }
    let line = service.line;
    if let Some(file) = service.text_at(&["extends", "file"]) {
        let reason = format!("has the image of a service in {}, which was not followed", shown(file));
        found.problem(&format!("{at}.extends"), line, reason, "name that file as a source, too");
    } else if service.get("build").is_some() {
        let help = "push the image to a registry, and write its name under `image`";
        found.problem(&format!("{at}.build"), line, "is built from a Dockerfile, and names no image", help);
    } else if service.get("extends").is_some() {
        found.note(&format!("{at}.extends"), line, "has the image of another service of the file");
    } else if let Some(provider) = service.text_at(&["provider", "type"]) {
        let reason = format!("is run by the program `{}`, not as a container", shown(provider));
        found.note(&format!("{at}.provider"), line, reason);
    } else {
        found.problem(&field, line, "names no image", RENDER);
    }
}

/// Images that are mounted as volumes.
fn volumes(service: &Node, at: &str, found: &mut Found<'_, '_>) {
    for (n, volume) in service.items_at(&["volumes"]).iter().enumerate() {
        if volume.text_at(&["type"]) == Some("image")
            && let Some(image) = volume.text_at(&["source"])
        {
            named(image, &format!("{at}.volumes[{n}].source"), volume.line, found);
        }
    }
}

fn named(image: &str, field: &str, line: usize, found: &mut Found<'_, '_>) {
    match without_variables(image) {
        Name::Plain(name) => found.image(field, line, name),
        Name::Variable { default } => {
            let default = default.map(|default| format!("; with its default it is `{}`", shown(&default)));
            let reason = format!("`{}` holds a variable{}", shown(image), default.unwrap_or_default());
            found.problem(field, line, reason, RENDER);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Without variables; `$$` is a `$`.
    Plain(String),
    /// With variables, and with their defaults if all of them have one.
    Variable { default: Option<String> },
}

/// Splits a name at its variables (Compose specification, "Interpolation").
pub(super) fn without_variables(text: &str) -> Name {
    let (mut name, mut has_variable, mut has_defaults) = (String::new(), false, true);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        name.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            name.push('$');
            rest = after;
            continue;
        }
        has_variable = true;
        let (default, after) = variable(after);
        match default {
            Some(default) => name.push_str(default),
            None => has_defaults = false,
        }
        rest = after;
    }
    name.push_str(rest);
    if has_variable { Name::Variable { default: has_defaults.then_some(name) } } else { Name::Plain(name) }
}

/// The default of the variable at the beginning of a text, and what follows it.
fn variable(text: &str) -> (Option<&str>, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(inner) = text.strip_prefix('{') else {
        return (None, text.trim_start_matches(is_name));
    };
    let Some((inner, after)) = inner.split_once('}') else {
        return (None, "");
    };
    let operation = inner.trim_start_matches(is_name);
    let default = operation.strip_prefix(":-").or_else(|| operation.strip_prefix('-'));
    // A default that is a variable itself ends at the inner brace: it is not known.
    (default.filter(|default| !default.contains('$')), after)
}

/// The files that `include` names, with their lines.
fn includes(node: &Node) -> Vec<(usize, &str)> {
    let mut files = Vec::new();
    for item in node.items_at(&["include"]) {
        let path = item.get("path").unwrap_or(item);
        files.extend(path.text().map(|text| (item.line, text)));
        files.extend(path.items().iter().filter_map(|path| Some((path.line, path.text()?))));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_known_only_if_every_variable_has_one() {
        let variable = |default: Option<&str>| Name::Variable { default: default.map(str::to_owned) };
        for (text, expected) in [
            ("a/b:1", Name::Plain("a/b:1".to_owned())),
            ("a/b:$$1", Name::Plain("a/b:$1".to_owned())),
            ("a/b:${TAG:-1}", variable(Some("a/b:1"))),
            ("${R-c.io}/b:${TAG:-1}", variable(Some("c.io/b:1"))),
            ("a/b:$TAG", variable(None)),
            ("$R/b:${TAG:-1}", variable(None)),
            ("a/b:${TAG:?required}", variable(None)),
            ("a/b:${TAG:+1}", variable(None)),
            ("a/b:${TAG:-${OTHER:-1}}", variable(None)),
            ("a/b:${TAG", variable(None)),
        ] {
            assert_eq!(without_variables(text), expected, "{text}");
        }
    }
}
