// SPDX-License-Identifier: Apache-2.0
use std::io::{self, Read};

use camino::Utf8PathBuf;
use krs_core::set::{self, Loaded, SetErrors};

use crate::console::Console;

/// Reads the sets below `paths`.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn load(paths: &[Utf8PathBuf]) -> Result<Loaded, SetErrors> {
    let mut stdin = io::stdin();
    let wanted = paths.iter().any(|path| path == "-");
    set::load(paths, wanted.then_some(&mut stdin as &mut dyn Read))
}

/// Says what works and should be better, and what was not read.
pub(super) fn remarks(loaded: &Loaded, console: &Console) {
    let place = |file: &str, line: u64| {
        let file = krs_core::redact::printable(file, 300);
        if line == 0 { file } else { format!("{file}:{line}") }
    };
    for passed in &loaded.passed_over {
        console.detail(&format!(
            "{} was passed over: it {}",
            place(&passed.file, passed.line),
            passed.reason
        ));
    }
    for warning in &loaded.warnings {
        console.warning(&format!("{}: {}", place(&warning.file, warning.line), warning.message));
    }
}
