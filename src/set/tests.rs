// SPDX-License-Identifier: Apache-2.0
//! Sets as people write them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod check;
mod files;
mod merge;
mod text;

use std::fs;

use camino::Utf8PathBuf;
use proptest::prelude::*;

use super::*;
use crate::crd::EdgeImageSet;

const D1: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const D2: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

fn set(name: &str, images: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRegistry: edge.local:5000\n  images:\n"
    );
    for image in images {
        text += &format!("  - image: {image}\n");
    }
    text
}

fn nginx() -> String {
    format!("docker.io/nginx:1.25@{D1}")
}

/// What a person reads about a set in which one text is replaced by another.
fn fault(find: &str, put: &str) -> String {
    let text = set("shop", &[&nginx()]);
    assert!(text.contains(find), "{find}");
    check(text.replace(find, put).as_bytes(), "sets/shop.yaml").unwrap_err().to_string()
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    (folder, path)
}

fn load_files(files: &[(&str, &str)]) -> Result<LoadedSets, SetErrors> {
    let (_folder, path) = folder(files);
    load(&[path], None)
}

fn locations(loaded: &LoadedSets) -> Vec<(&str, u64, &str)> {
    loaded.sets.iter().map(|set| (set.file.as_str(), set.line, set.set.name.as_str())).collect()
}
