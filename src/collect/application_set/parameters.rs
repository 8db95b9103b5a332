// SPDX-License-Identifier: Apache-2.0
//! What generators give to templates.

use std::rc::Rc;

use crate::collect::yaml::{Node, Value};

/// Fields of a generator, as a mapping that Go templates address by its fields (`.path.basename`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, Rc<Node>)>);

impl Parameters {
    /// These, with the fields of a mapping.
    pub(super) fn with(&self, fields: &Node) -> Self {
        let mut result = self.clone();
        for (name, value) in fields.fields() {
            result.set(name, Rc::clone(value));
        }
        result
    }

    /// These, with `values.…`.
    pub(super) fn with_values(&self, values: &Rc<Node>) -> Self {
        let mut result = self.clone();
        result.set("values", Rc::clone(values));
        result
    }

    fn set(&mut self, name: &str, value: Rc<Node>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The value at a path of fields and indices.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Rc<Node>> {
        let (first, rest) = path.split_first()?;
        let (_, first) = self.0.iter().find(|(name, _)| name == first)?;
        rest.iter().try_fold(first, |node, part| match &node.value {
            Value::List(items) => items.get(part.parse::<usize>().ok()?),
            Value::Map(_) | Value::Scalar(..) => node.get(part),
        })
    }

    /// The value of a name that is written with dots: simple templates also take a name that has dots itself.
    pub(super) fn by_name(&self, name: &str) -> Option<&Rc<Node>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value).or_else(|| {
            let name = name.replace('[', ".").replace(']', "");
            let mut path = name.split('.').collect::<Vec<_>>();
            self.at(&path).or_else(|| {
                // `path[0]` of simple templates is `path.segments[0]` of the others.
                path.insert(path.len() - 1, "segments");
                self.at(&path)
            })
        })
    }
}

/// The parameters of a folder, `path` with `/` between its parts.
pub(super) fn of_folder(known: &Parameters, path: &str, prefix: &str) -> Parameters {
    let mut result = known.clone();
    with_path(&mut result, path, prefix, Vec::new());
    result
}

/// The parameters of a file: those of its folder, and its name.
pub(super) fn of_file(known: &Parameters, file: &str, prefix: &str) -> Parameters {
    let mut result = known.clone();
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let names = [("filename", name.to_owned()), ("filenameNormalized", normalised(name))];
    with_path(&mut result, folder, prefix, names.to_vec());
    result
}

fn with_path(parameters: &mut Parameters, path: &str, prefix: &str, more: Vec<(&str, String)>) {
    let basename = path.rsplit('/').next().unwrap_or_default();
    let segments = path.split('/').filter(|part| !part.is_empty()).map(text).collect();
    let mut fields = vec![
        ("path".to_owned(), text(path)),
        ("basename".to_owned(), text(basename)),
        ("basenameNormalized".to_owned(), text(&normalised(basename))),
        ("segments".to_owned(), Rc::new(Node { line: 0, value: Value::List(segments) })),
    ];
    fields.extend(more.into_iter().map(|(name, value)| (name.to_owned(), text(&value))));
    let path = Rc::new(Node { line: 0, value: Value::Map(fields) });
    if prefix.is_empty() {
        parameters.set("path", path);
    } else {
        let fields = vec![("path".to_owned(), path)];
        parameters.set(prefix, Rc::new(Node { line: 0, value: Value::Map(fields) }));
    }
}

fn text(value: &str) -> Rc<Node> {
    Rc::new(Node { line: 0, value: Value::Scalar(value.to_owned(), false) })
}

/// A name with `-` for what the name of a resource may not have.
fn normalised(name: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let name = name.to_ascii_lowercase();
    let name = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect::<String>();
    name.trim_matches(['-', '.']).to_owned()
}
