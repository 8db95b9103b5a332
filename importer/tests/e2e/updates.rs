// SPDX-License-Identifier: Apache-2.0
//! Days after the first drive: an image is added, drives come late, are pulled, and are put back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::edge::edges;
use crate::harness::{
    JobWatch, TIMEOUT, all, apply, condition, get, run, wait_bundle, wait_for, wait_not_ready, wait_ready,
};
use crate::site::{CHART, SYSTEM, Site};
use crate::source::{Ci, namespace, reference, registry, set, small_image};

#[test]
fn e6_only_what_is_new_is_copied_from_a_second_bundle() {
    let source = registry(None, false);
    let images = ["one", "two", "three"].map(|name| small_image(name, 30_000));
    let references = ["one", "two", "three"].iter().zip(&images).map(|(name, image)| {
        image.push_to(&source, &format!("update/{name}"), Some("1"));
        reference(&source, &format!("update/{name}"), "1", image)
    });
    let references = references.collect::<Vec<_>>();
    let host = edges().open.host().to_string();
    let (access, _) = edges().open.access("e6");
    let mut ci = Ci::new();
    let before = set("e6", "app", &host, &references[..2], &access);
    ci.commit(std::slice::from_ref(&before));
    let first = ci.bundle("e6-1", "e6", 1, &source, &[]);
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("e6");
    apply(&before);
    let watch = JobWatch::start("e6");
    site.insert(&first);
    let ready = wait_ready("e6", "app");
    let uploads = edges().open.uploads("update/");

    // In Git there is a third image now, and no bundle that has it.
    let after = set("e6", "app", &host, &references, &access);
    apply(&after);
    let message = wait_not_ready("e6", "app", "WaitingForBundle");
    assert!(message.contains("1 "), "{message}");
    let waiting = get("edgeimagesets", "e6", "app").unwrap();
    assert_eq!(waiting["status"]["images"]["present"], 2);
    assert_eq!(waiting["status"]["synchronizedImages"], json!(references[..2]));
    assert_eq!(condition(&waiting, "Reconciling").unwrap().0, "True");
    assert!(condition(&waiting, "Stalled").is_none());

    ci.commit(std::slice::from_ref(&after));
    site.insert(&ci.bundle("e6-2", "e6", 2, &source, &[]));
    let done = wait_ready("e6", "app");
    assert_eq!(done["status"]["bundle"]["sequence"], 2);
    assert!(done["metadata"]["generation"].as_i64() > ready["metadata"]["generation"].as_i64());
    edges().open.must_have("update/three", "1", &images[2]);
    assert_eq!(edges().open.uploads("update/") - uploads, 2, "the config and the layer of the new image");
    let copied = watch
        .jobs()
        .iter()
        .map(|job| job["spec"]["template"]["spec"]["containers"][0]["args"].to_string())
        .filter(|args| args.contains("update/one"))
        .count();
    assert_eq!(copied, 1, "what is there is not copied again");
}

/// The chart of today with the drop folder of 0.1: its claim and its volume had no names that follow the values, and the
/// volume cannot be changed.
fn chart_with_the_drop_folder_of_0_1(folder: &Path) -> PathBuf {
    let chart = folder.join("chart");
    run("cp", &["-r", CHART, chart.to_str().unwrap()], None);
    let before = include_str!("../../../testdata/golden/0.1/importer/drop-folder.yaml");
    std::fs::write(chart.join("templates/drop-folder.yaml"), before).unwrap();
    let helpers = chart.join("templates/_helpers.tpl");
    let text = std::fs::read_to_string(&helpers).unwrap();
    let is_hash = |line: &&str| line.contains("sha256sum") && line.contains("$drop.node.path");
    let lines = text.lines().filter(|line| !is_hash(line)).collect::<Vec<_>>();
    assert_eq!(lines.len() + 1, text.lines().count(), "the part of the claim's name that 0.1 did not have");
    std::fs::write(helpers, lines.join("\n")).unwrap();
    chart
}

fn claims() -> BTreeSet<String> {
    let names = all("persistentvolumeclaims", SYSTEM);
    names.iter().map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn t163_t184_an_upgrade_from_0_1_with_a_nodes_drop_folder_continues_with_its_bundles() {
    let source = registry(None, false);
    let image = small_image("upgrade", 30_000);
    image.push_to(&source, "upgrade/app", Some("1"));
    let references = [reference(&source, "upgrade/app", "1", &image)];
    let (access, _) = edges().open.access("upgrade");
    let app = set("upgrade", "app", edges().open.host().as_str(), &references, &access);
    let mut ci = Ci::new();
    ci.commit(std::slice::from_ref(&app));
    let bundle = ci.bundle("upgrade", "upgrade", 1, &source, &[]);
    let folder = tempfile::tempdir().unwrap();
    let before = chart_with_the_drop_folder_of_0_1(folder.path());
    let keys = ci.public_key();
    let site = Site::of_chart(&before, &[&keys], &json!({}));
    assert_eq!(claims(), ["krs-importer-bundles".to_owned()].into());
    site.insert(&bundle);
    wait_bundle("upgrade", "Verified", "True", None);
    drop(site);
    // It empties the folder, as a drive that is put in again after the upgrade.
    let site = Site::new(&[&keys], &json!({}));
    wait_for("the claim of 0.1 goes with the Pod that mounts it", TIMEOUT, || {
        let claims = claims();
        (claims.len() == 1 && !claims.contains("krs-importer-bundles")).then_some(())
    });
    wait_for("the volume of 0.1 goes with its claim", TIMEOUT, || {
        let volumes = all("persistentvolumes", "");
        let ours = volumes.iter().filter(|volume| volume["spec"]["claimRef"]["namespace"] == SYSTEM).count();
        (ours == 1).then_some(())
    });
    namespace("upgrade");
    apply(&app);
    site.insert(&bundle);
    wait_ready("upgrade", "app");
}

/// A drive that is mounted after the importer has started, pulled, and put back. (T-36)
#[test]
fn e6_t36_a_drive_comes_late_is_pulled_and_put_back() {
    let source = registry(None, false);
    let (one, two) = (small_image("late-one", 30_000), small_image("late-two", 30_000));
    one.push_to(&source, "late/one", Some("1"));
    two.push_to(&source, "late/two", Some("1"));
    let references = [reference(&source, "late/one", "1", &one), reference(&source, "late/two", "1", &two)];
    let host = edges().open.host().to_string();
    let (access, _) = edges().open.access("e6-late");
    let mut ci = Ci::new();
    let late = set("e6-late", "app", &host, &references, &access);
    ci.commit(std::slice::from_ref(&late));
    let bundle = ci.bundle("e6-late", "e6-late", 1, &source, &[]);
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("e6-late");
    apply(&set("e6-late", "app", &host, &references[..1], &access));
    wait_not_ready("e6-late", "app", "WaitingForBundle");

    // Not a folder that fills: a file system that is mounted below the folder that the importer has.
    let usb = site.drive().join("usb");
    std::fs::create_dir_all(&usb).unwrap();
    let drive = Drive::mount(&usb);
    site.insert_into(&usb, &bundle);
    wait_ready("e6-late", "app");
    wait_bundle("e6-late", "SafeToRemove", "True", None);
    drive.pull();
    wait_bundle("e6-late", "Complete", "False", None);
    let set_now = get("edgeimagesets", "e6-late", "app").unwrap();
    assert_eq!(condition(&set_now, "Ready").unwrap().0, "True", "a set does not need the drive any more");

    apply(&late);
    let message = wait_not_ready("e6-late", "app", "WaitingForBundle");
    wait_for("the set says which drive is wanted", TIMEOUT, || {
        let message = wait_not_ready("e6-late", "app", "WaitingForBundle");
        message.contains("e6-late").then_some(message)
    });
    assert!(!message.is_empty());
    let _drive = Drive::mount(&usb);
    site.insert_into(&usb, &bundle);
    wait_ready("e6-late", "app");
    edges().open.must_have("late/two", "1", &two);
}

/// A file system in memory, in the place of a USB drive.
struct Drive<'a>(&'a std::path::Path);

impl<'a> Drive<'a> {
    fn mount(folder: &'a std::path::Path) -> Self {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"]).arg(folder).status();
        assert!(status.unwrap().success(), "mount");
        Self(folder)
    }

    /// As a person does: nothing may hold it any more.
    fn pull(self) {
        wait_for("the drive can be unmounted", TIMEOUT, || {
            Command::new("umount").arg(self.0).status().unwrap().success().then_some(())
        });
        std::mem::forget(self);
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
