// SPDX-License-Identifier: Apache-2.0
//! Who wrote which field: server-side apply and `metadata.managedFields`, as far as the importer's objects need them.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Lists whose items are merged by a key; all other lists are replaced altogether.
const KEYED: [(&str, &str); 3] = [("conditions", "type"), ("images", "image"), ("ownerReferences", "uid")];
/// Metadata that names an object, or that the API server writes itself.
const IDENTITY: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "deletionTimestamp",
];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    /// Key and its value.
    Item(String, String),
}

type Path = Vec<Step>;

/// Somebody who wrote fields of an object, and which.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    name: String,
    /// Whether by server-side apply.
    applies: bool,
    /// Whether through the subresource `status`.
    status: bool,
    fields: BTreeSet<Path>,
}

/// A write of somebody.
#[derive(Debug, Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) manager: &'a str,
    pub(super) status: bool,
}

impl Manager {
    fn is(&self, by: By<'_>, applies: bool) -> bool {
        self.name == by.manager && self.applies == applies && self.status == by.status
    }
}

/// Applies `sent` over `current`.
///
/// # Errors
/// The fields that somebody else wrote with other values, unless `force`.
pub(super) fn apply(
    current: &Value,
    managers: &mut Vec<Manager>,
    sent: &Value,
    by: By<'_>,
    force: bool,
) -> Result<Value, Vec<String>> {
    let wanted = leaves(&content(sent));
    let differs = |path: &Path| at(current, path) != at(sent, path);
    let own = managers.iter().position(|manager| manager.is(by, true));
    let others = || managers.iter().enumerate().filter(|(n, _)| Some(*n) != own).map(|(_, manager)| manager);
    let taken = |path: &Path| differs(path) && others().any(|other| other.fields.contains(path));
    let conflicts = wanted.iter().filter(|path| taken(path)).cloned().collect::<Vec<_>>();
    if !conflicts.is_empty() && !force {
        return Err(conflicts.iter().map(|path| dotted(path)).collect());
    }
    let mut next = current.clone();
    let before = own.map(|n| managers[n].fields.clone()).unwrap_or_default();
    for path in before.difference(&wanted) {
        if !others().any(|other| other.fields.contains(path)) {
            remove(&mut next, path);
        }
    }
    for path in &wanted {
        if let Some(value) = at(sent, path) {
            set(&mut next, path, value.clone());
        }
    }
    for (n, manager) in managers.iter_mut().enumerate() {
        if Some(n) != own {
            manager.fields.retain(|path| !conflicts.contains(path));
        }
    }
    match own {
        Some(n) => managers[n].fields = wanted,
        None => managers.push(Manager {
            name: by.manager.to_owned(),
            applies: true,
            status: by.status,
            fields: wanted,
        }),
    }
    managers.retain(|manager| !manager.fields.is_empty());
    Ok(next)
}

/// Takes note of an update of `before` to `after`: what changed belongs to who changed it.
pub(super) fn update(before: &Value, after: &Value, managers: &mut Vec<Manager>, by: By<'_>) {
    let new = leaves(&content(after));
    let changed = new.iter().filter(|path| at(before, path) != at(after, path));
    let changed = changed.cloned().collect::<BTreeSet<_>>();
    for manager in managers.iter_mut() {
        manager.fields.retain(|path| new.contains(path) && !changed.contains(path));
    }
    if !changed.is_empty() {
        match managers.iter_mut().find(|manager| manager.is(by, false)) {
            Some(own) => own.fields.extend(changed),
            None => managers.push(Manager {
                name: by.manager.to_owned(),
                applies: false,
                status: by.status,
                fields: changed,
            }),
        }
    }
    managers.retain(|manager| !manager.fields.is_empty());
}

/// `metadata.managedFields`.
pub(super) fn managed_fields(managers: &[Manager], api_version: &Value) -> Value {
    let entry = |manager: &Manager| {
        let mut fields = json!({});
        for path in &manager.fields {
            let mut value = &mut fields;
            for step in path {
                let key = match step {
                    Step::Field(name) => format!("f:{name}"),
                    Step::Item(key, value) => format!("k:{}", json!({key: value})),
                };
                value = &mut value[key];
                if value.is_null() {
                    *value = json!({});
                }
            }
        }
        let mut entry = json!({
            "manager": manager.name, "operation": if manager.applies { "Apply" } else { "Update" },
            "apiVersion": api_version, "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        if manager.status {
            entry["subresource"] = json!("status");
        }
        entry
    };
    managers.iter().map(entry).collect()
}

/// JSON merge patch (RFC 7386).
pub(super) fn merge_patch(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Value::Object(into) = into else { return };
    for (key, value) in patch {
        if value.is_null() {
            into.remove(key);
        } else {
            merge_patch(into.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// What of an object somebody can own.
fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Value::Object(fields) = &mut content {
        fields.remove("apiVersion");
        fields.remove("kind");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.retain(|key, _| !IDENTITY.contains(&key.as_str()));
        }
        let nothing = fields.get("metadata").is_some_and(|metadata| *metadata == json!({}));
        if nothing {
            fields.remove("metadata");
        }
    }
    content
}

fn leaves(value: &Value) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    collect(value, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, path: &mut Path, found: &mut BTreeSet<Path>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                collect(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) if key_of(path).is_some() => {
            let key = key_of(path).unwrap_or_default();
            for item in items {
                path.push(Step::Item(key.to_owned(), text(&item[key])));
                collect(item, path, found);
                path.pop();
            }
        }
        _ => drop(found.insert(path.clone())),
    }
}

fn key_of(path: &[Step]) -> Option<&'static str> {
    let Some(Step::Field(name)) = path.last() else { return None };
    KEYED.iter().find(|(list, _)| list == name).map(|(_, key)| *key)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn at<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Item(key, wanted) => value.as_array()?.iter().find(|item| item[key] == **wanted),
    })
}

fn set(value: &mut Value, path: &[Step], new: Value) {
    let Some((step, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    match step {
        Step::Field(name) => {
            if !value.is_object() {
                *value = json!({});
            }
            set(&mut value[name], rest, new);
        }
        Step::Item(key, wanted) => {
            if !value.is_array() {
                *value = json!([]);
            }
            let Value::Array(items) = value else { return };
            let n = items.iter().position(|item| item[key] == **wanted).unwrap_or_else(|| {
                items.push(json!({key.as_str(): wanted}));
                items.len() - 1
            });
            set(&mut items[n], rest, new);
        }
    }
}

/// Removes a field, and what holds nothing any more.
fn remove(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => {
            if let Some(inner) = fields.get_mut(name) {
                remove(inner, rest);
                if rest.is_empty() || is_empty(inner) {
                    fields.remove(name);
                }
            }
        }
        (Step::Item(key, wanted), Value::Array(items)) => {
            if let Some(n) = items.iter().position(|item| item[key] == **wanted) {
                remove(&mut items[n], rest);
                if rest.is_empty() || is_empty(&items[n]) {
                    items.remove(n);
                }
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn dotted(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Item(key, value) => format!("[{key}={value:?}]"),
    };
    path.iter().map(step).collect()
}

/// Managers of each object.
pub(super) type Managers = BTreeMap<super::ObjectKey, Vec<Manager>>;
