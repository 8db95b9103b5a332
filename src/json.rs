// SPDX-License-Identifier: Apache-2.0
//! JSON from and for untrusted parties: written canonically, read strictly and with limits.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Deepest nesting of a JSON text. The formats of krs and OCI manifests need fewer than 10 levels.
const MAX_DEPTH: usize = 32;
/// Most keys in one object: all of them are held while it is read. (T-06)
const MAX_KEYS: usize = 1 << 16;

/// Why JSON was not accepted.
#[derive(Debug, Error)]
pub enum JsonError {
    /// The text has more bytes than allowed.
    #[error("the document has {got} bytes, more than the {limit} that are allowed")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes given.
        got: usize,
    },
    /// Not JSON, nested too deeply, a duplicate key, or not the expected shape.
    #[error(transparent)]
    Parse(#[from] serde_json::Error),
}

/// Parses a JSON text of at most `limit` bytes. Refuses a duplicate key in one object, because readers disagree on which one
/// counts, nesting deeper than 32, more than 65,536 keys in one object, and anything after the value. (T-06)
///
/// # Errors
/// [`JsonError`], with line and column.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { limit, got: bytes.len() });
    }
    let mut shape = serde_json::Deserializer::from_slice(bytes);
    Shape { depth: 0 }.deserialize(&mut shape)?;
    shape.end()?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Writes `value` in canonical form (RFC 8785: keys sorted, no white space): equal values give equal
/// bytes. The types that are written with it declare their fields in sorted order; their readers and tests check that with
/// [`is_canonical`].
///
/// # Errors
/// Values that JSON cannot express, such as maps with keys that are not text.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    Ok(serde_json::to_vec(value)?)
}

/// [`canonical`] for values whose types do not declare their fields in sorted order.
///
/// # Errors
/// As for [`canonical`].
pub fn sorted<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    Ok(sorted_text(&serde_json::to_value(value)?).into_bytes())
}

/// Whether `bytes` are in the form that [`canonical`] writes.
pub fn is_canonical(bytes: &[u8]) -> bool {
    serde_json::from_slice(bytes).is_ok_and(|value| sorted_text(&value).as_bytes() == bytes)
}

fn sorted_text(value: &serde_json::Value) -> String {
    fn write(value: &serde_json::Value, out: &mut String) {
        use serde_json::Value;
        match value {
            Value::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write(item, out);
                }
                out.push(']');
            }
            Value::Object(map) => {
                let mut keys = map.iter().collect::<Vec<_>>();
                keys.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
                out.push('{');
                for (n, (key, value)) in keys.into_iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    out.push_str(&Value::from(key.as_str()).to_string());
                    out.push(':');
                    write(value, out);
                }
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// Checks a JSON text for what serde accepts and krs refuses, without building a value.
#[derive(Clone, Copy)]
struct Shape {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Shape {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while seq.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.below()?;
        let mut keys = Keys::default();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            map.next_value_seed(below)?;
            if let Some(twice) = keys.insert(key) {
                let twice = crate::redact::printable(&twice, 60);
                return Err(serde::de::Error::custom(format_args!("the key `{twice}` occurs twice")));
            }
            if keys.len() > MAX_KEYS {
                return Err(serde::de::Error::custom(format_args!(
                    "more than {MAX_KEYS} keys in one object"
                )));
            }
        }
        Ok(())
    }
}

/// A key; it is copied only where it has escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Most keys of an object that are compared one by one: nearly all objects have fewer, and a table of hashes for each costs
/// half of the time that a catalog takes.
const FEW_KEYS: usize = 16;

/// The keys of an object.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// Returns the key if it is there already.
    fn insert(&mut self, key: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if self.few.contains(&key) {
            return Some(key);
        }
        if self.few.len() < FEW_KEYS {
            self.few.push(key);
            return None;
        }
        self.many.replace(key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn refused(text: &str) -> bool {
        parse::<Value>(text.as_bytes(), 1 << 20).is_err()
    }

    #[test]
    fn t06_what_readers_could_disagree_about_is_refused() {
        assert!(!refused(r#"{"a":[1,{"b":null}],"c":"x"}"#));
        for bad in
            [r#"{"a":1,"a":2}"#, r#"{"x":{"a":1,"a":1}}"#, "{} {}", "{\"a\":NaN}", "\u{feff}{}", "", "{"]
        {
            assert!(refused(bad), "{bad}");
        }
        assert!(refused(&("[".repeat(100_000) + &"]".repeat(100_000))));
        assert!(refused(&("[".repeat(40) + &"]".repeat(40))));
        assert!(parse::<Value>(b"[1,2,3]", 6).is_err());
        let keys = |n: usize| (0..n).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
        assert!(!refused(&format!("{{{}}}", keys(40))));
        for twice in [0, FEW_KEYS - 1, FEW_KEYS, 39] {
            assert!(refused(&format!("{{{},\"{twice}\":0}}", keys(40))), "{twice}");
        }
        assert!(!refused(&format!("{{{}}}", keys(MAX_KEYS))));
        assert!(refused(&format!("{{{}}}", keys(MAX_KEYS + 1))));
    }

    #[test]
    fn t06_keys_that_differ_only_in_their_escapes_are_one_key() {
        let spellings = [
            ["a", r"\u0061"],
            ["/", r"\/"],
            [r"\n", r"\u000a"],
            ["\u{e9}", r"\u00e9"],
            [r"\u00E9", r"\u00e9"],
            ["\u{1f600}", r"\ud83d\ude00"],
            ["\\\\u0061", r"\u005cu0061"],
        ];
        let others = |n: usize| (0..n).map(|n| format!("\"{n}\":0,")).collect::<String>();
        for [one, other] in spellings {
            for (first, second) in [(one, other), (other, one), (other, other)] {
                // Both among the first keys of the object, one of them, and none.
                for (before, between) in [(0, 1), (0, FEW_KEYS), (FEW_KEYS, 1)] {
                    let last = others(before + between).split_off(others(before).len());
                    let text = format!("{{{}\"{first}\":1,{last}\"{second}\":2}}", others(before));
                    let error = parse::<Value>(text.as_bytes(), 1000).unwrap_err().to_string();
                    assert!(error.contains("occurs twice"), "{text}: {error}");
                }
            }
        }
        // A backslash that is itself escaped, a key in an object within, and a value are no duplicates.
        for distinct in [r#"{"a":0,"\\u0061":0}"#, r#"{"a":{"\u0061":0}}"#, r#"{"a":"\u0061"}"#] {
            assert!(!refused(distinct), "{distinct}");
        }
        let error = parse::<Value>(br#"{"key":0,"\u006bey":0}"#, 100).unwrap_err().to_string();
        assert!(error.contains("the key `key` occurs twice"), "{error}");
    }

    #[test]
    fn canonical_output_has_sorted_keys_and_no_white_space() {
        assert!(is_canonical(br#"{"a":[true,null,"\u0001\n"],"b":1}"#));
        for other in [r#"{"b":1,"a":2}"#, r#"{"a": 1}"#, "[1 ]", r#"{"a":"\u0041"}"#, "1.0e2"] {
            assert!(!is_canonical(other.as_bytes()), "{other}");
        }
    }
}
