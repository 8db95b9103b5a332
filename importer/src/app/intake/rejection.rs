// SPDX-License-Identifier: Apache-2.0
//! What a failure to open or to read a bundle means for the site. Pure.

use krs_core::bundle::sign::SignError;
use krs_core::bundle::{BundleError, ManifestError, RollbackError};
use krs_core::error::Classify as _;
use krs_core::format::FORMAT_VERSION;
use krs_core::redact::printable;

/// Longest sentence, in characters: four bytes each fit the status.
const MAX_TEXT: usize = 250 * 4;

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bundle is not accepted until the file is another one.
    Refused,
    /// The file is incomplete.
    Incomplete,
    /// The media fail or went away: they are retried.
    Media,
}

/// A failure in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub kind: Kind,
    /// One word for machines.
    pub reason: &'static str,
    /// A sentence for people, with what to do.
    pub message: String,
}

/// The reason of a bundle whose bytes are not right.
pub(super) const DAMAGED: &str = "Damaged";
/// The reason of a file that ends too early.
pub(super) const INCOMPLETE: &str = "Incomplete";
/// The reason of a bundle whose number stands for something else.
pub(super) const REUSED: &str = "SequenceReused";

/// The reason of a bundle whose sequence is too far ahead to be used before a person confirms it.
pub(super) const AHEAD: &str = "SequenceAhead";

/// All reasons of bundles that are refused: metrics show each of them from the start.
pub(super) const REFUSALS: [&str; 15] = [
    DAMAGED,
    INCOMPLETE,
    REUSED,
    AHEAD,
    "SignatureMissing",
    "UntrustedKey",
    "SignatureInvalid",
    "UnknownVersion",
    "InvalidManifest",
    "WrongStream",
    "WrongAudience",
    "Expired",
    "InvalidImage",
    "InvalidSet",
    "NotABundle",
];

/// What `error` means.
pub(super) fn judge(error: &BundleError) -> Failure {
    use BundleError as E;
    let (kind, reason) = match error {
        E::Open { .. } | E::Read { .. } => (Kind::Media, krs_core::crd::reason::MEDIA_READ_ERROR),
        E::Incomplete { .. } | E::Volumes { .. } => (Kind::Incomplete, INCOMPLETE),
        E::Trailing { .. } | E::ForeignVolumes { .. } | E::Damaged { .. } | E::Content { .. } => {
            (Kind::Refused, DAMAGED)
        }
        E::Signature { source, .. } => (Kind::Refused, signature(source)),
        E::Manifest { source: ManifestError::Version(_), .. } => (Kind::Refused, "UnknownVersion"),
        E::Manifest { .. } => (Kind::Refused, "InvalidManifest"),
        E::Rollback { source, .. } => (
            Kind::Refused,
            match source {
                // The intake opens bundles of any sequence: an older one is superseded, and not refused.
                RollbackError::Older { .. } | RollbackError::Reused { .. } => REUSED,
                RollbackError::Stream { .. } => "WrongStream",
            },
        ),
        E::Audience { .. } => (Kind::Refused, "WrongAudience"),
        E::Expired { .. } => (Kind::Refused, "Expired"),
        E::Image { .. } | E::BlobMissing { .. } | E::Partial { .. } | E::Stray { .. } => {
            (Kind::Refused, "InvalidImage")
        }
        E::Set { .. } | E::SetImages { .. } => (Kind::Refused, "InvalidSet"),
        E::Special { .. }
        | E::Compressed { .. }
        | E::NotABundle { .. }
        | E::Write { .. }
        | E::NotKept { .. }
        | E::FileLimit { .. }
        | E::ManyVolumes { .. }
        | E::InTheWay { .. }
        | E::Busy { .. }
        | E::Header(_) => (Kind::Refused, "NotABundle"),
    };
    Failure { kind, reason, message: sentence(&error.to_string(), advice(error).as_deref()) }
}

const fn signature(error: &SignError) -> &'static str {
    match error {
        SignError::Missing { .. } => "SignatureMissing",
        SignError::Untrusted { .. } => "UntrustedKey",
        _ => "SignatureInvalid",
    }
}

/// What the people of the site can do, where that is not what a user of `krs` can.
fn advice(error: &BundleError) -> Option<String> {
    let text = match error {
        BundleError::Signature { source: SignError::Missing { .. }, .. } => {
            "ask its sender to sign it with `krs sign`, or allow unsigned bundles in the values of the chart"
        }
        BundleError::Signature { source: SignError::Untrusted { .. }, .. } => {
            "get the sender's public key over a channel that you trust, and add it to the trusted keys of the site"
        }
        BundleError::Volumes { .. } => {
            "insert the media with it too, or copy all volumes into the drop folder; copy a cut one again"
        }
        BundleError::Special { .. } => "put the file itself into the drop folder",
        BundleError::NotABundle { .. } => "put a file there that `krs bundle` wrote",
        BundleError::Open { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "run `chmod a+r` on it, or mount the media with the option umask=022"
        }
        BundleError::Open { .. } => "check that the importer may read it, and that the drive is mounted",
        BundleError::Read { .. } => {
            "the media were removed or are failing: put them back. If it happens again, copy the bundle again, onto other media"
        }
        BundleError::Rollback { source: RollbackError::Reused { .. }, .. } => {
            "ask its sender for a bundle with a higher sequence"
        }
        BundleError::Manifest { source: ManifestError::Version(_), .. } => {
            return Some(format!(
                "update the importer, or ask its sender for a bundle made with krs bundle --format-version {FORMAT_VERSION}"
            ));
        }
        error => return error.help(),
    };
    Some(text.to_owned())
}

/// One line of text from `what` happened and what to do.
pub(super) fn sentence(what: &str, advice: Option<&str>) -> String {
    let text = advice.map_or_else(|| what.to_owned(), |advice| format!("{what}: {advice}"));
    let mut text = printable(&text, MAX_TEXT);
    // The API server counts characters for a status and bytes elsewhere.
    while text.len() > 1000 {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use krs_core::oci::digest::Digest;

    #[test]
    fn each_failure_has_one_word_and_says_what_to_do() {
        let path = || camino::Utf8PathBuf::from("/bundles/prod-118.krs.tar");
        let io = || std::io::Error::other("EIO");
        let sign = |source| BundleError::Signature { path: path(), source };
        let list = || "key A".to_owned();
        let rollback = |source| BundleError::Rollback { path: path(), source };
        let stream = krs_core::bundle::StreamName::default;
        let digest = Digest::of(b"");
        let table = [
            (BundleError::Open { path: path(), source: io() }, Kind::Media, "MediaReadError", "may read it"),
            (
                BundleError::Read { path: path(), offset: 4, source: io() },
                Kind::Media,
                "MediaReadError",
                "byte 4",
            ),
            (
                BundleError::Incomplete {
                    path: path(),
                    expected: 9,
                    got: 0,
                    missing: "everything".to_owned(),
                },
                Kind::Incomplete,
                "Incomplete",
                "wait until the copy is complete",
            ),
            (
                BundleError::Special { path: path(), what: "a named pipe" },
                Kind::Refused,
                "NotABundle",
                "named pipe",
            ),
            (sign(SignError::Missing { expected: list() }), Kind::Refused, "SignatureMissing", "krs sign"),
            (
                sign(SignError::Untrusted { expected: list(), got: "key B".to_owned() }),
                Kind::Refused,
                "UntrustedKey",
                "key B",
            ),
            (
                rollback(RollbackError::Reused {
                    stream: stream(),
                    sequence: 5,
                    expected: digest,
                    got: digest,
                }),
                Kind::Refused,
                "SequenceReused",
                "higher sequence",
            ),
            (
                BundleError::Manifest { path: path(), source: ManifestError::Version(FORMAT_VERSION + 1) },
                Kind::Refused,
                "UnknownVersion",
                "update the importer",
            ),
            (
                BundleError::Audience {
                    path: path(),
                    expected: "site-1".to_owned(),
                    got: "site-2".to_owned(),
                },
                Kind::Refused,
                "WrongAudience",
                "for this site",
            ),
            (
                BundleError::Damaged { path: path(), part: "index.json".to_owned(), offset: 7 },
                Kind::Refused,
                "Damaged",
                "copy the bundle again",
            ),
        ];
        for (error, kind, reason, part) in table {
            let failure = judge(&error);
            assert_eq!((failure.kind, failure.reason), (kind, reason), "{error}");
            assert!(kind == Kind::Media || REFUSALS.contains(&reason), "{reason}");
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }

    #[test]
    fn t84_text_from_a_drive_is_made_harmless_and_short() {
        let text = sentence(&format!("\u{1b}[31m{}", "ü".repeat(5000)), Some("do this"));
        assert!(text.len() <= 1000 && !text.contains('\u{1b}'), "{text}");
    }
}
