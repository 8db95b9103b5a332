// SPDX-License-Identifier: Apache-2.0
//! Versions of the formats: bundles, lists of volumes and receipts share one number. A value states the lowest version that
//! can express it, so that a new field affects only users of the field: see
//! `docs/adr/0006-how-formats-change.md`.

use std::fmt;

use serde::Deserialize;

use crate::json::{self, JsonError};

/// The highest version that this code reads, and the highest that it writes.
pub const FORMAT_VERSION: u32 = 3;
/// The lowest version, which krs 0.1 reads and writes.
pub const FIRST_VERSION: u32 = 1;

/// The version that patches in bundles came with.
pub const PATCHES_SINCE: u32 = 3;

/// A field that came with a later version than the first, in a value that uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterField {
    /// The version that it came with.
    pub version: u32,
    /// Its name, as the reference of the format has it.
    pub name: &'static str,
    /// What it belongs to, for messages: for example an image.
    pub owner: String,
}

impl fmt::Display for LaterField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, name, owner } = self;
        write!(f, "`{name}` of {owner} needs format version {version}")
    }
}

/// The lowest version that has all of `fields`.
pub(crate) fn lowest_version(fields: &[LaterField]) -> u32 {
    fields.iter().map(|field| field.version).max().unwrap_or(FIRST_VERSION)
}

/// Reads only the version of a JSON value, so that a later format is distinguished from a damaged one. (T-07)
pub(crate) fn stated_version(bytes: &[u8], limit: usize) -> Result<u32, JsonError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct StatedVersion {
        format_version: u32,
    }
    Ok(json::parse::<StatedVersion>(bytes, limit)?.format_version)
}

/// Whether this code reads values of `version`.
pub(crate) const fn is_supported(version: u32) -> bool {
    FIRST_VERSION <= version && version <= FORMAT_VERSION
}
