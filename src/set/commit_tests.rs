// SPDX-License-Identifier: Apache-2.0
//! What is read of real checkouts, beside the commit that they are of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod differences;
mod hostile;
mod shapes;
mod skipped;

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::git::{Checkout, FIRST_COMMIT};

use super::{LoadedSets, load};

const D: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn set(name: &str) -> String {
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRegistry: edge.local:5000\n  images:\n  - image: quay.io/{name}:1@{D}\n"
    )
}

/// A checkout with a committed set in `sites/a.yaml`, and a Deployment beside it.
fn checkout() -> Checkout {
    let mut checkout = Checkout::new();
    checkout.write("sites/a.yaml", set("a"));
    checkout.write("sites/deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n");
    checkout.commit("One");
    checkout
}

fn read(path: &Utf8Path) -> LoadedSets {
    load(&[path.to_owned()], None).unwrap()
}

fn names(loaded: &LoadedSets) -> Vec<&str> {
    loaded.sets.iter().map(|set| set.set.name.as_str()).collect()
}

fn messages(loaded: &LoadedSets) -> Vec<String> {
    loaded.warnings.iter().map(|warning| format!("{}: {}", warning.file, warning.message)).collect()
}

fn is_dirty(loaded: &LoadedSets) -> bool {
    loaded.source.as_ref().unwrap().dirty
}

/// The commit is recorded, and nothing is said against it.
#[track_caller]
fn assert_clean(path: &Utf8Path, expected: &[&str]) -> LoadedSets {
    let loaded = read(path);
    assert_eq!(names(&loaded), expected);
    assert!(!is_dirty(&loaded), "{:?}", loaded.warnings);
    assert_eq!(loaded.warnings, []);
    loaded
}

/// The checkout is dirty, and a warning for each file says why.
#[track_caller]
fn assert_dirty(path: &Utf8Path, expected: &[&str], warnings: &[(&str, &str)]) {
    let loaded = read(path);
    assert_eq!(names(&loaded), expected, "{:?}", loaded.warnings);
    assert!(is_dirty(&loaded));
    let messages = loaded.warnings.iter().map(|warning| (warning.file.as_str(), warning.message.as_str()));
    let messages = messages.collect::<Vec<_>>();
    assert_eq!(messages.len(), warnings.len(), "{messages:?}");
    for ((file, message), (expected_file, part)) in messages.iter().zip(warnings) {
        assert!(file == expected_file && message.contains(part), "{file}: {message}");
    }
}

fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}
