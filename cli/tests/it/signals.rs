// SPDX-License-Identifier: Apache-2.0
//! A push that is ended by a signal leaves nothing open at the registry, and says what is there.

use std::process::Command;
use std::time::{Duration, Instant};

use krs_testing::registry::{Matcher, What};

use crate::harness::Site;

#[test]
fn t229_a_push_that_is_ended_cancels_its_uploads_and_says_what_is_at_the_edge() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let site = Site::with_three_images();
        site.bundle("a.krs.tar", &[]).ok();
        let uploads = Matcher::any().path("/blobs/uploads/");
        for method in ["PUT", "PATCH"] {
            site.edge.fail(uploads.clone().method(method), What::Delay(Duration::from_secs(600)));
        }
        let edge = site.edge.host().to_string();
        let child = site.desk.command(&["push", "a.krs.tar", &edge]).spawn().unwrap();
        let sent = |method: &str| site.edge.requests().iter().filter(|r| r.method == method).count();
        let deadline = Instant::now() + Duration::from_secs(60);
        // Several are open, and none of them ends.
        while sent("POST") < 4 {
            assert!(Instant::now() < deadline, "no upload was opened");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let outcome = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{outcome}");
        assert!(outcome.contains(&format!("0 of 3 images are at {edge}")), "{outcome}");
        assert!(outcome.contains("run the same command again"), "{outcome}");
        assert!(sent("DELETE") >= 1, "uploads are cancelled");
        site.edge.clear_faults();
        site.push("a.krs.tar", &[]).ok();
        site.arrived("team/db", "1.0");
    }
}
