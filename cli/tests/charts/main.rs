// SPDX-License-Identifier: Apache-2.0
//! `krs collect` on charts and manifests of public projects, at versions that `xtask/src/tools/table.rs` pins.
//!
//! The images of the collections in `counted` were counted by hand in the rendered manifests and the values: those of seven
//! collections before `krs` read them, those of gpu-operator and istio again after the first run, because their custom
//! resource and their templates name more than was counted. Those in `rendered` are compared with every `image:` of a container in what helm and kubectl render.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod counted;
mod rendered;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A folder or file of a module in the cache.
pub(crate) fn source(module: &str, path: &str) -> PathBuf {
    let tools = std::env::var("KRS_TOOLS").expect("KRS_TOOLS: run cargo xtask test --full --only chart");
    let source = PathBuf::from(tools).join(format!("charts-{module}")).join(path);
    assert!(source.exists(), "{} is missing", source.display());
    source
}

/// What `krs collect` finds in a source: the images, and what could not be read.
pub(crate) fn collect(module: &str, path: &str) -> (Vec<String>, Vec<String>) {
    let mut krs = Command::new(env!("CARGO_BIN_EXE_krs"));
    krs.arg("collect").arg(source(module, path)).args(["--allow-incomplete", "--format", "json"]);
    let output = krs.output().unwrap();
    let report = serde_json::from_slice::<Value>(&output.stdout);
    let report =
        report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let texts = |list: &str, field: &str| {
        let items = report[list].as_array().unwrap().iter();
        items.map(|item| item[field].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    (texts("images", "image"), texts("problems", "reason"))
}
