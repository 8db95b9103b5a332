// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::entry::{Entry, State};
use super::super::finding::Finding;
use super::super::scan::{LateOpens, Rules, scan};
use super::super::watchdog::Watchdog;
use super::*;

fn rules(folder: &Utf8Path) -> Rules {
    Rules {
        folder: folder.to_owned(),
        trusted_keys: folder.join("keys"),
        unsigned: true,
        site: None,
        now: None,
        clock: Timestamp::now(),
    }
}

fn paths(scan: &Scan) -> Vec<&str> {
    scan.files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn t140_media_are_read_beside_one_that_hangs_and_it_is_read_again_once_it_answers() {
    let home = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(home.path()).unwrap();
    for name in ["usb1/a.krs.tar", "usb2/b.krs.tar"] {
        std::fs::create_dir(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), "none").unwrap();
    }
    let watchdog = Watchdog::default();
    let (rules, known) = (rules(root), BTreeMap::new());
    for (hangs, read) in [("usb1", &["usb2/b.krs.tar"][..]), ("", &[])] {
        let folder = if hangs.is_empty() { root.to_owned() } else { root.join(hangs) };
        let (release, released) = mpsc::channel::<()>();
        watchdog.call(&folder, Duration::from_millis(1), move || released.recv().is_ok()).unwrap_err();
        let found = scan(&rules, &known, &[], &watchdog, &LateOpens::default());
        assert_eq!(paths(&found), read);
        assert_eq!(found.hanging.keys().map(|folder| folder.as_str()).collect::<Vec<_>>(), [hangs]);
        let message = trouble(&found.hanging, &BTreeMap::new(), &[], None).unwrap();
        assert!(message.contains("does not answer since"), "{message}");

        drop(release);
        while watchdog.call(&folder, Duration::from_secs(60), || ()).is_err() {
            std::thread::yield_now();
        }
        let found = scan(&rules, &known, &[], &watchdog, &LateOpens::default());
        assert_eq!(paths(&found), ["usb1/a.krs.tar", "usb2/b.krs.tar"]);
        assert_eq!(trouble(&found.hanging, &found.unreadable, &found.left_out, Some(message.as_str())), None);
    }
}

#[test]
fn t140_nothing_is_read_from_a_file_whose_folder_hangs_until_it_was_opened_again() {
    let now = Timestamp::now();
    let mut entry = Entry::new("a".to_owned(), now);
    entry.stamp = Some(folder::Stamp { size: 4, modified: None, inode: (1, 2), device: 1 });
    for _ in 0..3 {
        entry.hangs("usb1 does not answer", now);
    }
    assert!(!entry.present() && entry.failures == 1, "{entry:?}");
    assert!(matches!(&entry.state, State::Unreadable(message) if message == "usb1 does not answer"));
    assert_eq!(entry.retry_at, Some(now), "opened by the first scan that reaches it");
}

#[test]
fn media_that_failed_are_read_again_after_a_time_and_where_the_clock_was_set_back() {
    let now = Timestamp::now();
    let after = |seconds| now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    let mut entry = Entry::new("a".to_owned(), now);
    assert!(!entry.is_due(now));
    for _ in 0..20 {
        entry.media_failed("no answer".to_owned(), now);
    }
    let due = [-100_000, 0, 299, 300].map(|seconds| entry.is_due(after(seconds)));
    assert_eq!(due, [true, false, false, true]);
}

#[test]
fn t192_files_whose_media_do_not_answer_reads_are_told_of_and_all_others_are_opened() {
    let home = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(home.path()).unwrap();
    for name in ["usb1/a.krs.tar", "usb2/b.krs.tar", "c.krs.tar", "usb1/v.krs.tar.001", "usb2/v.krs.tar.002"]
    {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), "none").unwrap();
    }
    let (rules, known) = (rules(root), BTreeMap::new());
    // Those right in the drop folder are media of their own.
    for (media, hangs) in
        [("usb1", &["usb1/a.krs.tar"][..]), ("", &["c.krs.tar"]), ("usb1/v.krs.tar", &["usb1/v.krs.tar"])]
    {
        let watchdog = Watchdog::default();
        let (release, released) = mpsc::channel::<()>();
        let call = watchdog.begin(Utf8Path::new(media), move || released.recv().map_or((), |()| ())).unwrap();
        call.give_up().unwrap();
        let found = scan(&rules, &known, &[], &watchdog, &LateOpens::default());
        assert_eq!(paths(&found), ["c.krs.tar", "usb1/a.krs.tar", "usb1/v.krs.tar", "usb2/b.krs.tar"]);
        let hanging = found.files.iter().filter(|file| matches!(file.finding, Finding::Hangs(_)));
        assert_eq!(hanging.map(|file| file.path.as_str()).collect::<Vec<_>>(), hangs, "{media}");
        assert!(found.hanging.is_empty(), "it can be listed");
        assert_eq!(found.unread.keys().collect::<Vec<_>>(), [media], "{media}");
        drop(release);
    }
}
