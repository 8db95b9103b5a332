// SPDX-License-Identifier: Apache-2.0
//! Folders and files without the right to read them, as desktop systems mount media.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;

use crate::world::{World, is};
use crate::{COMPLETE, SAFE, VERIFIED};

fn set_mode(path: &Utf8Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn t39_what_may_not_be_read_is_named_with_its_permission_and_the_command_that_mends_it() {
    if !krs_testing::unprivileged::is_bound(
        "unreadable::t39_what_may_not_be_read_is_named_with_its_permission_and_the_command_that_mends_it",
    ) {
        return;
    }
    let world = World::new();
    for (folder, name, sequence) in [("usb1", "a.krs.tar", 4), ("usb2", "b.krs.tar", 5)] {
        std::fs::create_dir(world.at(folder)).unwrap();
        let path = world.drop(name, sequence).await;
        std::fs::rename(path, world.at(folder).join(name)).unwrap();
    }
    set_mode(&world.at("usb1"), 0);
    let mut intake = world.start();
    intake.missing(&[]);
    // A folder from the start: nothing is known of what it holds.
    world.condition("b", SAFE, "True", "Imported").await;
    let stock = intake.stock(|stock| stock.trouble.is_some()).await;
    let trouble = stock.trouble.unwrap();
    for part in
        ["usb1", "mode 0000", "Permission denied", "chmod a+rx", "umask=022", world.at("usb1").as_str()]
    {
        assert!(trouble.contains(part), "{part}: {trouble}");
    }
    assert_eq!(intake.metrics.unreadable_entries.get(), 1);

    set_mode(&world.at("usb1"), 0o755);
    world.condition("a", SAFE, "True", "Imported").await;
    intake.stock(|stock| stock.trouble.is_none()).await;
    assert_eq!(intake.metrics.unreadable_entries.get(), 0);

    // Its files are known now. Without the right to pass it, it can be listed, and nothing else.
    for (folder, mode) in [("usb1", 0), ("usb1", 0o400), ("", 0)] {
        set_mode(&world.at(folder), mode);
        let status = world.condition("a", COMPLETE, "False", "MediaReadError").await;
        let text = status["message"].as_str().unwrap();
        assert!(text.contains("chmod a+rx") && text.contains("Permission denied"), "{folder}: {text}");
        let other =
            world.until("b", |status| is(status, SAFE, "True", "Imported") != folder.is_empty()).await;
        assert_eq!(is(&other, COMPLETE, "False", "MediaReadError"), folder.is_empty(), "{folder}");
        set_mode(&world.at(folder), 0o755);
        for name in ["a", "b"] {
            world.condition(name, SAFE, "True", "Imported").await;
        }
    }

    // A single file.
    let made = world.make("c.krs.tar", "", crate::numbered(6), Some(&world.key)).await;
    set_mode(&made, 0);
    std::fs::rename(&made, world.at("c.krs.tar")).unwrap();
    let status = world.condition("c", VERIFIED, "Unknown", "MediaReadError").await;
    let text = status["message"].as_str().unwrap();
    for part in ["c.krs.tar", "Permission denied", "chmod a+r"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    set_mode(&world.at("c.krs.tar"), 0o644);
    world.condition("c", SAFE, "True", "Imported").await;
    intake.stop().await;
}
