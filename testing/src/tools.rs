// SPDX-License-Identifier: Apache-2.0
//! Programs of other projects that some tests compare with.

use camino::{Utf8Path, Utf8PathBuf};

/// The program `name` from `$KRS_TOOLS/bin`, where `cargo xtask test` installs programs, or from `PATH`.
pub fn find(name: &str) -> Option<Utf8PathBuf> {
    let own = std::env::var_os("KRS_TOOLS").map(|folder| std::path::PathBuf::from(folder).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = own.into_iter().chain(std::env::split_paths(&path));
    folders.find_map(|folder| {
        let file = Utf8Path::from_path(&folder)?.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        file.is_file().then_some(file)
    })
}

/// The program `name`.
///
/// # Panics
/// It is not installed; the message says how to install it.
pub fn require(name: &str) -> Utf8PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is missing: run `cargo xtask test`, which installs it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_and_missing_ones_say_how_to_get_them() {
        assert!(find("git").is_some_and(|git| git.is_absolute()));
        assert_eq!(find("krs-no-such-program"), None);
        let missing = std::panic::catch_unwind(|| require("krs-no-such-program")).unwrap_err();
        let message = missing.downcast_ref::<String>().unwrap();
        assert!(message.contains("krs-no-such-program is missing: run `cargo xtask test`"), "{message}");
    }
}
