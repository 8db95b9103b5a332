// SPDX-License-Identifier: Apache-2.0
//! Tests of permissions, which do not bind root.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

/// User and group without any rights.
const NOBODY: &str = "65534";

/// Whether permissions bind this process. Where they do not, runs `test` (its full name) of the same program again as a
/// user without rights: it must succeed.
pub fn is_bound(test: &str) -> bool {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), NOBODY.parse().ok(), NOBODY.parse().ok()).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
    let output = command.args(["--exact", test, "--nocapture"]).env("HOME", home.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    false
}
