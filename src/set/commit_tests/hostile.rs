// SPDX-License-Identifier: Apache-2.0
//! No setting of a checkout runs a program or fetches anything.

use super::*;

#[test]
fn t107_filters_and_monitors_of_the_checkout_do_not_run() {
    let checkout = checkout();
    let mark = checkout.path().join(".git/ran");
    let program = format!("touch {mark}; cat");
    // As `git lfs install --local` leaves it.
    for key in ["clean", "smudge", "process"] {
        checkout.git(&["config", &format!("filter.lfs.{key}"), &program]);
    }
    checkout.git(&["config", "core.fsmonitor", &program]);
    checkout.write(".gitattributes", "*.bin filter=lfs\n*.yaml diff=x\n");
    checkout.write("large.bin", "version https://git-lfs.github.com/spec/v1\n");
    checkout.git(&["config", "diff.x.textconv", &program]);
    checkout.git(&["config", "core.pager", &program]);
    checkout.git(&["config", "pager.cat-file", "true"]);
    checkout.git(&["-c", "filter.lfs.process=", "-c", "filter.lfs.clean=cat", "add", "--all"]);
    checkout.git(&["commit", "--quiet", "--message", "Two", "--no-verify"]);
    let _ = fs::remove_file(&mark);
    checkout.write("large.bin", "changed");
    assert_clean(checkout.path(), &["a"]);
    assert!(!mark.exists(), "a program of the checkout was run");
}

/// Makes a checkout a partial clone without one object, with a program to fetch it by.
fn hostile(checkout: &Checkout, absent: &str, mark: &Utf8Path, settings: &[(&str, &str)]) {
    let id = checkout.git(&["rev-parse", absent]);
    let (folder, rest) = id.trim().split_at(2);
    fs::remove_file(checkout.path().join(".git/objects").join(folder).join(rest)).unwrap();
    checkout.git(&["config", "core.repositoryFormatVersion", "1"]);
    checkout.git(&["config", "extensions.partialClone", "origin"]);
    checkout.git(&["config", "remote.origin.promisor", "true"]);
    checkout.git(&["config", "remote.origin.url", checkout.path().as_str()]);
    for (key, value) in settings {
        checkout.git(&["config", key, &value.replace("MARK", mark.as_str())]);
    }
}

#[test]
fn t107_a_partial_clone_fetches_nothing_and_runs_nothing() {
    let fetchers: [&[(&str, &str)]; 3] = [
        &[("remote.origin.uploadpack", "touch MARK; git-upload-pack")],
        &[("remote.origin.url", "ext::touch MARK"), ("protocol.ext.allow", "always")],
        &[("remote.origin.url", "ssh://host.invalid/x"), ("core.sshCommand", "touch MARK; false")],
    ];
    for settings in fetchers {
        // A tree that is gone: the commit cannot be compared, so it is not recorded.
        let checkout = checkout();
        let mark = checkout.path().join("ran");
        hostile(&checkout, "HEAD:sites", &mark, settings);
        let loaded = read(checkout.path());
        assert_eq!((names(&loaded), &loaded.source), (vec!["a"], &None), "{settings:?}");
        assert!(loaded.warnings[0].message.starts_with("no commit is recorded: "), "{:?}", loaded.warnings);
        assert!(!mark.exists(), "{settings:?}");
        // Without these precautions it would have run.
        let _ = std::process::Command::new("git")
            .args(["-C", checkout.path().as_str(), "cat-file", "-p", "HEAD:sites"])
            .output();
        assert!(mark.exists(), "{settings:?} is no trap");
    }
}

#[test]
fn t105_t107_a_set_whose_content_is_in_no_object_here_is_named() {
    let mut checkout = checkout();
    checkout.write("sites/b.yaml", set("b"));
    checkout.write("sites/c.yaml", set("c"));
    checkout.commit("Two");
    let mark = checkout.path().join("ran");
    hostile(&checkout, "HEAD:sites/b.yaml", &mark, &[("remote.origin.uploadpack", "touch MARK; false")]);
    // What is here as the commit has it needs no object.
    assert_clean(checkout.path(), &["a", "b", "c"]);
    fs::remove_file(checkout.path().join("sites/b.yaml")).unwrap();
    assert_dirty(checkout.path(), &["a", "c"], &[("sites/b.yaml", "neither here nor in the repository")]);
    checkout.write("sites/b.yaml", "kind: Other\n");
    assert_dirty(checkout.path(), &["a", "c"], &[("sites/b.yaml", "holds a set in the commit")]);
    assert!(!mark.exists());
}
