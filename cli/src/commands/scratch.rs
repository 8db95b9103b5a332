// SPDX-License-Identifier: Apache-2.0
use camino::Utf8Path;
use krs_core::bundle::Bundle;
use krs_core::sync::rebuild::Scratch;

use crate::diagnostic::Failure;

/// Where the layers of a bundle are made. A folder that was named is tried at once, where the bundle has patches.
pub(super) fn scratch(folder: Option<&Utf8Path>, bundle: &Bundle) -> Result<Scratch, Failure> {
    let Some(folder) = folder else { return Ok(Scratch::default()) };
    let scratch = Scratch::new(folder, None);
    if !bundle.manifest().patches.is_empty() {
        scratch.check()?;
    }
    Ok(scratch)
}
