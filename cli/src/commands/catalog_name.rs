// SPDX-License-Identifier: Apache-2.0
//! The bundles of a catalog, and how a call names one of them.

use camino::Utf8Path;
use krs_core::bundle::StreamName;
use krs_core::error::ErrorKind;
use krs_core::sync::catalog::{CatalogError, Lines, Record, SentBundle};

use crate::console::Console;
use crate::diagnostic::Failure;

/// Calls `each` with every bundle of the catalog, and `damaged` with what is wrong with each line that cannot be read.
///
/// # Errors
/// The file cannot be read.
pub(super) fn for_each(
    path: &Utf8Path,
    mut each: impl FnMut(SentBundle),
    mut damaged: impl FnMut(String),
) -> Result<(), Failure> {
    for line in Lines::open(path)? {
        let line = line.map_err(|source| CatalogError::Read { path: path.to_owned(), source })?;
        match line.record {
            Ok(Record::Bundle(bundle)) => each(bundle),
            Err(error) => damaged(format!("{path}:{}: the line is not used: {error}", line.number)),
        }
    }
    Ok(())
}

/// The newest record of a bundle that `is_wanted`.
fn newest(
    path: &Utf8Path,
    is_wanted: impl Fn(&SentBundle) -> bool,
    console: &Console,
) -> Result<Option<SentBundle>, Failure> {
    let mut newest = None;
    let take = |bundle: SentBundle| {
        if is_wanted(&bundle) {
            newest = Some(bundle);
        }
    };
    for_each(path, take, |damaged| console.warning(&damaged))?;
    Ok(newest)
}

/// What `--against catalog:STREAM@SEQUENCE` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CatalogName {
    stream: StreamName,
    sequence: u64,
}

impl CatalogName {
    /// Reads the value of `--against`; `None` where it names a file.
    ///
    /// # Errors
    /// It begins with `catalog:` and is not complete.
    pub(super) fn parse(text: &str) -> Option<Result<Self, Failure>> {
        let name = text.strip_prefix("catalog:")?;
        let parsed = name.rsplit_once('@').and_then(|(stream, sequence)| {
            Some(Self { stream: stream.parse().ok()?, sequence: sequence.parse().ok()? })
        });
        Some(parsed.ok_or_else(|| {
            let shown = krs_core::redact::printable(text, 200);
            Failure::usage(format!("`{shown}` does not name a bundle of a catalog"))
                .help("expected catalog:STREAM@SEQUENCE, for example catalog:prod@117")
        }))
    }

    /// The record of the bundle in the catalog of the call.
    ///
    /// # Errors
    /// No catalog is named, or it does not have the bundle.
    pub(super) fn find(&self, catalog: Option<&Utf8Path>, console: &Console) -> Result<SentBundle, Failure> {
        let Self { stream, sequence } = self;
        let Some(path) = catalog else {
            return Err(Failure::usage(format!("--against catalog:{stream}@{sequence} needs a catalog"))
                .help("name it with --catalog FILE"));
        };
        let is_wanted = |sent: &SentBundle| sent.stream == *stream && sent.sequence == *sequence;
        newest(path, is_wanted, console)?.ok_or_else(|| {
            let message = format!("{path} does not have sequence {sequence} of the stream {stream}");
            Failure::new(ErrorKind::Incomplete, message).help(format!(
                "krs catalog show {path} lists what it has. Name the file of the bundle instead, or record it: krs catalog add {path} BUNDLE"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bundle_of_a_catalog_is_named_by_stream_and_sequence() {
        let name = CatalogName::parse("catalog:prod@117").unwrap().unwrap();
        assert_eq!(name, CatalogName { stream: "prod".parse().unwrap(), sequence: 117 });
        assert_eq!(CatalogName::parse("berlin.receipt.json"), None);
        for wrong in ["catalog:", "catalog:prod", "catalog:@1", "catalog:prod@", "catalog:prod@-1"] {
            assert!(CatalogName::parse(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
