// SPDX-License-Identifier: Apache-2.0
//! Files that are replaced as one: whoever reads one finds the old content or the new one, also after a loss of power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU32, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::sync_folder;

/// Who may read the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner alone.
    Private,
    /// Who could read the file that is replaced; of a new file, whom the umask leaves.
    Inherited,
}

/// Replaces the content of `path`. Of a symbolic link, the file that it leads to is replaced.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidInput`] if `path` is a folder, a pipe or a device. The file is then as it
/// was, and nothing lies beside it.
pub(crate) fn replace_file(path: &Utf8Path, content: &[u8], access: Access) -> io::Result<()> {
    replace(path, content, access, |_| Ok(true)).map(|_| ())
}

/// [`replace_file`], unless the file has other content than `old` when the new one is ready. Answers whether it was
/// replaced.
///
/// # Errors
/// As for [`replace_file`], and that the file cannot be read.
pub(crate) fn replace_file_if(
    path: &Utf8Path,
    content: &[u8],
    access: Access,
    old: &[u8],
) -> io::Result<bool> {
    replace(path, content, access, |target| {
        Ok(fs::metadata(target)?.len() == old.len() as u64 && fs::read(target)? == old)
    })
}

fn replace(
    path: &Utf8Path,
    content: &[u8],
    access: Access,
    is_wanted: impl FnOnce(&Utf8Path) -> io::Result<bool>,
) -> io::Result<bool> {
    let target = match path.canonicalize_utf8() {
        Ok(target) => target,
        Err(error) if is_absent(&error) => path.to_owned(),
        Err(error) => return Err(error),
    };
    let found = match fs::metadata(&target) {
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(found) => Some(found),
        Err(error) if is_absent(&error) => None,
        Err(error) => return Err(error),
    };
    let folder = target.parent().unwrap_or(Utf8Path::new(""));
    let temporary = temporary_name(folder);
    let written = create(&temporary, access, found.as_ref()).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        let is_wanted = is_wanted(&target)?;
        if is_wanted {
            fs::rename(&temporary, &target)?;
        }
        Ok(is_wanted)
    });
    if !matches!(written, Ok(true)) {
        // It may not have been made at all.
        let _ = fs::remove_file(&temporary);
    }
    if !written? {
        return Ok(false);
    }
    sync_folder(folder)?;
    Ok(true)
}

/// A name that no other run uses at the same time. It is short, because the name of the file may be as long as the file
/// system allows.
fn temporary_name(folder: &Utf8Path) -> Utf8PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".krs.{}.{number}.part", std::process::id()))
}

/// Makes the file. Never opens one that is there: somebody may have put a link under the name.
fn create(path: &Utf8Path, access: Access, replaced: Option<&fs::Metadata>) -> io::Result<File> {
    match fs::remove_file(path) {
        // Left by a process of the same number that was killed.
        Ok(()) => {}
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if access == Access::Private {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let file = options.open(path)?;
    if let (Access::Inherited, Some(replaced)) = (access, replaced) {
        #[cfg(unix)]
        file.set_permissions(replaced.permissions())?;
        // A file that is only readable could not be renamed elsewhere.
        #[cfg(not(unix))]
        let _ = replaced;
    }
    Ok(file)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().canonicalize_utf8().unwrap();
        (folder, path)
    }

    fn mode(path: &Utf8Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn entries(folder: &Utf8Path) -> Vec<String> {
        let entries = folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned());
        let mut entries = entries.collect::<Vec<_>>();
        entries.sort();
        entries
    }

    #[test]
    fn a_file_keeps_its_permissions_unless_it_is_to_be_private() {
        let (_folder, path) = folder();
        let file = path.join("set.yaml");
        fs::write(&file, "old").unwrap();
        for mode in [0o640, 0o444, 0o755] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            replace_file(&file, b"new", Access::Inherited).unwrap();
            assert_eq!((fs::read(&file).unwrap(), self::mode(&file)), (b"new".to_vec(), mode));
        }
        replace_file(&file, b"secret", Access::Private).unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"secret".to_vec(), 0o600));
        assert_eq!(entries(&path), ["set.yaml"]);
    }

    #[test]
    fn t278_a_file_that_was_changed_meanwhile_stays() {
        let (_folder, path) = folder();
        let file = path.join("set.yaml");
        fs::write(&file, "other").unwrap();
        for old in ["older", "older still"] {
            assert!(!replace_file_if(&file, b"new", Access::Inherited, old.as_bytes()).unwrap());
            assert_eq!(
                (fs::read(&file).unwrap(), entries(&path)),
                (b"other".to_vec(), vec!["set.yaml".to_owned()])
            );
        }
        assert!(replace_file_if(&file, b"new", Access::Inherited, b"other").unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(replace_file_if(&path.join("absent"), b"new", Access::Inherited, b"").is_err());
        assert_eq!(entries(&path), ["set.yaml"]);
    }

    #[test]
    fn a_link_stays_one_and_what_it_leads_to_is_replaced() {
        let (_folder, path) = folder();
        fs::create_dir(path.join("real")).unwrap();
        fs::write(path.join("real/file"), "old").unwrap();
        symlink("real/file", path.join("link")).unwrap();
        replace_file(&path.join("link"), b"new", Access::Inherited).unwrap();
        assert!(path.join("link").is_symlink());
        assert_eq!(fs::read(path.join("real/file")).unwrap(), b"new");
        assert_eq!(entries(&path.join("real")), ["file"]);
    }

    #[test]
    fn t272_a_link_that_was_put_under_the_temporary_name_is_not_followed() {
        let (_folder, path) = folder();
        fs::write(path.join("victim"), "kept").unwrap();
        for number in 0..10_000 {
            let name = format!(".krs.{}.{number}.part", std::process::id());
            symlink("victim", path.join(name)).unwrap();
        }
        replace_file(&path.join("file"), b"new", Access::Inherited).unwrap();
        assert_eq!(fs::read(path.join("victim")).unwrap(), b"kept");
        assert_eq!(fs::read(path.join("file")).unwrap(), b"new");
        assert!(!path.join("file").is_symlink());
    }

    #[test]
    fn t272_a_failure_leaves_the_old_file_and_nothing_beside_it() {
        let (_folder, path) = folder();
        fs::create_dir(path.join("file")).unwrap();
        let error = replace_file(&path.join("file"), b"new", Access::Inherited).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(replace_file(&path.join("absent/file"), b"new", Access::Inherited).is_err());
        // The rename fails: the name is too long for the file system, and only the temporary name is not.
        assert!(replace_file(&path.join("n".repeat(300)), b"new", Access::Private).is_err());
        assert_eq!(entries(&path), ["file"]);
    }
}
