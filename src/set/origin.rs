// SPDX-License-Identifier: Apache-2.0
//! Which checkout the paths of a call lie in, and which of them lie in none.

use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};

use super::Warning;
use super::walk::checkout;

/// What of a call lies in one checkout.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// Its top folder, its folders and its files that are read. `None`: nothing lies in a checkout.
    pub(super) checkout: Option<(PathBuf, Vec<PathBuf>, Vec<PathBuf>)>,
    /// What lies elsewhere, and so makes the bundle one of no commit: a warning for each.
    pub(super) elsewhere: Vec<Warning>,
    /// Why no commit is recorded, where this is not to be expected.
    pub(super) warnings: Vec<Warning>,
}

/// Finds the first checkout in which one of the paths lies. Each path is a canonical one, with what messages call it.
pub(super) fn origin(folders: &[(PathBuf, Utf8PathBuf)], files: &[(PathBuf, Utf8PathBuf)]) -> Origin {
    let mut origin = Origin::default();
    let mut outside = Vec::new();
    let paths = folders.iter().map(|path| (path, true)).chain(files.iter().map(|path| (path, false)));
    for ((path, shown), is_folder) in paths {
        let Some(found) = (if is_folder { Some(path.as_path()) } else { path.parent() }).and_then(checkout)
        else {
            outside.push(shown);
            continue;
        };
        let (top, folders, files) =
            origin.checkout.get_or_insert_with(|| (found.to_owned(), Vec::new(), Vec::new()));
        // A submodule, or a repository inside of another, is read with what is around it.
        if folders.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        if found == top {
            (if is_folder { folders } else { files }).push(path.clone());
        } else {
            let message = "lies in another Git repository; only the commit of the first one is recorded";
            origin.elsewhere.push(Warning::new(shown.as_str(), 0, message));
        }
    }
    for shown in outside {
        let link = leaving_link(shown);
        if origin.checkout.is_some() {
            let reason = link.unwrap_or_else(|| "lies in no Git checkout".to_owned());
            origin.elsewhere.push(in_no_commit(shown.as_str(), &reason));
        } else if let Some(reason) = link {
            let message = format!("no commit is recorded: it {reason}");
            origin.warnings.push(Warning::new(shown.as_str(), 0, &message));
        }
    }
    origin
}

/// The warning about something that is read and is in no commit.
pub(super) fn in_no_commit(shown: &str, reason: &str) -> Warning {
    let message = format!("{reason}, so the bundle is marked as made from a checkout with changes");
    Warning::new(shown, 0, &message)
}

/// The symbolic link by which a path leaves a checkout, as part of a sentence.
fn leaving_link(shown: &Utf8Path) -> Option<String> {
    shown.ancestors().filter(|path| path.as_std_path().is_symlink()).find_map(|link| {
        let parent = link.parent().filter(|parent| !parent.as_str().is_empty());
        let parent = parent.unwrap_or(Utf8Path::new(".")).as_std_path().canonicalize().ok()?;
        let top = checkout(&parent)?;
        let target = link.as_std_path().canonicalize().ok()?;
        let is = if link == shown {
            "is a symbolic link".to_owned()
        } else {
            format!("lies below the symbolic link {link}")
        };
        (!target.starts_with(top)).then(|| format!("{is} that leaves the checkout {}", top.display()))
    })
}
