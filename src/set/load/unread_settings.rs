// SPDX-License-Identifier: Apache-2.0
//! Files that are called like the settings and are not read as such, so that what they require does not hold.

use std::path::{Path, PathBuf};

use crate::files::read_file;
use crate::set::files::read::mentions;
use crate::set::settings::find::MAX_SETTINGS;
use crate::set::settings::model::SETTINGS_FILE;

/// Another ending, under which a person may write it.
const OTHER_NAME: &str = "krs.yml";
/// What is said of such a file.
pub(super) const UNREAD_SETTINGS: &str = "is not read as settings, and nothing that it requires holds: they are in krs.yaml at the top of the checkout, beside .git";

/// Those in a folder and in the folders above it, up to `top`.
pub(super) fn above(folder: &Path, top: &Path) -> Vec<PathBuf> {
    let folders = folder.ancestors().take_while(|above| above.starts_with(top));
    let files = folders.flat_map(|folder| [SETTINGS_FILE, OTHER_NAME].map(|name| folder.join(name)));
    let holds_no_set = |file: &PathBuf| read_file(file, MAX_SETTINGS).is_ok_and(|bytes| !mentions(&bytes));
    files.filter(|file| is_unread(file, top) && holds_no_set(file)).collect()
}

/// Whether a file is one of them. `top` is the folder whose settings count.
pub(super) fn is_unread(file: &Path, top: &Path) -> bool {
    let Some(name) = file.file_name() else { return false };
    name == OTHER_NAME || (name == SETTINGS_FILE && file.parent() != Some(top))
}
