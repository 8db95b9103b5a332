// SPDX-License-Identifier: Apache-2.0
//! What of the commit is not read is named: not checked out, ignored, not here.

use super::*;

#[test]
fn t105_sets_that_are_not_checked_out_are_named() {
    let mut checkout = checkout();
    checkout.write("other/b.yaml", set("b"));
    checkout.write("other/c.json", serde_json::to_string_pretty(&yaml(&set("c"))).unwrap());
    checkout.write("other/d.yaml", "kind: Secret\n");
    checkout.commit("Two");
    checkout.git(&["sparse-checkout", "set", "sites"]);
    assert!(!checkout.path().join("other").exists());
    let gone = "holds a set in the commit, and is not here";
    assert_dirty(checkout.path(), &["a"], &[("other/b.yaml", gone), ("other/c.json", gone)]);
    assert_clean(&checkout.path().join("sites"), &["a"]);
}

#[cfg(unix)]
#[test]
fn t105_a_folder_that_became_a_link_is_not_the_one_of_the_commit() {
    let mut checkout = checkout();
    checkout.write("other/b.yaml", set("b"));
    checkout.commit("Two");
    fs::rename(checkout.path().join("other"), checkout.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("moved", checkout.path().join("other")).unwrap();
    // Read once, if it is.
    assert_dirty(
        checkout.path(),
        &["b", "a"],
        &[
            ("moved/b.yaml", "is not in the commit"),
            ("other/b.yaml", "holds a set in the commit, and is not here"),
        ],
    );
}

#[test]
fn t105_ignore_files_exclude_only_what_the_commit_excludes() {
    let mut checkout = checkout();
    checkout.write("sites/b.yaml", set("b"));
    checkout.write("sites/old/c.yaml", set("c"));
    checkout.write("sites/.krsignore", "old/\n");
    checkout.commit("Two");
    assert_clean(checkout.path(), &["a", "b"]);
    assert_clean(&checkout.path().join("sites"), &["a", "b"]);
    // Git tracks them, so its ignore files do not count.
    checkout.write(".git/info/exclude", "a.yaml\n");
    checkout.write(".gitignore", "b.yaml\n");
    assert_clean(checkout.path(), &["a", "b"]);
    checkout.write("sites/.krsignore", "old/\nb.yaml\n");
    let untold = "excluded by a .krsignore that is not in the commit";
    assert_dirty(checkout.path(), &["a"], &[("sites/b.yaml", untold)]);
    fs::remove_file(checkout.path().join("sites/.krsignore")).unwrap();
    assert_dirty(
        checkout.path(),
        &["a", "b", "c"],
        &[("sites/old/c.yaml", "is excluded by a .krsignore of the commit")],
    );
    checkout.write(".krsignore", "sites/a.yaml\n");
    checkout.write("sites/.krsignore", "old/\n");
    assert_dirty(&checkout.path().join("sites"), &["b"], &[("a.yaml", untold)]);
}

#[test]
fn t105_files_that_were_added_in_spite_of_gitignore_are_read() {
    let mut checkout = checkout();
    checkout.write(".gitignore", "rendered/\n");
    checkout.write("rendered/b.yaml", set("b"));
    checkout.write("rendered/untracked.yaml", set("untracked"));
    checkout.git(&["add", "--force", "rendered/b.yaml"]);
    checkout.commit("Two");
    assert_clean(checkout.path(), &["b", "a"]);
    checkout.write("rendered/b.yaml", set("changed"));
    assert_dirty(checkout.path(), &["changed", "a"], &[("rendered/b.yaml", "is not as in the commit")]);
}

#[test]
fn t105_what_only_looks_like_a_patch_here_is_named() {
    let mut checkout = checkout();
    checkout.write("sites/kustomization.yaml", "resources: [a.yaml]\n");
    checkout.write("chart/templates/b.yaml", set("b"));
    checkout.commit("Two");
    assert_clean(checkout.path(), &["b", "a"]);
    checkout.write("sites/kustomization.yaml", "patches: [{path: a.yaml}]\n");
    checkout.write("chart/Chart.yaml", "name: chart\n");
    let loaded = load(&[checkout.path().to_owned(), checkout.path().join("sites/a.yaml")], None).unwrap();
    let warnings = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect::<Vec<_>>();
    let because = |name: &str| format!("was skipped because of a {name} that is not as in the commit");
    assert!(warnings.contains(&because("Chart.yaml").as_str()), "{warnings:?}");
    assert!(is_dirty(&loaded));
    // And the other way round.
    checkout.commit("Three");
    checkout.write("sites/kustomization.yaml", "resources: [a.yaml]\n");
    fs::remove_file(checkout.path().join("chart/Chart.yaml")).unwrap();
    assert_dirty(
        checkout.path(),
        &["b", "a"],
        &[
            ("chart/templates/b.yaml", "is a template of a Helm chart in the commit"),
            ("sites/a.yaml", "is a patch in the commit, by sites/kustomization.yaml"),
        ],
    );
}
