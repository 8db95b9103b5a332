// SPDX-License-Identifier: Apache-2.0
//! Drives that must not be trusted: said by the ImageBundle and an Event, nothing is pushed, healthy sets stay ready.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use camino::Utf8Path;
use krs_core::bundle::{Bundle, Policy};
use serde_json::json;

use crate::edge::edges;
use crate::harness::{
    TIMEOUT, apply, condition, get, has_event, stays, wait_bundle, wait_for, wait_not_ready, wait_ready,
};
use crate::site::Site;
use crate::source::{Ci, namespace, reference, registry, set, small_image};

/// Turns over one bit of a file.
fn damage(file: &Utf8Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, offset).unwrap();
}

#[test]
fn e5_t02_t42_a_damaged_or_foreign_drive_turns_nothing_red_and_pushes_nothing() {
    let source = registry(None, false);
    let (healthy, wanted) = (small_image("healthy", 40_000), small_image("wanted", 60_000));
    healthy.push_to(&source, "damage/healthy", Some("1"));
    wanted.push_to(&source, "damage/wanted", Some("1"));
    let host = edges().open.host().to_string();
    let (access, _) = edges().open.access("e5");
    let of = |name: &str, image| {
        let reference = reference(&source, &format!("damage/{name}"), "1", image);
        set("e5", name, &host, &[reference], &access)
    };
    let (first, second) = (of("healthy", &healthy), of("wanted", &wanted));

    let mut ci = Ci::new();
    ci.commit(std::slice::from_ref(&first));
    let good = ci.bundle("e5-good", "e5", 5, &source, &[]);
    let site = Site::new(&[&ci.public_key()], &json!({"intake": {"checkFirst": true}}));
    namespace("e5");
    apply(&json!([first, second]));
    site.insert(&good);
    wait_ready("e5", "healthy");
    wait_bundle("e5-good", "Imported", "True", None);

    // All of these hold what the other set waits for.
    ci.commit(&[first, second]);
    let blob = ci.bundle("e5-blob", "e5", 6, &source, &[]);
    let opened = Bundle::open(&blob, &Policy::default()).unwrap();
    let largest = opened.manifest().blobs.iter().max_by_key(|blob| blob.size).unwrap();
    let size = opened.size();
    damage(&blob, size - 1024 - largest.size / 2);
    let header = ci.bundle("e5-header", "e5", 6, &source, &[]);
    damage(&header, 100);
    let foreign = ci.bundle("e5-foreign", "e5", 6, &source, &["--key", ci.foreign_key()]);
    drop(source);

    for (name, file, reason) in [
        ("e5-blob", &blob, None),
        ("e5-header", &header, None),
        ("e5-foreign", &foreign, Some("UntrustedKey")),
    ] {
        site.insert(file);
        let message = wait_bundle(name, "Verified", "False", reason);
        assert!(!message.is_empty());
        let bundle = get("imagebundles", "", name).unwrap();
        let (_, reason, _) = condition(&bundle, "Verified").unwrap();
        wait_for(&format!("an Event tells that {name} is refused"), TIMEOUT, || {
            has_event("default", "ImageBundle", name, &reason)
                .then_some(())
                .or_else(|| has_event("default", "ImageBundle", name, "BundleRefused").then_some(()))
        });
        wait_for(&format!("the waiting set names {name} and why it is refused"), TIMEOUT, || {
            let message = wait_not_ready("e5", "wanted", "WaitingForBundle");
            (message.contains(name) && message.contains(&reason)).then_some(())
        });
        let set = get("edgeimagesets", "e5", "wanted").unwrap();
        assert_eq!(condition(&set, "Reconciling").unwrap().0, "True");
        assert!(condition(&set, "Stalled").is_none());
        stays("the healthy set is Ready and nothing is pushed", Duration::from_secs(2), || {
            let set = get("edgeimagesets", "e5", "healthy").unwrap();
            condition(&set, "Ready").unwrap().0 == "True" && !edges().open.has("damage/wanted", &wanted)
        });
        assert_eq!(edges().open.uploads("damage/wanted/"), 0);
        std::fs::remove_file(site.drive().join(format!("{name}.krs.tar"))).unwrap();
    }
}
