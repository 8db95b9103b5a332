// SPDX-License-Identifier: Apache-2.0
//! The sequence of a bundle, compared with those of earlier bundles: a site refuses a lower sequence than it has seen,
//! and the same one with other content.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::{Bundle, StreamName};
use krs_core::error::ErrorKind;
use krs_core::oci::digest::Digest;
use krs_core::set::Warning;
use krs_core::sync::catalog::SentBundle;
use krs_core::sync::plan::{Plan, PlanError, PresentTime};

use super::files;
use crate::diagnostic::Failure;
use crate::report::count;

/// A bundle that was made before.
#[derive(Debug)]
pub(super) struct Earlier {
    file: Utf8PathBuf,
    role: Role,
    stream: StreamName,
    sequence: u64,
    identity: Digest,
}

/// Why a bundle is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `--reuse`.
    Reused,
    /// `--against`: the sites have it.
    Base,
    /// The output file, which is replaced.
    Output,
}

/// What is wrong with a sequence.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    message: String,
    /// No site can take the bundle, so there is no use in writing it.
    refused: bool,
    /// The sequence from which on sites take it.
    next: u64,
}

/// Collects the bundles that a call names; an output that is no bundle is none of these.
pub(super) fn earlier(
    reused: &[Arc<Bundle>],
    against: Vec<Earlier>,
    output: Option<&Utf8Path>,
) -> Vec<Earlier> {
    let mut earlier = Vec::new();
    for bundle in reused {
        earlier.push(Earlier::new(bundle, Role::Reused));
    }
    earlier.extend(against);
    if let Some(bundle) = output.and_then(|output| files::open_anyones(output, &[]).ok()) {
        earlier.push(Earlier::new(&bundle, Role::Output));
    }
    earlier
}

impl Earlier {
    fn new(bundle: &Bundle, role: Role) -> Self {
        let manifest = bundle.manifest();
        Self {
            file: bundle.path().to_owned(),
            role,
            stream: manifest.stream.clone(),
            sequence: manifest.sequence,
            identity: bundle.identity(),
        }
    }

    /// An earlier bundle that the sites have.
    pub(super) fn base(bundle: &Bundle) -> Self {
        Self::new(bundle, Role::Base)
    }

    /// A bundle of the catalog that the sites have.
    pub(super) fn of_sent(sent: &SentBundle) -> Self {
        let SentBundle { file, stream, sequence, identity, .. } = sent;
        let (file, stream) = (file.into(), stream.clone());
        Self { file, role: Role::Base, stream, sequence: *sequence, identity: *identity }
    }

    /// Compares a bundle that is to be written with this one.
    fn compare(&self, stream: &StreamName, sequence: u64, identity: Digest) -> Option<Finding> {
        if self.stream != *stream || self.sequence < sequence {
            return None;
        }
        let (file, theirs) = (&self.file, self.sequence);
        let role = match self.role {
            Role::Reused => "--reuse",
            Role::Base => "--against",
            Role::Output => "the file that would be replaced",
        };
        let next = theirs.saturating_add(1);
        if theirs > sequence {
            let message = format!(
                "the sequence {sequence} is lower than {theirs}, which {file} ({role}) has in the stream {stream}: sites that have seen {theirs} refuse the new bundle as old"
            );
            return Some(Finding { message, refused: true, next });
        }
        (self.identity != identity).then(|| Finding {
            message: format!(
                "{file} ({role}) has the same sequence {sequence} in the stream {stream}, with other sets or images: sites that have it refuse the new bundle"
            ),
            // Only of the base is it certain that the sites have it; bundles for different sites may share a sequence.
            refused: self.role == Role::Base,
            next,
        })
    }
}

fn findings(plan: &Plan, earlier: &[Earlier]) -> Result<Vec<Finding>, Failure> {
    let manifest = &plan.manifest;
    let identity = manifest.identity().map_err(PlanError::from)?;
    let compare = |earlier: &Earlier| earlier.compare(&manifest.stream, manifest.sequence, identity);
    Ok(earlier.iter().filter_map(compare).collect())
}

fn advice(next: u64) -> String {
    format!("number it yourself (--sequence {next} or higher), or choose another --stream")
}

/// Refuses a bundle that no site would take.
///
/// # Errors
/// It is one.
pub(super) fn refuse(plan: &Plan, earlier: &[Earlier]) -> Result<(), Failure> {
    let findings = findings(plan, earlier)?;
    // The highest decides which sequence helps.
    let worst = findings.into_iter().filter(|finding| finding.refused).max_by_key(|finding| finding.next);
    worst.map_or(Ok(()), |Finding { message, next, .. }| {
        Err(Failure::new(ErrorKind::Rollback, message).help(advice(next)))
    })
}

/// What somebody must know about the sequence, even with `--quiet`. `chosen`: it was given in the call. `paths`: what
/// was read.
///
/// # Errors
/// None in practice: the manifest was encoded before.
pub(super) fn remarks(
    plan: &Plan,
    earlier: &[Earlier],
    chosen: bool,
    paths: &str,
) -> Result<Vec<Warning>, Failure> {
    let mut messages = Vec::new();
    if let (Some(reason), false) = (&plan.present_time, chosen) {
        let reason = match reason {
            PresentTime::NoCommit => "no commit is recorded".to_owned(),
            PresentTime::Dirty => "what was read is not what the commit holds".to_owned(),
            PresentTime::Tags(number) => format!("{} no digest", has(*number)),
        };
        messages.push(format!(
            "the sequence is the present time ({}) and not the commit's: {reason}. Sites refuse a bundle with the commit's sequence after this one",
            plan.manifest.sequence
        ));
    }
    for finding in findings(plan, earlier)? {
        messages.push(format!("{}; {}", finding.message, advice(finding.next)));
    }
    Ok(messages.iter().map(|message| Warning::new(paths, 0, message)).collect())
}

fn has(images: usize) -> String {
    format!("{} {}", count(images as u64, "image"), if images == 1 { "has" } else { "have" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn earlier(role: Role, sequence: u64) -> Earlier {
        let stream = "prod".parse().unwrap();
        Earlier { file: "old.krs.tar".into(), role, stream, sequence, identity: Digest::of(b"old") }
    }

    #[test]
    fn a_site_decides_by_stream_sequence_and_identity() {
        let prod = "prod".parse::<StreamName>().unwrap();
        let (same, other) = (Digest::of(b"old"), Digest::of(b"new"));
        for (role, sequence, identity, refused) in [
            (Role::Output, 7, other, Some(true)),
            (Role::Reused, 7, same, Some(true)),
            (Role::Base, 8, other, Some(true)),
            (Role::Reused, 8, other, Some(false)),
            (Role::Output, 8, other, Some(false)),
            (Role::Base, 8, same, None),
            (Role::Output, 9, other, None),
        ] {
            let finding = earlier(role, 8).compare(&prod, sequence, identity);
            assert_eq!(finding.map(|finding| finding.refused), refused, "{role:?} {sequence}");
        }
        let elsewhere = "test".parse::<StreamName>().unwrap();
        assert_eq!(earlier(Role::Output, 8).compare(&elsewhere, 1, other), None);
        let Some(Finding { message, next, .. }) = earlier(Role::Output, 8).compare(&prod, 7, other) else {
            panic!("accepted");
        };
        assert!(message.contains('7') && message.contains('8') && next == 9, "{message}");
    }
}
