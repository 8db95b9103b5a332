// SPDX-License-Identifier: Apache-2.0
//! Where the marks are kept: one file in the state folder of the user, replaced as one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::{RollbackError, sync_folder};
use krs_core::error::{Classify, ErrorKind};
use krs_core::files;
use krs_core::redact::printable;

use super::{Candidate, MAX_DETAIL, Marks, Objection};
use crate::replace_file::{Access, replace_file};

/// The file in the folder.
const FILE: &str = "push.json";
/// Held while the file is read and replaced.
const LOCK: &str = "push.lock";
/// Largest file that is read, in bytes: some ten thousand marks.
const MAX_BYTES: u64 = 4 << 20;
/// How long another push may keep the lock. It holds it for some milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The folder in which it is remembered what was pushed.
#[derive(Debug, Clone)]
pub(crate) struct PushState {
    folder: Option<Utf8PathBuf>,
    /// Whether the user named it, and so relies on it.
    named: bool,
}

/// What became of a mark.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MarkUpdate {
    /// It stands at the bundle, or above.
    Kept,
    /// A bundle that this one may not follow was pushed meanwhile.
    Overtaken(RollbackError),
}

/// Why it is not known, or not kept, what was pushed.
#[derive(Debug)]
pub(crate) enum StateError {
    /// There is no folder for it.
    NoFolder,
    /// Something else has the name of the folder.
    NotAFolder(Utf8PathBuf),
    /// The file or its folder cannot be read.
    Read(Utf8PathBuf, io::Error),
    /// The file is no list of marks.
    Damaged(Utf8PathBuf, String),
    /// The file cannot be replaced.
    Write(Utf8PathBuf, io::Error),
    /// Another push holds the lock.
    Locked(Utf8PathBuf),
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoFolder => f.write_str("neither HOME nor XDG_STATE_HOME names a folder"),
            Self::NotAFolder(path) => write!(f, "{path} is not a folder"),
            Self::Read(path, error) => write!(f, "cannot read {path}: {error}"),
            Self::Damaged(path, detail) => write!(f, "{path} is damaged: {detail}"),
            Self::Write(path, error) => write!(f, "cannot write {path}: {error}"),
            Self::Locked(path) => {
                write!(f, "{path} was locked by another krs push for {} s", LOCK_TIMEOUT.as_secs())
            }
        }
    }
}

impl std::error::Error for StateError {}

impl Classify for StateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Write(_, error) => krs_core::error::io_kind(error),
            Self::NotAFolder(_) => ErrorKind::Usage,
            _ => ErrorKind::Other,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoFolder => "name a folder with --state DIR".to_owned(),
            Self::NotAFolder(_) => {
                "--state names the folder in which krs push records what was pushed: name a folder that is kept from push to \
                 push, or leave it out"
                    .to_owned()
            }
            Self::Damaged(path, _) => format!(
                "it says which bundles were pushed. Restore it from a backup, or correct it; or, if you know what was \
                 pushed last, remove {path}: the next push creates it again. --allow-older pushes without it"
            ),
            Self::Read(..) | Self::Write(..) | Self::Locked(_) => {
                "it says which bundles were pushed. Name another folder with --state DIR, or push without it with --allow-older"
                    .to_owned()
            }
        })
    }
}

impl PushState {
    /// The folder that was named, else `krs` in the state folder of the user (XDG Base Directory Specification, which has
    /// relative paths ignored).
    pub(crate) fn new(named: Option<&Utf8Path>) -> Self {
        Self::of(named, |name| std::env::var(name).ok())
    }

    fn of(named: Option<&Utf8Path>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let folder = |name| variable(name).map(Utf8PathBuf::from).filter(|path| path.is_absolute());
        let home = || folder("HOME").or_else(|| folder("USERPROFILE"));
        let state = || folder("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")));
        let folder = named.map(Utf8Path::to_owned).or_else(|| Some(state()?.join("krs")));
        Self { folder, named: named.is_some() }
    }

    /// Whether a failure ends the push. A missing home must not, but who names a folder relies on it, and what is damaged
    /// is not taken for nothing.
    pub(crate) fn is_fatal(&self, error: &StateError) -> bool {
        let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match error {
            _ if self.named => true,
            StateError::NoFolder
            | StateError::NotAFolder(_)
            | StateError::Write(..)
            | StateError::Locked(_) => false,
            StateError::Read(_, error) => !is_denied(error),
            StateError::Damaged(..) => true,
        }
    }

    /// What was pushed before.
    ///
    /// # Errors
    /// [`StateError`]
    pub(crate) fn read(&self) -> Result<Marks, StateError> {
        let folder = self.folder.as_ref().ok_or(StateError::NoFolder)?;
        if folder.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(StateError::NotAFolder(folder.clone()));
        }
        read(&folder.join(FILE))
    }

    /// The folder that the user named, where it remembers nothing yet: its name may be misspelt.
    pub(crate) fn begins_here(&self) -> Option<&Utf8Path> {
        let folder = self.folder.as_deref().filter(|_| self.named)?;
        folder.join(FILE).symlink_metadata().is_err().then_some(folder)
    }

    /// Makes the folder, so that what keeps a mark from being written is known before anything is pushed.
    ///
    /// # Errors
    /// [`StateError`]
    pub(crate) fn prepare(&self) -> Result<(), StateError> {
        self.lock().map(drop)
    }

    /// Remembers a bundle that was pushed, durably.
    ///
    /// # Guarantees
    /// A mark is never lowered, and none that another push writes at the same time is lost. A kill or a loss of power leaves
    /// the old file or the new one.
    ///
    /// # Errors
    /// [`StateError`]; what was remembered before is unchanged.
    pub(crate) fn raise(&self, destination: &str, bundle: &Candidate<'_>) -> Result<MarkUpdate, StateError> {
        let (folder, _lock) = self.lock()?;
        let path = folder.join(FILE);
        let mut marks = read(&path)?;
        let overtaken = match marks.check(destination, bundle) {
            Ok(()) => None,
            Err(Objection::Unreadable(detail)) => {
                return Err(unreadable(&path, destination, bundle, &detail));
            }
            Err(Objection::Rollback(error)) => Some(error),
        };
        match marks.raise(destination, bundle) {
            Ok(true) => replace(&path, &marks)?,
            Ok(false) => {}
            Err(_) => return Err(unreadable(&path, destination, bundle, "it is no mark")),
        }
        Ok(overtaken.map_or(MarkUpdate::Kept, MarkUpdate::Overtaken))
    }

    /// The error for an entry that is no mark.
    pub(crate) fn unreadable(&self, destination: &str, bundle: &Candidate<'_>, detail: &str) -> StateError {
        let path = self.folder.as_ref().map(|folder| folder.join(FILE)).unwrap_or_default();
        unreadable(&path, destination, bundle, detail)
    }

    /// Locks the folder, and makes it where it is not there. The lock ends with the process, however that ends.
    fn lock(&self) -> Result<(&Utf8Path, File), StateError> {
        let folder = self.folder.as_deref().ok_or(StateError::NoFolder)?;
        create_folder(folder).map_err(|error| StateError::Write(folder.to_owned(), error))?;
        let path = folder.join(LOCK);
        let file =
            private(OpenOptions::new().read(true).write(true).create(true).truncate(false)).open(&path);
        let file = file.map_err(|error| StateError::Write(path.clone(), error))?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok((folder, file)),
                // A file system that knows no locks: what is replaced as one is complete all the same.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok((folder, file));
                }
                Err(TryLockError::Error(error)) => return Err(StateError::Write(path, error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StateError::Locked(path));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }
}

fn unreadable(path: &Utf8Path, destination: &str, bundle: &Candidate<'_>, detail: &str) -> StateError {
    let entry = format!("the entry of {destination}, stream {}: {detail}", bundle.stream);
    StateError::Damaged(path.to_owned(), entry)
}

fn read(path: &Utf8Path) -> Result<Marks, StateError> {
    let cannot = |error| StateError::Read(path.to_owned(), error);
    // Asked before it is opened: a pipe would be waited for.
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if is_absent(&error) && path.is_symlink() => {
            // Taken for nothing, it would let every bundle follow.
            let detail = "it is a symbolic link to something that is not there";
            return Err(StateError::Damaged(path.to_owned(), detail.to_owned()));
        }
        Err(error) if is_absent(&error) => return Ok(Marks::default()),
        Err(error) => return Err(cannot(error)),
    };
    let damaged = |detail: String| StateError::Damaged(path.to_owned(), printable(&detail, MAX_DETAIL));
    if !found.is_file() {
        return Err(damaged("it is not a regular file".to_owned()));
    }
    let bytes = files::read_file(path, MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => damaged(error.to_string()),
        _ => cannot(error),
    })?;
    Marks::parse(&bytes).map_err(damaged)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn replace(path: &Utf8Path, marks: &Marks) -> Result<(), StateError> {
    let cannot = |error| StateError::Write(path.to_owned(), error);
    let bytes = marks.encode().map_err(|error| cannot(error.into()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(cannot(io::Error::new(io::ErrorKind::FileTooLarge, "it holds too many marks")));
    }
    replace_file(path, &bytes, Access::Private).map_err(cannot)
}

/// Makes a folder, and those above it, for this user alone.
fn create_folder(folder: &Utf8Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    folder.parent().map_or(Ok(()), sync_folder)
}

/// A file for this user alone.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_folder_is_the_one_that_was_named_or_that_of_the_user() {
        let folder = |named: Option<&str>, variables: &[(&str, &str)]| {
            let variables = variables.iter().copied().collect::<std::collections::HashMap<_, _>>();
            let state =
                PushState::of(named.map(Utf8Path::new), |name| variables.get(name).map(|&v| v.to_owned()));
            state.folder.map(Utf8PathBuf::into_string)
        };
        let home = ("HOME", "/home/me");
        assert_eq!(folder(Some("x"), &[home]).as_deref(), Some("x"));
        assert_eq!(folder(None, &[home, ("XDG_STATE_HOME", "/s")]).as_deref(), Some("/s/krs"));
        for unusable in ["", "relative/state"] {
            let found = folder(None, &[home, ("XDG_STATE_HOME", unusable)]);
            assert_eq!(found.as_deref(), Some("/home/me/.local/state/krs"), "{unusable}");
        }
        assert_eq!(folder(None, &[("HOME", "")]), None);
    }
}
