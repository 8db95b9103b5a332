// SPDX-License-Identifier: Apache-2.0
//! The folder that is being written: an OCI image layout.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use xtask::digest::Digest;
use xtask::run::Result;

/// A descriptor that lies in the layout.
#[derive(Debug, Clone)]
pub(crate) struct StoredDescriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl StoredDescriptor {
    /// The descriptor as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest.to_string(), "size": self.size})
    }
}

/// A layout under construction.
#[derive(Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    /// Starts again: only what an earlier run wrote is removed.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        if folder.exists() && fs::read_dir(folder)?.next().is_some() {
            if !folder.join("oci-layout").is_file() {
                return Err(format!("{} is not empty and no image layout", folder.display()).into());
            }
            fs::remove_dir_all(folder.join("blobs"))?;
            let _ = fs::remove_file(folder.join("corpus.json"));
        }
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self(folder.to_owned()))
    }

    /// A file for a blob whose digest is not known yet.
    pub(crate) fn temporary(&self) -> Result<NamedTempFile> {
        Ok(tempfile::Builder::new().prefix(".partial-").tempfile_in(self.0.join("blobs/sha256"))?)
    }

    /// Gives a finished blob its name.
    pub(crate) fn keep(&self, file: NamedTempFile, digest: &Digest) -> Result<()> {
        let kept = file.persist(self.0.join("blobs/sha256").join(digest.hex()))?;
        readable(&kept)
    }

    /// Stores a small blob.
    pub(crate) fn store(&self, media_type: &str, bytes: &[u8]) -> Result<StoredDescriptor> {
        let digest = Digest::of(bytes);
        let mut file = self.temporary()?;
        file.write_all(bytes)?;
        self.keep(file, &digest)?;
        Ok(StoredDescriptor { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 })
    }

    pub(crate) fn store_json(&self, media_type: &str, json: &Value) -> Result<StoredDescriptor> {
        self.store(media_type, &serde_json::to_vec(json)?)
    }

    /// Writes a file beside the blobs.
    pub(crate) fn write(&self, name: &str, json: &Value) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(json)?;
        bytes.push(b'\n');
        Ok(fs::write(self.0.join(name), bytes)?)
    }

    /// How many blobs there are, and their bytes.
    pub(crate) fn totals(&self) -> Result<(usize, u64)> {
        let sizes = fs::read_dir(self.0.join("blobs/sha256"))?
            .map(|file| Ok(file?.metadata()?.len()))
            .collect::<Result<Vec<u64>>>()?;
        Ok((sizes.len(), sizes.iter().sum()))
    }
}

/// Temporary files are for their owner only; blobs are not.
fn readable(file: &fs::File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.set_permissions(fs::Permissions::from_mode(0o644))?)
}
