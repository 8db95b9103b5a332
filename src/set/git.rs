// SPDX-License-Identifier: Apache-2.0
/// What a checkout is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Full hash of the commit that is checked out, in hex.
    pub commit: String,
    /// Whether tracked files below the paths were changed, or YAML files there are not in Git.
    pub dirty: bool,
    /// When the commit was made, in seconds since 1970.
    pub commit_time: i64,
}
