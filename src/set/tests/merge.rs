// SPDX-License-Identifier: Apache-2.0
//! Several sets together.

use super::*;
use crate::oci::reference::Reference;

#[test]
fn sets_of_one_name_are_named() {
    let two = set("shop", &[&nginx()]).replace("  name:", "  namespace: apps\n  name:");
    let loaded =
        load_files(&[("a.yaml", &two), ("b.yaml", &two), ("c.yaml", &set("shop", &[&nginx()]))]).unwrap();
    let warnings = loaded.warnings.iter().map(|w| (w.file.as_str(), w.line, w.message.as_str()));
    let [(file, line, message)] = warnings.collect::<Vec<_>>()[..] else { panic!("{:?}", loaded.warnings) };
    assert_eq!((file, line), ("b.yaml", 1));
    assert!(message.starts_with("the set apps/shop is also in a.yaml:1;"), "{message}");
}

#[test]
fn images_are_merged_and_collisions_name_both_places() {
    let load_two = |first: &str, second: &str| {
        load_files(&[("a.yaml", &set("a", &[&nginx(), first])), ("b.yaml", &set("b", &[&nginx(), second]))])
            .unwrap()
    };
    let loaded = load_two(&format!("quay.io/x/y:1@{D1}"), &format!("ghcr.io/x/y:1@{D1}"));
    let merged = merge(&loaded.sets).unwrap();
    let uses = merged.images.iter().map(|image| (image.reference.to_string(), image.uses.len()));
    assert_eq!(
        uses.collect::<Vec<_>>(),
        [
            (format!("docker.io/library/nginx:1.25@{D1}"), 2),
            (format!("quay.io/x/y:1@{D1}"), 1),
            (format!("ghcr.io/x/y:1@{D1}"), 1),
        ]
    );
    let loaded = load_two(&format!("quay.io/x/y:1@{D1}"), &format!("ghcr.io/x/y:1@{D2}"));
    let error = merge(&loaded.sets).unwrap_err().to_string();
    assert!(error.starts_with("b.yaml:9:12: naming collision") && error.contains("(a.yaml:9)"), "{error}");
    // Tags are compared once they are resolved.
    let loaded = load_two("quay.io/x/y:1", "ghcr.io/x/y:1");
    assert!(merge(&loaded.sets).is_ok());
    let resolved = |reference: &Reference| {
        reference
            .digest
            .or_else(|| if reference.registry.as_str() == "quay.io" { D1 } else { D2 }.parse().ok())
    };
    assert_eq!(collisions(&loaded.sets, resolved).unwrap_err().0.len(), 1);
}
