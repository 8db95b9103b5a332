// SPDX-License-Identifier: Apache-2.0
//! The conformance suite of the OCI distribution-spec as a child process, and its report.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;

use krs_core::oci::digest::Digest;

use crate::image::Image;
use crate::tools::require;

/// The prefix of each test's name.
const TEST: &str = "OCI Conformance Test";
/// The parts of the suite that a read-only registry can pass.
const READING: [&str; 10] = [
    "Ping",
    "Tag listing",
    "Blob get",
    "Blob head",
    "Manifest get by digest",
    "Manifest get by tag",
    "Manifest head by digest",
    "Manifest head by tag",
    "Referrers",
    "Read Only Inputs",
];

/// A run of the suite, with everything switched on that the specification demands or allows.
#[derive(Debug)]
pub struct Suite {
    command: Command,
    /// Its reports go there.
    folder: tempfile::TempDir,
}

impl Suite {
    /// A run against the registry at `address`, which speaks plain HTTP.
    pub fn new(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(require("conformance").as_str());
        // Settings of the environment must not decide what is tested.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("OCI_")) {
                command.env_remove(name);
            }
        }
        command
            .current_dir(folder.path())
            .env("OCI_REGISTRY", address.to_string())
            .env("OCI_TLS", "disabled")
            // What the specification allows and the suite leaves out unless it is told otherwise.
            .env("OCI_API_BLOBS_UPLOAD_CANCEL", "true")
            .env("OCI_API_BLOBS_DIGEST_HEADER", "true")
            .env("OCI_API_MANIFESTS_DIGEST_HEADER", "true");
        Self { command, folder }
    }

    /// One setting, as the suite's README names it.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Over TLS, with a certificate of this authority.
    #[must_use]
    pub fn tls(self, ca_pem: &str) -> Self {
        let file = self.folder.path().join("ca.pem");
        std::fs::write(&file, ca_pem).unwrap();
        let mut suite = self.set("OCI_TLS", "enabled");
        // Go reads this instead of the system's certificates.
        suite.command.env("SSL_CERT_FILE", file);
        suite
    }

    /// With credentials.
    #[must_use]
    pub fn user(self, user: &str, password: &str) -> Self {
        self.set("OCI_USERNAME", user).set("OCI_PASSWORD", password)
    }

    /// Reads what `repository` holds, and writes nothing: these images with everything below them, these tags, and what
    /// refers to these images.
    #[must_use]
    pub fn read_only(self, repository: &str, images: &[&Image], tags: &[&str], subjects: &[&Image]) -> Self {
        let words = |digests: Vec<Digest>| {
            let words = digests.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
            words.into_iter().collect::<Vec<_>>().join(" ")
        };
        let manifests = images.iter().flat_map(|image| image.manifests()).collect::<Vec<_>>();
        let blobs = manifests.iter().flat_map(|manifest| &manifest.blobs).map(|(digest, _)| *digest);
        let mut suite = self
            .set("OCI_REPO1", repository)
            .set("OCI_REPO2", repository)
            .set("OCI_RO_DATA_TAGS", &tags.join(" "))
            .set("OCI_RO_DATA_BLOBS", &words(blobs.collect()))
            .set("OCI_RO_DATA_MANIFESTS", &words(manifests.iter().map(|manifest| manifest.digest).collect()))
            .set("OCI_RO_DATA_REFERRERS", &words(subjects.iter().map(|image| image.digest).collect()));
        let writing = ["PUSH", "BLOBS_DELETE", "MANIFESTS_DELETE", "TAGS_DELETE", "BLOBS_UPLOAD_CANCEL"];
        // These headers are only found where the suite knows the content.
        let headers = ["BLOBS_DIGEST_HEADER", "MANIFESTS_DIGEST_HEADER"];
        for part in writing.into_iter().chain(headers) {
            suite = suite.set(&format!("OCI_API_{part}"), "false");
        }
        suite
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// It cannot be run, or it reports nothing.
    pub fn run(mut self) -> Report {
        // Its exit code is not usable: it counts a skipped part as a failure.
        let output = self.command.output().unwrap();
        drop(self.folder);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Report::parse(&text)
    }
}

/// What the suite found.
#[derive(Debug)]
pub struct Report {
    /// Each test, and each part of the specification, with the statuses that it got.
    rows: BTreeMap<String, BTreeSet<String>>,
    text: String,
}

impl Report {
    fn parse(text: &str) -> Self {
        let (mut rows, mut section) = (BTreeMap::<_, BTreeSet<_>>::new(), "");
        for line in text.lines() {
            if !line.starts_with(' ') && !line.starts_with(TEST) {
                section = line;
            }
            let row = line.trim_start().rsplit_once(": ").map(|(name, status)| (name, status.trim()));
            let named = match (row, section) {
                // One line for each test, below the test that it is a part of; errors are below it too.
                (Some((name, status)), "Test results") => {
                    name.strip_prefix(TEST).filter(|_| !status.contains(' ')).map(|name| (name, status))
                }
                // One line for each endpoint and each kind of content, padded with dots. A part that was never tried
                // is only seen here; one that was skipped once and passed once is only seen above.
                (Some((name, status)), "API conformance:" | "Data conformance:") => {
                    Some((name.trim_end_matches('.'), status))
                }
                _ => None,
            };
            if let Some((name, status)) = named {
                rows.entry(name.to_owned()).or_default().insert(status.to_owned());
            }
        }
        Self { rows, text: text.to_owned() }
    }

    /// The tests that did not always pass, with their worst status.
    fn others(&self, unless: &[&str]) -> BTreeMap<&str, &str> {
        let counts = |status: &&str| *status != "Pass" && !unless.contains(status);
        let rows = self.rows.iter().filter_map(|(name, statuses)| {
            Some((name.as_str(), statuses.iter().map(String::as_str).find(counts)?))
        });
        rows.collect()
    }

    /// Asserts that everything passed, except the named tests, which have the given status.
    ///
    /// # Panics
    /// It is otherwise; the message has the complete report.
    pub fn assert_passed_but(&self, others: &[(&str, &str)]) {
        assert_eq!(self.others(&[]), others.iter().copied().collect(), "{}", self.text);
        assert!(!self.rows.is_empty(), "the suite tested nothing:\n{}", self.text);
    }

    /// Asserts that everything that applies after [`Suite::read_only`] passed.
    ///
    /// # Panics
    /// It is otherwise; the message has the complete report.
    pub fn assert_passed_reading(&self) {
        assert_eq!(self.others(&["Disabled", "Unknown"]), BTreeMap::new(), "{}", self.text);
        for part in READING {
            let passed = self.rows.get(part).is_some_and(|statuses| statuses.contains("Pass"));
            assert!(passed, "{part}\n{}", self.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Test results
OCI Conformance Test: Pass
  OCI Conformance Test/empty: Pass
    OCI Conformance Test/empty/tag list: Skip
     - unsupported status: 404
    OCI Conformance Test/empty/tag list: Pass

OCI Conformance Result: Pass
  FAIL..........................:          0

API conformance:
  Ping..........................:       Pass
  Tag listing...................:       Pass

Data conformance:
  Blobs sha512..................:   Disabled

";

    fn fails(check: impl FnOnce() + std::panic::UnwindSafe) {
        std::panic::catch_unwind(check).unwrap_err();
    }

    #[test]
    fn what_did_not_pass_must_be_named_with_its_status() {
        let right = [("/empty/tag list", "Skip"), ("Blobs sha512", "Disabled")];
        let report = Report::parse(TEXT);
        report.assert_passed_but(&right);
        fails(|| report.assert_passed_but(&right[..1]));
        fails(|| report.assert_passed_but(&[("/empty/tag list", "FAIL"), right[1]]));
        fails(|| report.assert_passed_but(&[right[0], right[1], ("Ping", "Skip")]));
        fails(|| Report::parse("").assert_passed_but(&[]));
    }

    #[test]
    fn a_read_only_registry_must_pass_all_tests_that_read() {
        let all = READING.map(|part| format!("  {part}...:  Pass\n")).concat();
        let text =
            format!("API conformance:\n{all}  Blob push....: Disabled\n  Blob get range...: Unknown\n");
        Report::parse(&text).assert_passed_reading();
        fails(|| {
            Report::parse(&text.replace("Ping...:  Pass", "Ping...:  Disabled")).assert_passed_reading();
        });
        fails(|| Report::parse(&text.replace("Disabled", "Skip")).assert_passed_reading());
    }
}
