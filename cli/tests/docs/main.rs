// SPDX-License-Identifier: Apache-2.0
//! The documentation, held to the program: every `sh` block of it runs, what is generated is current, quoted messages
//! exist, links lead somewhere. How a page is run: docs/README.md.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod page;
mod quoted;
mod reference;
mod run;

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

const KRS: &str = env!("CARGO_BIN_EXE_krs");

fn checkout() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize_utf8().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Pages below a folder of the checkout, sorted.
fn pages(folder: &str) -> Vec<String> {
    let entries = checkout().join(folder).read_dir_utf8().unwrap().map(|entry| entry.unwrap());
    let names = entries.filter(|entry| entry.path().extension() == Some("md"));
    let mut pages = names.map(|entry| format!("{folder}/{}", entry.file_name())).collect::<Vec<_>>();
    pages.sort();
    pages
}

fn user_pages() -> Vec<String> {
    std::iter::once("README.md".to_owned()).chain(pages("docs")).collect()
}
