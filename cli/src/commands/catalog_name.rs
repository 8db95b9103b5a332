// SPDX-License-Identifier: Apache-2.0
//! The records of a catalog, and how a call names what it wants of them.

use std::fmt;

use camino::Utf8Path;
use krs_core::bundle::StreamName;
use krs_core::error::ErrorKind;
use krs_core::sync::catalog::{BundleLine, CatalogError, Lines, Record};
use krs_core::sync::receipt::SiteName;

use crate::diagnostic::Failure;

/// Calls `each` with every record of the catalog, and `damaged` with what is wrong with each line that cannot be read.
///
/// # Errors
/// The file cannot be read.
pub(super) fn for_each(
    path: &Utf8Path,
    mut each: impl FnMut(Record),
    mut damaged: impl FnMut(String),
) -> Result<(), Failure> {
    for line in Lines::open(path)? {
        let line = line.map_err(|source| CatalogError::Read { path: path.to_owned(), source })?;
        match line.record {
            Ok(record) => each(record),
            Err(error) => damaged(unused_line(path, line.number, &error)),
        }
    }
    Ok(())
}

/// The warning about a line that cannot be read.
pub(super) fn unused_line(path: &Utf8Path, number: u64, error: &CatalogError) -> String {
    format!("{path}:{number}: the line is not used: {error}")
}

/// What `--against catalog:…` names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CatalogName {
    /// A bundle that went out.
    Bundle {
        /// Its stream.
        stream: StreamName,
        /// Its number in the stream.
        sequence: u64,
    },
    /// What a site has confirmed.
    Site(SiteName),
}

impl fmt::Display for CatalogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle { stream, sequence } => write!(f, "catalog:{stream}@{sequence}"),
            Self::Site(site) => write!(f, "catalog:{site}"),
        }
    }
}

impl CatalogName {
    /// Reads the value of `--against`; `None` where it names a file.
    ///
    /// # Errors
    /// It begins with `catalog:` and is not complete.
    pub(super) fn parse(text: &str) -> Option<Result<Self, Failure>> {
        let name = text.strip_prefix("catalog:")?;
        let parsed = match name.rsplit_once('@') {
            Some((stream, sequence)) => match (stream.parse(), sequence.parse()) {
                (Ok(stream), Ok(sequence)) => Some(Self::Bundle { stream, sequence }),
                _ => None,
            },
            None => name.parse().ok().map(Self::Site),
        };
        Some(parsed.ok_or_else(|| {
            let shown = krs_core::redact::printable(text, 200);
            Failure::usage(format!("`{shown}` names nothing in a catalog"))
                .help("expected catalog:SITE or catalog:STREAM@SEQUENCE, for example catalog:prod@117")
        }))
    }

    /// Whether it names this bundle.
    pub(super) fn is_of(&self, line: &BundleLine) -> bool {
        match self {
            Self::Bundle { stream, sequence } => line.stream == *stream && line.sequence == *sequence,
            Self::Site(_) => false,
        }
    }

    /// The failure where a catalog does not have it.
    pub(super) fn not_in(&self, path: &Utf8Path) -> Failure {
        let (message, help) = match self {
            Self::Bundle { stream, sequence } => (
                format!("{path} does not have sequence {sequence} of the stream {stream}"),
                format!(
                    "krs catalog show {path} lists what it has. Name the file of the bundle or of the receipt instead, or record it: krs catalog add {path} FILE"
                ),
            ),
            Self::Site(site) => (
                format!("{path} has no receipt of site {site}"),
                format!("record what comes back from there: krs catalog add {path} RECEIPT"),
            ),
        };
        Failure::new(ErrorKind::Incomplete, message).help(help)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_catalog_is_asked_for_a_bundle_or_a_site() {
        let parse = |text: &str| CatalogName::parse(text).unwrap().unwrap();
        let bundle = CatalogName::Bundle { stream: "prod".parse().unwrap(), sequence: 117 };
        assert_eq!(parse("catalog:prod@117"), bundle);
        assert_eq!(parse("catalog:berlin"), CatalogName::Site("berlin".parse().unwrap()));
        assert_eq!(CatalogName::parse("berlin.receipt.json"), None);
        for text in ["catalog:prod@117", "catalog:berlin"] {
            assert_eq!(parse(text).to_string(), text);
        }
        for wrong in ["catalog:", "catalog:a b", "catalog:@1", "catalog:prod@", "catalog:prod@-1"] {
            assert!(CatalogName::parse(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
