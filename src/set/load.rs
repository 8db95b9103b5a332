// SPDX-License-Identifier: Apache-2.0
use std::io::Read;

use camino::Utf8PathBuf;

use super::{Loaded, SetErrors};

/// Reads every set below `paths`, each a folder or a file; `-` is `stdin`.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn load(paths: &[Utf8PathBuf], stdin: Option<&mut dyn Read>) -> Result<Loaded, SetErrors> {
    let _ = (paths, stdin);
    Err(SetErrors(Vec::new()))
}
