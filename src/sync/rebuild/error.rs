// SPDX-License-Identifier: Apache-2.0
//! Why a layer was not made.

use std::io;

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::bundle::BundleError;
use crate::error::{self, Classify, ErrorKind};
use crate::oci::digest::{ContentMismatch, Digest};
use crate::registry::RegistryError;

/// Why layers were not made. Nothing was pushed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum RebuildError {
    /// There is not enough scratch space; nothing was read.
    #[error(
        "making layers of patches needs {needed} bytes of scratch space in {folder}, and {available} are available"
    )]
    Space { folder: Utf8PathBuf, needed: u64, available: u64 },
    /// The scratch space cannot be written or read.
    #[error("cannot use the scratch space in {folder}: {source}")]
    Scratch { folder: Utf8PathBuf, source: io::Error },
    /// A layer that a patch reads cannot be fetched.
    #[error("layer {digest}, from which others are made, cannot be read: {source}")]
    Base { digest: Digest, source: Box<RegistryError> },
    /// Nothing at hand has a blob.
    #[error("blob {digest}, from which layers are made, is in none of the bundles")]
    Missing { digest: Digest },
    /// Reading the archive failed.
    #[error(transparent)]
    Bundle(Box<BundleError>),
    /// A layer that a patch reads expands to something else than the manifest says.
    #[error("layer {digest}, from which others are made, does not expand as the bundle says: {source}")]
    Expanded { digest: Digest, source: RebuildProblem },
    /// A layer was not made.
    #[error("layer {digest} cannot be made from patch {patch}: {source}")]
    Layer { digest: Digest, patch: Digest, source: RebuildProblem },
}

/// What is wrong with a layer or its patch.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum RebuildProblem {
    #[error("expected {expected} bytes without compression, got {got}")]
    PlainSize { expected: u64, got: u64 },
    #[error("its compressed content is damaged: {0}")]
    Compressed(io::Error),
    #[error(transparent)]
    Patch(#[from] krs_compact::patch::PatchError),
    #[error("the patch and the bundle disagree on the layers: {0}")]
    Directory(String),
    #[error("its recipe has {0} bytes, more than a site reads")]
    RecipeSize(u64),
    #[error("its recipe: {0}")]
    Recipe(#[from] krs_compact::recipe::DecodeError),
    #[error("it cannot be compressed as its recipe says: {0}")]
    Recompress(#[from] krs_compact::recipe::RecipeError),
    #[error("what was made is another layer: {0}")]
    Content(ContentMismatch),
}

impl From<BundleError> for RebuildError {
    fn from(source: BundleError) -> Self {
        Self::Bundle(Box::new(source))
    }
}

impl Classify for RebuildError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Space { .. } => ErrorKind::NoSpace,
            Self::Scratch { source, .. } => error::io_kind(source),
            Self::Base { source, .. } => source.kind(),
            Self::Bundle(e) => e.kind(),
            Self::Missing { .. } => ErrorKind::Incomplete,
            Self::Expanded { .. } | Self::Layer { .. } => ErrorKind::Corrupt,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Scratch { source, .. } => Some(match source.kind() {
                io::ErrorKind::NotFound => "make this folder, or choose another one with --scratch".to_owned(),
                io::ErrorKind::NotADirectory => "choose a folder with --scratch".to_owned(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "choose a folder that can be written with --scratch".to_owned()
                }
                _ => "free some space, or choose another folder with --scratch".to_owned(),
            }),
            Self::Space { .. } => Some("free some space, or choose another folder with --scratch".to_owned()),
            Self::Base { source, .. } => source.help(),
            Self::Bundle(e) => e.help(),
            Self::Missing { .. } => Some(
                "name an earlier bundle that has it with --base, or push the bundle to a registry that has it".to_owned(),
            ),
            Self::Expanded { .. } | Self::Layer { .. } => Some(
                "ask for a bundle that was made without --compact; it needs nothing of the registry"
                    .to_owned(),
            ),
        }
    }
}
