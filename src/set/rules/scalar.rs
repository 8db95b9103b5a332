// SPDX-License-Identifier: Apache-2.0
//! Numbers and flags as the API server takes them. The YAML reader would also take a quoted `"2"`, which is text there.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What is said of something else than an integer.
pub(in crate::set) const NO_INTEGER: &str = "expected an integer, without quotes";
/// What is said of something else than a flag.
pub(in crate::set) const NO_FLAG: &str = "expected true or false, without quotes";

/// A value whose type is checked after reading, because only then its place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::set) enum Scalar {
    Integer(i64),
    Flag(bool),
    Other,
}

impl Scalar {
    /// The integer, if it is one.
    pub(in crate::set) fn integer(self) -> Option<i32> {
        match self {
            Self::Integer(number) => i32::try_from(number).ok(),
            _ => None,
        }
    }

    /// The flag, if it is one.
    pub(in crate::set) const fn flag(self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(flag),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(number).map_or(Scalar::Other, Scalar::Integer))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Scalar, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// A value where Kubernetes expects text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::set) enum Text {
    Written(String),
    /// No value, which is read as an empty text.
    Absent,
    /// A number, a flag, a list or fields.
    Other,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Text, E> {
        Ok(Text::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Text, E> {
        Ok(Text::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Text, E> {
        Ok(Text::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Text, E> {
        Ok(Text::Other)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::Written(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Text, E> {
        Ok(Text::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Text, A::Error> {
        ScalarVisitor.visit_seq(items).map(|_| Text::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Text, A::Error> {
        ScalarVisitor.visit_map(fields).map(|_| Text::Other)
    }
}

/// Whether a word is one of the flags of YAML 1.1, which Kubernetes reads. The YAML reader takes `tRUE` too, which is text
/// there.
pub(in crate::set) fn is_flag_of_kubernetes(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next();
    let rest = chars.as_str();
    let is_lower = rest.chars().all(|c| c.is_ascii_lowercase());
    is_lower || word.chars().all(|c| c.is_ascii_uppercase())
}
