// SPDX-License-Identifier: Apache-2.0
//! Values of Helm, as JSON.

use serde_json::{Map, Value};

/// Deepest path of a value.
const MAX_DEPTH: usize = 64;
/// Most places of a list that a path makes.
const MAX_ITEMS: usize = 1_000;

/// Merges values as Helm does: mappings by key, everything else replaced.
pub(super) fn merge(values: &mut Value, stronger: Value) {
    match (values, stronger) {
        (Value::Object(values), Value::Object(stronger)) => {
            for (key, value) in stronger {
                match values.get_mut(&key) {
                    Some(known) if known.is_object() && value.is_object() => merge(known, value),
                    _ => {
                        values.insert(key, value);
                    }
                }
            }
        }
        (_, Value::Null) => {}
        (values, stronger) => *values = stronger,
    }
}

/// Sets a value by a path such as `a.b[0].c`, in which `\.` is a dot.
pub(super) fn set_path(values: &mut Value, path: &str, value: Value) {
    let mut keys = vec![String::new()];
    let mut characters = path.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => keys.last_mut().into_iter().for_each(|key| key.extend(characters.next())),
            '.' | '[' => keys.push(String::new()),
            ']' => {}
            c => keys.last_mut().into_iter().for_each(|key| key.push(c)),
        }
    }
    let keys = keys.into_iter().filter(|key| !key.is_empty()).collect::<Vec<_>>();
    if keys.len() > MAX_DEPTH {
        return;
    }
    let mut at = values;
    for key in keys {
        let index = key.parse::<usize>().ok().filter(|index| *index < MAX_ITEMS);
        at = match (at, index) {
            (Value::Array(items), Some(index)) => {
                if items.len() <= index {
                    items.resize(index + 1, Value::Null);
                }
                match items.get_mut(index) {
                    Some(item) => item,
                    None => return,
                }
            }
            (at, _) => {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                match at {
                    Value::Object(fields) => fields.entry(key).or_insert(Value::Null),
                    _ => return,
                }
            }
        };
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mappings_are_merged_and_lists_replaced() {
        let mut values = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut values, json!({"a": {"c": [3], "e": null}, "d": {"f": 1}}));
        assert_eq!(values, json!({"a": {"b": 1, "c": [3], "e": null}, "d": {"f": 1}}));
        merge(&mut values, Value::Null);
        assert!(values.is_object());
    }

    #[test]
    fn values_are_set_by_their_paths() {
        let mut values = json!({"a": [{"b": 1}]});
        set_path(&mut values, "a[0].c", json!(2));
        set_path(&mut values, "x.y\\.z", json!("v"));
        assert_eq!(values, json!({"a": [{"b": 1, "c": 2}], "x": {"y.z": "v"}}));
    }
}
