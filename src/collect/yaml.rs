// SPDX-License-Identifier: Apache-2.0
//! YAML and JSON as trees whose values know their lines.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_saphyr::granit_parser::{Event, ScalarStyle};

/// Most parts of one file.
const MAX_EVENTS: usize = 2_000_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 128;

/// A value of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Line on which it begins, from 1; 0 where it is not known.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A scalar, and whether it is written without quotes.
    Scalar(String, bool),
    Map(Vec<(String, Rc<Node>)>),
    List(Vec<Rc<Node>>),
}

/// Why a text cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) reason: String,
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Rc<Self>> {
        match &self.value {
            Value::Map(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            Value::Scalar(..) | Value::List(_) => None,
        }
    }

    /// The value at a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key).map(Rc::as_ref))
    }

    /// The text of a scalar that is not null.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, plain) => (!plain || !is_null(text)).then_some(text.as_str()),
            Value::Map(_) | Value::List(_) => None,
        }
    }

    /// The text at a path of keys, where it is not empty.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.text().filter(|text| !text.is_empty())
    }

    pub(super) fn items(&self) -> &[Rc<Self>] {
        match &self.value {
            Value::List(items) => items,
            Value::Scalar(..) | Value::Map(_) => &[],
        }
    }

    pub(super) fn fields(&self) -> &[(String, Rc<Self>)] {
        match &self.value {
            Value::Map(fields) => fields,
            Value::Scalar(..) | Value::List(_) => &[],
        }
    }

    /// The list at a path of keys.
    pub(super) fn items_at(&self, path: &[&str]) -> &[Rc<Self>] {
        self.at(path).map(Self::items).unwrap_or_default()
    }

    /// The value as JSON, with the types of the YAML 1.2 core schema. Deeper than `depth` it is null.
    pub(super) fn json(&self, depth: usize) -> serde_json::Value {
        if depth == 0 {
            return serde_json::Value::Null;
        }
        match &self.value {
            Value::Scalar(text, false) => text.clone().into(),
            Value::Scalar(text, true) => plain(text),
            Value::List(items) => items.iter().map(|item| item.json(depth - 1)).collect(),
            Value::Map(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), value.json(depth - 1))).collect()
            }
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn plain(text: &str) -> serde_json::Value {
    match text {
        _ if is_null(text) => serde_json::Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => {
            let integer = text.parse::<i64>().ok().filter(|_| !text.starts_with('+'));
            let begins_as_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
            let float = || text.parse::<f64>().ok().filter(|number| begins_as_number && number.is_finite());
            integer.map(Into::into).or_else(|| float().map(Into::into)).unwrap_or_else(|| text.into())
        }
    }
}

/// A mapping or a list that is not closed yet.
enum Open {
    Map { fields: Vec<(String, Rc<Node>)>, key: Option<String>, merged: Vec<Rc<Node>> },
    List(Vec<Rc<Node>>),
}

struct OpenNode {
    line: usize,
    anchor: usize,
    /// How many values it has so far, with each alias counted as what it stands for: who copies the tree copies these.
    values: usize,
    value: Open,
}

/// Reads the documents of a file. Of a file that is wrong at some place, those before that place are answered too.
pub(super) fn documents(text: &str) -> (Vec<Rc<Node>>, Option<YamlError>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::default();
    for (count, event) in crate::yaml::events(text).enumerate() {
        let result = match event {
            Err(error) => Err(YamlError { line: error.marker().line(), reason: error.info() }),
            Ok(_) if count == MAX_EVENTS => {
                Err(YamlError { line: 0, reason: format!("has more than {MAX_EVENTS} values") })
            }
            Ok((event, span)) => reader.event(event, span.start.line().max(1)),
        };
        if let Err(error) = result {
            return (reader.documents, Some(error));
        }
    }
    (reader.documents, None)
}

#[derive(Default)]
struct Reader {
    documents: Vec<Rc<Node>>,
    open: Vec<OpenNode>,
    /// With the number of their values.
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    /// How many values merge keys have brought.
    merged: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlError> {
        let error = |reason: String| Err(YamlError { line, reason });
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::MappingStart(..) | Event::SequenceStart(..) if self.open.len() == MAX_DEPTH => {
                return error(format!("is nested deeper than {MAX_DEPTH} levels"));
            }
            Event::MappingStart(_, anchor, _) => {
                let value = Open::Map { fields: Vec::new(), key: None, merged: Vec::new() };
                self.open.push(OpenNode { line, anchor, values: 1, value });
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(OpenNode { line, anchor, values: 1, value: Open::List(Vec::new()) });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let Some(OpenNode { line: start, anchor, values, value }) = self.open.pop() else {
                    return Ok(());
                };
                if values > MAX_EVENTS {
                    return error(format!("has aliases that stand for more than {MAX_EVENTS} values"));
                }
                let value = match value {
                    Open::List(items) => Value::List(items),
                    Open::Map { mut fields, merged, .. } => {
                        if !self.merge(&mut fields, &merged) {
                            return error(format!("has merge keys that bring more than {MAX_EVENTS} values"));
                        }
                        Value::Map(fields)
                    }
                };
                self.node(anchor, Rc::new(Node { line: start, value }), values);
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar(text.into_owned(), style == ScalarStyle::Plain);
                self.node(anchor, Rc::new(Node { line, value }), 1);
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some((node, values)) => self.node(0, Rc::clone(node), *values),
                None => return error("an alias stands inside of its own anchor".to_owned()),
            },
            _ => {}
        }
        Ok(())
    }

    /// Adds what merge keys bring, behind the mapping's own fields. Answers whether the limit allows it.
    fn merge(&mut self, fields: &mut Vec<(String, Rc<Node>)>, merged: &[Rc<Node>]) -> bool {
        if merged.is_empty() {
            return true;
        }
        let mut known = fields.iter().map(|(key, _)| key.clone()).collect::<HashSet<_>>();
        let maps = merged.iter().flat_map(|node| match &node.value {
            Value::List(items) => items.iter().map(Rc::clone).collect(),
            Value::Map(_) | Value::Scalar(..) => vec![Rc::clone(node)],
        });
        for map in maps {
            self.merged += map.fields().len() + 1;
            if self.merged > MAX_EVENTS {
                return false;
            }
            for (key, value) in map.fields() {
                if known.insert(key.clone()) {
                    fields.push((key.clone(), Rc::clone(value)));
                }
            }
        }
        true
    }

    fn node(&mut self, anchor: usize, node: Rc<Node>, values: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), values));
        }
        let Some(open) = self.open.last_mut() else { return self.documents.push(node) };
        open.values = open.values.saturating_add(values);
        match &mut open.value {
            Open::List(items) => items.push(node),
            Open::Map { fields, key, merged } => match key.take() {
                // A key that is no scalar names no field that is read here.
                None => *key = Some(node.text().unwrap_or_default().to_owned()),
                Some(name) if name == "<<" => merged.push(node),
                Some(name) => fields.push((name, node)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn documents_have_the_lines_of_their_values() {
        let (documents, error) = documents("# c\na: 1\n---\nb:\n- c: [x, \"y\"]\n- {d: ~}\n");
        assert_eq!(error, None);
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].get("a").unwrap().line, 2);
        let item = &documents[1].items_at(&["b"])[0];
        assert_eq!((item.line, item.items_at(&["c"])[1].text()), (5, Some("y")));
        assert_eq!(documents[1].items_at(&["b"])[1].get("d").unwrap().text(), None);
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let (documents, _) = documents("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n");
        assert_eq!(documents[0].text_at(&["b", "x"]), Some("1"));
        assert_eq!(documents[0].text_at(&["b", "y"]), Some("3"));
        assert_eq!(documents[0].text_at(&["c", "y"]), Some("2"));
    }

    #[test]
    fn t307_aliases_do_not_make_a_small_text_large() {
        let mut text = "a: 1\n---\na0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let aliases = vec![format!("*a{}", n - 1); 9].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        let (documents, error) = documents(&text);
        assert_eq!(documents.len(), 1);
        assert!(error.unwrap().reason.contains("aliases that stand for more than 2000000 values"));
    }

    #[test]
    fn what_stands_before_a_mistake_is_read() {
        let (documents, error) = documents("a: 1\n---\nb: {{ .Values.x }}\nc: [\n");
        assert_eq!(documents[0].text_at(&["a"]), Some("1"));
        assert!(error.unwrap().line >= 3);
    }

    #[test]
    fn json_is_read_also_with_tabs() {
        let (documents, error) = documents("{\n\t\"a\": [\n\t\t\"b\"\n\t]\n}\n");
        assert_eq!(error, None);
        assert_eq!(documents[0].items_at(&["a"])[0].text(), Some("b"));
    }

    #[test]
    fn values_have_the_types_of_yaml() {
        let (documents, _) = documents("a: 1\nb: \"1\"\nc: true\nd: 1.5\ne: x\nf: ~\ng: [1]\nh: infinity\n");
        let expected = serde_json::json!({
            "a": 1, "b": "1", "c": true, "d": 1.5, "e": "x", "f": null, "g": [1], "h": "infinity"
        });
        assert_eq!(documents[0].json(9), expected);
    }
}
