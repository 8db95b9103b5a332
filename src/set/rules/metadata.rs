// SPDX-License-Identifier: Apache-2.0
//! The metadata of a set in a file, by the rules that the API server has for all objects. Sets in an archive were read before
//! by these rules or by those of an older version, and are not held to them again.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::document::{parse, position};
use super::scalar::Text;
use crate::set::error::SetError;
use crate::set::yaml::text::Piece;

/// Most bytes of all annotations of an object.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// Most characters of the part of a name behind the prefix, and of the value of a label.
const MAX_NAME: usize = 63;
const MAX_PREFIX: usize = 253;

const NO_TEXT: &str = "expected text: put the value in quotes";
const LABEL_KEY: &str = "the name of a label must be [prefix/]name: name of letters, digits, `-`, `_` and `.`, at most 63, which begins and ends with a letter or digit; prefix as a host name in lower case";
const LABEL_VALUE: &str = "the value of a label must be letters, digits, `-`, `_` and `.`, at most 63, and begin and end with a letter or digit";
const ANNOTATION_KEY: &str = "the name of an annotation must be [prefix/]name: name of letters, digits, `-`, `_` and `.`, at most 63, which begins and ends with a letter or digit; prefix as a host name";
const ANNOTATIONS: &str = "the annotations have more than 262144 bytes, the most that Kubernetes keeps";
const NAME: &str =
    "metadata.name must begin and end with a letter or digit in each part between dots, as host names do";

#[derive(Deserialize)]
struct Document {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[allow(dead_code, reason = "what is not checked must still be a field that Kubernetes knows")]
struct Metadata {
    name: Spanned<String>,
    namespace: Option<IgnoredAny>,
    labels: Option<Spanned<Entries>>,
    annotations: Option<Spanned<Entries>>,
    generate_name: Option<IgnoredAny>,
    finalizers: Option<IgnoredAny>,
    owner_references: Option<IgnoredAny>,
    // What the cluster adds, and `kubectl get` shows.
    uid: Option<IgnoredAny>,
    resource_version: Option<IgnoredAny>,
    generation: Option<IgnoredAny>,
    creation_timestamp: Option<IgnoredAny>,
    deletion_timestamp: Option<IgnoredAny>,
    deletion_grace_period_seconds: Option<IgnoredAny>,
    managed_fields: Option<IgnoredAny>,
    self_link: Option<IgnoredAny>,
}

/// Names and values in the order of the file.
struct Entries(Vec<(Spanned<String>, Spanned<Text>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with their values")
    }

    fn visit_unit<E: Error>(self) -> Result<Entries, E> {
        Ok(Entries(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = fields.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// What the API server would refuse of the metadata of a set.
///
/// # Errors
/// The metadata cannot be read at all.
pub(in crate::set) fn check_metadata(piece: &Piece<'_>, file: &str) -> Result<Vec<SetError>, SetError> {
    let metadata = parse::<Document>(&piece.text)
        .map_err(|(position, message)| piece.error(file, position, message))?
        .metadata;
    let mut errors = Vec::new();
    let mut refuse = |location, message: &str| {
        errors.push(piece.error(file, position(location), message.to_owned()));
    };
    if !is_host_name(&metadata.name.value) {
        refuse(metadata.name.referenced, NAME);
    }
    for (name, written) in metadata.labels.iter().flat_map(|labels| &labels.value.0) {
        if !has_variable(&name.value) && !is_qualified(&name.value) {
            refuse(name.referenced, LABEL_KEY);
        }
        match &written.value {
            Text::Absent => {}
            Text::Other => refuse(written.referenced, NO_TEXT),
            Text::Written(text) if text.is_empty() || has_variable(text) || is_name(text) => {}
            Text::Written(_) => refuse(written.referenced, LABEL_VALUE),
        }
    }
    let mut bytes = 0;
    for (name, written) in metadata.annotations.iter().flat_map(|annotations| &annotations.value.0) {
        if !has_variable(&name.value) && !is_qualified(&name.value.to_ascii_lowercase()) {
            refuse(name.referenced, ANNOTATION_KEY);
        }
        bytes += name.value.len();
        match &written.value {
            Text::Absent => {}
            Text::Other => refuse(written.referenced, NO_TEXT),
            Text::Written(text) => bytes += text.len(),
        }
    }
    if let Some(annotations) = metadata.annotations.as_ref().filter(|_| bytes > MAX_ANNOTATIONS) {
        refuse(annotations.referenced, ANNOTATIONS);
    }
    Ok(errors)
}

/// Whether a GitOps engine may still fill in a part of a text.
fn has_variable(text: &str) -> bool {
    text.contains("${")
}

/// `[prefix/]name`
fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => prefix.len() <= MAX_PREFIX && is_host_name(prefix) && is_name(name),
        None => is_name(text),
    }
}

fn is_name(text: &str) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= MAX_NAME
        && is_end(text.bytes().next())
        && is_end(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether a text is a DNS subdomain of RFC 1123, apart from its length.
fn is_host_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.split('.').all(|part| {
        part.bytes().next().is_some_and(is_plain)
            && part.bytes().last().is_some_and(is_plain)
            && part.bytes().all(|byte| is_plain(byte) || byte == b'-')
    })
}
