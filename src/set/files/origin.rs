// SPDX-License-Identifier: Apache-2.0
//! Finds the checkout of a call's paths, and the paths that are in no checkout.

use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};

use super::root::{Root, checkout};
use crate::set::model::Warning;

/// The paths of a call that are in one checkout.
#[derive(Debug, Default)]
pub(in crate::set) struct Origin {
    /// Its top folder, its folders and its files that are read. `None`: no path is in a checkout.
    pub(in crate::set) checkout: Option<(PathBuf, Vec<PathBuf>, Vec<PathBuf>)>,
    /// A warning for each path outside of it, because of which the bundle belongs to no commit.
    pub(in crate::set) elsewhere: Vec<Warning>,
    /// Why no commit is recorded, if this is not to be expected.
    pub(in crate::set) warnings: Vec<Warning>,
}

/// Finds the first checkout that contains one of the roots. The roots come in the order of the call, with their names in
/// messages.
pub(in crate::set) fn origin(roots: &[(Root, Utf8PathBuf)]) -> Origin {
    let mut origin = Origin::default();
    // Everything below a folder of the call is read with it, also a submodule or an inner repository.
    let is_inside = |path: &Path| {
        let folders = roots.iter().filter_map(|(root, _)| match root {
            Root::Folder(folder) => Some(folder),
            Root::File(..) => None,
        });
        folders.into_iter().any(|folder| path != folder && path.starts_with(folder))
    };
    let of = |root: &Root| match root {
        Root::Folder(path) => checkout(path).map(Path::to_owned),
        Root::File(path, _) => path.parent().and_then(checkout).map(Path::to_owned),
    };
    let path = |root: &Root| match root {
        Root::Folder(path) | Root::File(path, _) => path.clone(),
    };
    let outer = || roots.iter().filter(|(root, _)| !is_inside(&path(root)));
    let top = outer().find_map(|(root, _)| of(root));
    let (mut folders, mut files, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    for (root, shown) in roots {
        let (real, found) = (path(root), of(root));
        if top.is_some() && found == top {
            if matches!(root, Root::Folder(_)) { &mut folders } else { &mut files }.push(real);
        } else if is_inside(&real) {
            // Its folder says it.
        } else if found.is_some() {
            let message = "lies in another Git repository; only the commit of the first one is recorded";
            origin.elsewhere.push(Warning::new(shown.as_str(), 0, message));
        } else {
            outside.push(shown);
        }
    }
    origin.checkout = top.map(|top| (top, folders, files));
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

/// The warning about a path that is read and is in no commit.
pub(in crate::set) fn in_no_commit(shown: &str, reason: &str) -> Warning {
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
