// SPDX-License-Identifier: Apache-2.0
//! The receipt that the importer keeps in ConfigMaps of its namespace, read by `kubectl`: its own configuration and
//! credentials apply.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;
use thiserror::Error;

use super::index::{MAX_RECEIPT_PART, RECEIPT_MAP, RECEIPT_PART_KEY, ReceiptIndex};
use super::registry::MAX_RECEIPT;
use crate::error::{Classify, ErrorKind};
use crate::json;
use crate::oci::digest::Digest;
use crate::program::{ProgramError, find, run_as_user};
use crate::redact::printable;

/// Longest that one request may take; the program has a limit for all of them.
const REQUEST_TIMEOUT: &str = "--request-timeout=60s";
/// How often a receipt is read that is replaced meanwhile.
const ATTEMPTS: usize = 3;

#[derive(Deserialize)]
struct IndexMap {
    data: ReceiptIndex,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

/// Where the importer runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImporterLocation {
    /// Context of the kubeconfig; its current one if absent.
    pub context: Option<String>,
    /// Namespace of the importer; that of the context if absent.
    pub namespace: Option<String>,
}

/// A receipt as it is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterReceipt {
    /// The receipt of the site, as JSON.
    pub json: Vec<u8>,
    /// Its detached signature.
    pub signature: String,
    /// The public key that the importer shows. Who can write to the cluster can replace it.
    pub public_key: String,
    /// Short receipts, one in a line; empty: no bundle was imported.
    pub short: String,
}

/// Why there is no receipt from a cluster.
#[derive(Debug, Error)]
pub enum ClusterReceiptError {
    /// `kubectl` is not on the search path.
    #[error("the cluster cannot be read: kubectl is not installed")]
    NoKubectl,
    /// `kubectl` failed.
    #[error("the cluster cannot be read: {0}")]
    Kubectl(String),
    /// There is no ConfigMap.
    #[error("there is no receipt{}: {reason}", of(namespace.as_ref()))]
    Absent {
        /// The namespace that was named.
        namespace: Option<String>,
        /// What `kubectl` says.
        reason: String,
    },
    /// The ConfigMap is not one of the importer.
    #[error("ConfigMap {RECEIPT_MAP} has no receipt that this krs can read: {0}")]
    Damaged(String),
    /// The parts do not fit the index, however often they are read.
    #[error("the receipt was replaced each of {ATTEMPTS} times while it was read, or its parts were changed")]
    Changing,
}

fn of(namespace: Option<&String>) -> String {
    namespace.map(|name| format!(" in namespace {}", printable(name, 100))).unwrap_or_default()
}

impl Classify for ClusterReceiptError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKubectl => ErrorKind::Usage,
            Self::Kubectl(_) => ErrorKind::Unavailable,
            Self::Absent { .. } => ErrorKind::Incomplete,
            Self::Damaged(_) | Self::Changing => ErrorKind::Corrupt,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoKubectl => format!(
                "install kubectl, or copy the short receipts from the output of: kubectl get configmap {RECEIPT_MAP} -o yaml"
            ),
            Self::Kubectl(_) => format!("check it with: kubectl get configmap {RECEIPT_MAP}"),
            Self::Absent { .. } => {
                "name the namespace of the importer with --namespace. It writes receipts if `site` is set in the values of its chart"
                    .to_owned()
            }
            Self::Damaged(_) => "update krs, or the importer".to_owned(),
            Self::Changing => "run the command again".to_owned(),
        })
    }
}

/// Reads the receipt of the site.
///
/// # Errors
/// [`ClusterReceiptError`].
pub fn read_from_cluster(location: &ImporterLocation) -> Result<ClusterReceipt, ClusterReceiptError> {
    let program = find("kubectl").ok_or(ClusterReceiptError::NoKubectl)?;
    read(&program, location)
}

fn read(program: &Path, location: &ImporterLocation) -> Result<ClusterReceipt, ClusterReceiptError> {
    let damaged = |error: &dyn std::fmt::Display| ClusterReceiptError::Damaged(error.to_string());
    for _ in 0..ATTEMPTS {
        let text = get(program, location, &[RECEIPT_MAP.to_owned()])?;
        let index = json::parse::<IndexMap>(text.as_bytes(), MAX_RECEIPT_PART * 2);
        let index = index.map_err(|error| damaged(&error))?.data;
        let names = index.part_names().collect::<Vec<_>>();
        let parts = match get(program, location, &names) {
            Ok(text) => parse_parts(&text).map_err(|error| damaged(&error))?,
            // The parts were replaced after the index was read.
            Err(ClusterReceiptError::Absent { .. }) => continue,
            Err(error) => return Err(error),
        };
        let json = names.iter().filter_map(|name| parts.get(name)).flat_map(|part| part.bytes());
        let json = json.collect::<Vec<_>>();
        if Digest::of(&json) == index.digest {
            let ReceiptIndex { signature, public_key, short, .. } = index;
            return Ok(ClusterReceipt { json, signature, public_key, short });
        }
    }
    Err(ClusterReceiptError::Changing)
}

/// The parts by the names of their ConfigMaps. `kubectl` answers with a list only for several.
fn parse_parts(text: &str) -> Result<BTreeMap<String, String>, json::JsonError> {
    let limit = MAX_RECEIPT * 3;
    let items = match json::parse::<List>(text.as_bytes(), limit) {
        Ok(list) => list.items,
        Err(_) => vec![json::parse::<Part>(text.as_bytes(), limit)?],
    };
    let part = |mut item: Part| Some((item.metadata.name, item.data.remove(RECEIPT_PART_KEY)?));
    Ok(items.into_iter().filter_map(part).collect())
}

fn get(program: &Path, location: &ImporterLocation, names: &[String]) -> Result<String, ClusterReceiptError> {
    let mut arguments = ["get", "configmaps", "--output=json", REQUEST_TIMEOUT].map(OsString::from).to_vec();
    // In one word, so that no name is read as an option.
    let option = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| OsString::from(format!("--{name}={value}")))
    };
    arguments.extend(option("context", &location.context));
    arguments.extend(option("namespace", &location.namespace));
    arguments.extend(names.iter().map(OsString::from));
    let arguments = arguments.iter().map(OsString::as_os_str).collect::<Vec<_>>();
    run_as_user(program, &arguments).map_err(|error| match error {
        ProgramError::Missing => ClusterReceiptError::NoKubectl,
        ProgramError::Failed(reason) if reason.contains("NotFound") => {
            ClusterReceiptError::Absent { namespace: location.namespace.clone(), reason }
        }
        ProgramError::Failed(reason) => ClusterReceiptError::Kubectl(reason),
    })
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::index::part_name;
    use super::*;

    /// Reads from a `kubectl` that prints the file that is called like the last argument of its `n`th call.
    fn from(files: &[(&str, String)]) -> Result<ClusterReceipt, ClusterReceiptError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let file = folder.path().join("kubectl");
        let script = format!(
            "#!/bin/sh\ncd {}\necho \"$@\" >>calls\nfor last; do :; done\n\
             [ -e \"$last\" ] || {{ echo 'Error from server (NotFound): no' >&2; exit 1; }}\n\
             cat \"$last\"\n[ -e \"$last.next\" ] && mv \"$last.next\" \"$last\"\nexit 0\n",
            folder.path().display()
        );
        krs_testing::process::write_script(&file, &script);
        let location = ImporterLocation { context: Some("edge".into()), namespace: Some("krs".into()) };
        let result = read(&file, &location);
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        assert!(calls.lines().all(|line| line.contains("--context=edge --namespace=krs krs-receipt")));
        result
    }

    fn index(digest: &Digest, parts: usize) -> String {
        format!(
            r#"{{"kind":"ConfigMap","data":{{"createdAt":"2026-11-27T20:00:00Z","digest":"{digest}","parts":"{parts}",
            "receipt.json.minisig":"s","site":"berlin","site.pub":"p","short":"t"}}}}"#
        )
    }

    fn part(digest: &Digest, number: usize, text: &str) -> String {
        format!(r#"{{"metadata":{{"name":"{}"}},"data":{{"part":"{text}"}}}}"#, part_name(digest, number))
    }

    #[test]
    fn a_receipt_is_joined_from_its_parts() {
        let digest = Digest::of(b"onetwo");
        let list = format!(r#"{{"items":[{},{}]}}"#, part(&digest, 1, "two"), part(&digest, 0, "one"));
        let read = from(&[(RECEIPT_MAP, index(&digest, 2)), (&part_name(&digest, 1), list)]).unwrap();
        assert_eq!(
            (read.json.as_slice(), read.signature.as_str(), read.short.as_str()),
            (&b"onetwo"[..], "s", "t")
        );
        let digest = Digest::of(b"one");
        let single = [(RECEIPT_MAP, index(&digest, 1)), (&part_name(&digest, 0), part(&digest, 0, "one"))];
        assert_eq!(from(&single).unwrap().json, b"one");
    }

    #[test]
    fn a_receipt_that_is_replaced_meanwhile_is_read_again_and_one_that_was_changed_is_refused() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let files = [
            (RECEIPT_MAP.to_owned(), index(&old, 1)),
            (format!("{RECEIPT_MAP}.next"), index(&new, 1)),
            (part_name(&new, 0), part(&new, 0, "new")),
        ];
        let files = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect::<Vec<_>>();
        assert_eq!(from(&files).unwrap().json, b"new");
        let changed = [(RECEIPT_MAP, index(&new, 1)), (&part_name(&new, 0), part(&new, 0, "xew"))];
        assert!(matches!(from(&changed), Err(ClusterReceiptError::Changing)));
    }

    #[test]
    fn what_is_no_receipt_is_said() {
        let error = from(&[]).unwrap_err();
        assert!(error.to_string().contains("no receipt in namespace krs"), "{error}");
        assert!(error.help().unwrap().contains("--namespace"));
        for data in ["{}", r#"{"data":{"digest":"x"}}"#, "no JSON"] {
            let error = from(&[(RECEIPT_MAP, data.to_owned())]).unwrap_err();
            assert!(matches!(error, ClusterReceiptError::Damaged(_)), "{error}");
        }
        let digest = Digest::of(b"");
        let error = from(&[(RECEIPT_MAP, index(&digest, 1_000_000))]).unwrap_err();
        assert!(matches!(error, ClusterReceiptError::Damaged(_)), "{error}");
    }
}
