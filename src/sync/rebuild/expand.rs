// SPDX-License-Identifier: Apache-2.0
//! Layers without their compression, in scratch space.

use std::fs::File;
use std::io::{self, Read};

use krs_compact::patch::{FileBytes, RangeReader};

use super::error::{RebuildError, RebuildProblem};
use super::scratch::Scratch;
use super::sources::StoredBlob;
use crate::bundle::PatchBase;
use crate::sync::plain::{self, PlainError};

/// Expands a layer that a patch reads into scratch space.
pub(super) async fn expand(
    layer: StoredBlob,
    base: PatchBase,
    scratch: Scratch,
) -> Result<FileBytes, RebuildError> {
    let (file, folder) = (scratch.file()?, scratch.clone());
    let expanded = tokio::task::spawn_blocking(move || {
        let content = RangeReader::new(&*layer, 0, layer.length());
        write_plain(content, file, base, &scratch)
    });
    expanded.await.map_err(|e| folder.error(io::Error::other(e)))?
}

fn write_plain(
    layer: impl Read,
    plain: File,
    base: PatchBase,
    scratch: &Scratch,
) -> Result<FileBytes, RebuildError> {
    let wrong = |source| RebuildError::Expanded { digest: base.digest, source };
    // What a hostile layer expands to beyond its size is not written.
    let got = match plain::expand(layer, &plain, base.plain_size) {
        Ok(got) => got,
        Err(PlainError::Write(source)) => return Err(scratch.error(source)),
        Err(PlainError::Read(source)) => return Err(wrong(RebuildProblem::Compressed(source))),
        Err(PlainError::TooLarge(expected)) => {
            return Err(wrong(RebuildProblem::PlainSize { expected, got: expected.saturating_add(1) }));
        }
    };
    if got != base.plain_size {
        return Err(wrong(RebuildProblem::PlainSize { expected: base.plain_size, got }));
    }
    FileBytes::new(plain).map_err(|source| scratch.error(source))
}
