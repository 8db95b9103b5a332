// SPDX-License-Identifier: Apache-2.0
//! The rules of the `.krsignore` files of a commit.

use std::collections::HashMap;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::walk::IGNORE_FILE;

/// `.krsignore` files, read once each.
#[derive(Default)]
pub(in crate::set) struct IgnoreRules(HashMap<Vec<u8>, Gitignore>);

impl IgnoreRules {
    /// Whether `.krsignore` files exclude `path`, a path below `root`, when `root` is read. `content` returns
    /// the text of such a file.
    pub(in crate::set) fn exclude(
        &mut self,
        path: &[u8],
        root: &[u8],
        mut content: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> bool {
        let start = if root.is_empty() { 0 } else { root.len() + 1 };
        let ends = (start..path.len()).filter(|at| path.get(*at) == Some(&b'/')).chain([path.len()]);
        // As the walk does, an excluded folder is not entered.
        ends.into_iter().any(|end| {
            let part = path.get(..end).unwrap_or_default();
            self.decide(part, end < path.len(), &mut content)
        })
    }

    fn decide(
        &mut self,
        path: &[u8],
        folder: bool,
        content: &mut impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> bool {
        let shown = String::from_utf8_lossy(path).into_owned();
        let mut above = path;
        while !above.is_empty() {
            above = parent(above);
            let rules = self.0.entry(above.to_vec()).or_insert_with(|| {
                let mut builder = GitignoreBuilder::new(Path::new(&*String::from_utf8_lossy(above)));
                let text = content(&join(above, IGNORE_FILE.as_bytes())).unwrap_or_default();
                for line in String::from_utf8_lossy(&text).trim_start_matches('\u{feff}').lines() {
                    // The walk warns of an invalid line.
                    let _ = builder.add_line(None, line);
                }
                builder.build().unwrap_or_else(|_| Gitignore::empty())
            });
            match rules.matched(Path::new(&shown), folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

/// The folder of a path of a commit.
pub(in crate::set) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').and_then(|end| path.get(..end)).unwrap_or_default()
}

/// A path below a folder of a commit.
pub(in crate::set) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}
