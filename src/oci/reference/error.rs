// SPDX-License-Identifier: Apache-2.0
//! Why a name is not acceptable.

use thiserror::Error;

use crate::oci::digest::ParseDigestError;

/// Longest image reference that a set may hold, in characters (design: EdgeImageSet).
pub const MAX_REFERENCE: usize = 320;

/// Why a text does not name an image, registry, repository or tag.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseReferenceError {
    /// A URL where a name is expected.
    #[error("`{0}` has a scheme; write the name without `http://` or `https://`")]
    Scheme(String),
    /// The first part is not a host.
    #[error(
        "`{0}` does not name a registry; write it in full, for example docker.io/library/nginx:1.25@sha256:…"
    )]
    NoRegistry(String),
    /// Not `host` or `host:port`.
    #[error("`{0}` is not a registry: expected host or host:port, in lower case")]
    Registry(String),
    /// Not a repository path.
    #[error(
        "`{0}` is not a repository: expected lower-case letters, digits and single `.`, `_`, `__` or `-` between them, in parts divided by `/`"
    )]
    Repository(String),
    /// Not a tag.
    #[error(
        "`{0}` is not a tag: expected up to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
    )]
    Tag(String),
    /// Neither a tag nor a digest.
    #[error("`{0}` has neither a tag nor a digest; add @sha256:… (or at least a tag)")]
    Bare(String),
    /// Longer than [`MAX_REFERENCE`].
    #[error("the image reference has {0} characters, more than the {MAX_REFERENCE} that are allowed")]
    Long(usize),
    /// A variable that nothing has filled in.
    #[error(
        "`{0}` holds a variable; render the file first and pass the result, for example: kustomize build DIR | krs bundle -"
    )]
    Variable(String),
    /// The digest is not one.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
}

/// A text as it is shown in an error.
pub(super) fn shown(text: &str) -> String {
    crate::redact::printable(text, 120)
}
