// SPDX-License-Identifier: Apache-2.0
//! Secrets and ConfigMaps as the kubelet mounts them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use krs_core::files::read_to_end;
use krs_core::redact::printable;

use super::error::{CredentialsError, MAX_ENTRY};

/// Most entries of a Secret that is mounted as a folder.
const MAX_ENTRIES: usize = 256;

/// The entries of a Secret or ConfigMap that is mounted as a folder.
///
/// # Errors
/// [`CredentialsError::Folder`], [`CredentialsError::TooLarge`].
pub fn read_folder(folder: &Utf8Path) -> Result<BTreeMap<String, Vec<u8>>, CredentialsError> {
    let failed = |path: &Utf8Path| {
        let path = path.to_owned();
        move |source| CredentialsError::Folder { path, source }
    };
    let mut entries = BTreeMap::new();
    for entry in folder.read_dir_utf8().map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        // The kubelet keeps the files in `..2026_11_24`, and swaps the link `..data` to it; keys are links into that.
        if entry.file_name().starts_with("..") {
            continue;
        }
        let path = entry.path();
        // A FIFO must not hold the process up.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed(path))?;
        if !file.metadata().map_err(failed(path))?.is_file() {
            continue;
        }
        let too_large = || CredentialsError::TooLarge(printable(entry.file_name(), 100));
        let bytes = read_to_end(file, MAX_ENTRY as u64).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => too_large(),
            _ => failed(path)(error),
        })?;
        if entries.len() == MAX_ENTRIES {
            return Err(too_large());
        }
        entries.insert(entry.file_name().to_owned(), bytes);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Credentials;
    use super::super::tests::auth_entries;
    use super::*;

    #[test]
    fn t76_a_mounted_secret_is_read_through_the_kubelets_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let at = root.join("..2026_11_24");
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join("username"), "me").unwrap();
        std::fs::write(at.join("password"), "pw").unwrap();
        std::os::unix::fs::symlink("..2026_11_24", root.join("..data")).unwrap();
        for key in ["username", "password"] {
            std::os::unix::fs::symlink(format!("..data/{key}"), root.join(key)).unwrap();
        }
        std::fs::create_dir(root.join("folder.crt")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe.crt").as_std_path(), 0o600.into()).unwrap();
        assert!(auth_entries(&Credentials::from_folder(root).unwrap()).is_some());
        assert!(Credentials::from_folder(&root.join("missing")).is_err());
    }
}
