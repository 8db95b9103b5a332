// SPDX-License-Identifier: Apache-2.0
//! Who may sign bundles: `*.pub` files in a folder, a mounted Secret that may change while the importer runs. (T-08)

use camino::Utf8Path;
use krs_core::bundle::sign::{MAX_KEY_FILE, PublicKey};
use krs_core::files;

/// Most keys that are read.
const MAX_KEYS: usize = 64;

/// The keys, in the order of their files' names. A file that is no key is logged and trusts nobody; so does a folder that
/// cannot be read.
pub(super) fn read(folder: &Utf8Path) -> Vec<PublicKey> {
    let entries = folder.read_dir_utf8().into_iter().flatten().filter_map(Result::ok);
    let mut files = entries.map(camino::Utf8DirEntry::into_path).collect::<Vec<_>>();
    files.retain(|file| file.extension() == Some("pub"));
    files.sort_unstable();
    files.truncate(MAX_KEYS);
    files.iter().filter_map(|file| one(file)).collect()
}

fn one(file: &Utf8Path) -> Option<PublicKey> {
    let text = std::fs::File::open(file).and_then(|open| files::read_to_string(open, MAX_KEY_FILE));
    let text = text.map_err(|error| error.to_string());
    match text.and_then(|text| PublicKey::parse(&text, file.as_str()).map_err(|error| error.to_string())) {
        Ok(key) => Some(key),
        Err(error) => {
            tracing::warn!(%file, %error, "a trusted key cannot be used");
            None
        }
    }
}
