// SPDX-License-Identifier: Apache-2.0
//! Recipes that earlier runs found, by the digest of the layer: finding one takes as long as compressing the layer.

use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use krs_compact::recipe::Recipe;

use crate::files::read_file;
use crate::oci::digest::{Digest, Hasher};

/// Largest cached recipe, in bytes.
const MAX_RECIPE: u64 = 64 << 20;
/// Begins a cached recipe.
const MAGIC: &str = "krs-recipe 1 ";
/// That a layer has none, as this version says: another one may know its encoder.
const NONE: &str = concat!("none-", env!("CARGO_PKG_VERSION"));

/// Of the content and the layer, so that the recipe of another layer is not taken for this one's.
fn checksum(layer: &Digest, content: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(layer.to_string().as_bytes());
    hasher.update(content);
    hasher.finish()
}

/// A folder with one file for each layer. What cannot be read or written costs time, never the bundle.
#[derive(Debug, Clone)]
pub struct RecipeCache {
    folder: Utf8PathBuf,
}

impl RecipeCache {
    /// Where they are.
    pub(super) fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// Uses `folder`, which is made with the first recipe.
    pub const fn new(folder: Utf8PathBuf) -> Self {
        Self { folder }
    }

    /// The recipe of a layer, or why it has none; `None`: not known. The content of a file is compared with the digest in it.
    pub(super) fn get(&self, layer: &Digest) -> Option<Result<Vec<u8>, String>> {
        let bytes = read_file(self.path(layer), MAX_RECIPE).ok()?;
        let rest = bytes.strip_prefix(MAGIC.as_bytes())?;
        let (head, content) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'\n')?)?;
        let content = content.get(1..)?;
        let (kind, digest) = std::str::from_utf8(head).ok()?.split_once(' ')?;
        if checksum(layer, content).to_string() != digest {
            return None;
        }
        match kind {
            "recipe" if Recipe::decode(content).is_ok() => Some(Ok(content.to_vec())),
            NONE => Some(Err(String::from_utf8_lossy(content).into_owned())),
            _ => None,
        }
    }

    /// Remembers the recipe of a layer, or why it has none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn put(&self, layer: &Digest, answer: &Result<Vec<u8>, String>) -> io::Result<()> {
        let (kind, content) = match answer {
            Ok(recipe) => ("recipe", recipe.as_slice()),
            Err(reason) => (NONE, reason.as_bytes()),
        };
        let mut bytes = format!("{MAGIC}{kind} {}\n", checksum(layer, content)).into_bytes();
        bytes.extend_from_slice(content);
        let path = self.path(layer);
        let part = Utf8PathBuf::from(format!("{path}.{}.part", std::process::id()));
        let written = fs::create_dir_all(&self.folder).and_then(|()| fs::write(&part, bytes));
        written.and_then(|()| fs::rename(&part, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })
    }

    fn path(&self, layer: &Digest) -> Utf8PathBuf {
        self.folder.join(layer.hex())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_read_back_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RecipeCache::new(Utf8PathBuf::from_path_buf(folder.path().join("new")).unwrap());
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        assert_eq!(cache.get(&one), None);
        for answer in [Ok(Recipe::Plain.encode()), Err("no encoder makes it".to_owned())] {
            cache.put(&one, &answer).unwrap();
            assert_eq!(cache.get(&one), Some(answer));
        }
        assert_eq!(cache.get(&other), None);
        // That of another layer.
        fs::copy(cache.path(&one), cache.path(&other)).unwrap();
        assert_eq!(cache.get(&other), None);
        let path = cache.path(&one);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get(&one), None);
        // That there is none, by another version.
        cache.put(&one, &Err("no encoder makes it".to_owned())).unwrap();
        let text = fs::read_to_string(&path).unwrap().replace(NONE, "none-0.0.1");
        fs::write(&path, text).unwrap();
        assert_eq!(cache.get(&one), None);
    }
}
