// SPDX-License-Identifier: Apache-2.0
//! A file with credentials on disk: read completely, and replaced as one by a file that only its owner can read.

use std::fs::{self, File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use krs_core::error::{help_against_write, io_kind};
use krs_core::files;
use krs_core::registry::CredentialFile;

use crate::diagnostic::Failure;
use crate::replace_file::{Access, replace_file};

/// Largest file that is read, in bytes: what the reader of credentials takes, too.
const MAX_BYTES: u64 = 1 << 20;
/// How long another krs may keep the lock. It holds it for some milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Reads the file; one that does not exist is empty.
///
/// # Errors
/// It cannot be read, or is not understood.
pub(super) fn read(path: &Utf8Path) -> Result<CredentialFile, Failure> {
    let bytes = match files::read_file(path, MAX_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|error| Failure::other(format!("cannot read {path}: {error}")))?,
    };
    Ok(CredentialFile::parse(path, &bytes)?)
}

/// Changes the file, whose folder is made for its owner alone if it is absent. Another krs that changes a file of this folder
/// at the same time waits, so that the change of neither is lost. Returns whether `change` wanted the file to be replaced.
///
/// # Errors
/// What `change` says, or the system. The file is then as it was.
pub(super) fn update(
    path: &Utf8Path,
    change: impl FnOnce(&mut CredentialFile) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let cannot = |error: io::Error| {
        Failure::new(io_kind(&error), format!("cannot write {path}: {error}"))
            .help(help_against_write(&error))
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_str().is_empty() => folder,
        _ => Utf8Path::new("."),
    };
    make_folder(folder).map_err(cannot)?;
    let _lock = lock(folder)?;
    let mut file = read(path)?;
    let is_changed = change(&mut file)?;
    if is_changed {
        replace_file(path, file.to_text().expose().as_bytes(), Access::Private).map_err(cannot)?;
    }
    Ok(is_changed)
}

/// Locks the folder, so that no file lies beside the credentials. The lock ends with the process, however that ends. `None`
/// where folders cannot be locked, as on Windows: what is replaced as one is undamaged there, too.
///
/// # Errors
/// Another krs keeps the lock.
fn lock(folder: &Utf8Path) -> Result<Option<File>, Failure> {
    let Ok(file) = File::open(folder) else { return Ok(None) };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let seconds = LOCK_TIMEOUT.as_secs();
                return Err(Failure::other(format!("{folder} was locked by another program for {seconds} s"))
                    .help("wait until the other `krs login` or `krs logout` has ended, then run the same command again"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

fn make_folder(folder: &Utf8Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}
