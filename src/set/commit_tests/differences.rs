// SPDX-License-Identifier: Apache-2.0
//! Where what is read differs from the commit, each difference is named.

use super::*;

#[test]
fn t104_content_that_is_not_the_commits_is_named() {
    let checkout = checkout();
    let sites = checkout.path().join("sites");
    let loaded = assert_clean(&sites, &["a"]);
    let source = loaded.source.unwrap();
    assert_eq!((source.commit.len(), source.commit_time), (40, i64::try_from(FIRST_COMMIT).unwrap()));

    // What no set comes from is not compared.
    checkout.write("sites/notes.txt", "x");
    checkout.write("sites/deployment.yaml", "kind: Deployment\n");
    checkout.write("sites/empty.yaml", "");
    checkout.write("other.yaml", set("other"));
    assert_clean(&sites, &["a"]);

    checkout.write("sites/a.yaml", set("changed"));
    checkout.write("sites/new.json", serde_json::to_string(&yaml(&set("new"))).unwrap());
    let expected = [("a.yaml", "is not as in the commit"), ("new.json", "is not in the commit")];
    assert_dirty(&sites, &["changed", "new"], &expected);
    checkout.git(&["add", "--all"]);
    assert_dirty(&sites, &["changed", "new"], &expected);
    // A file that is named is compared, too.
    assert_dirty(&sites.join("a.yaml"), &["changed"], &expected[..1]);
    checkout.write("sites/a.yaml", "kind: Other\n");
    assert_dirty(&sites, &["new"], &[("a.yaml", "holds a set in the commit, and none here"), expected[1]]);
}

#[test]
fn t104_what_the_index_hides_is_seen() {
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let checkout = checkout();
        checkout.git(&["update-index", flag, "sites/a.yaml"]);
        checkout.write("sites/a.yaml", set("changed"));
        assert_dirty(checkout.path(), &["changed"], &[("sites/a.yaml", "is not as in the commit")]);
    }
}

#[test]
fn t104_replaced_objects_do_not_stand_for_the_commit() {
    let checkout = checkout();
    let old = checkout.git(&["rev-parse", "HEAD:sites/a.yaml"]);
    checkout.write("new", set("changed"));
    let new = checkout.git(&["hash-object", "-w", "new"]);
    checkout.git(&["replace", old.trim(), new.trim()]);
    checkout.write("sites/a.yaml", set("changed"));
    assert_dirty(checkout.path(), &["changed"], &[("sites/a.yaml", "is not as in the commit")]);
}

#[test]
fn t104_an_object_with_other_content_than_its_id_says_is_no_commit() {
    for name in ["HEAD", "HEAD:sites", "HEAD:sites/a.yaml"] {
        let mut checkout = checkout();
        let object = |checkout: &Checkout| {
            let id = checkout.git(&["rev-parse", name]);
            let (folder, rest) = id.trim().split_at(2);
            checkout.path().join(".git/objects").join(folder).join(rest)
        };
        let changed = object(&checkout);
        checkout.write("sites/a.yaml", set("b"));
        checkout.commit("Two");
        let other = object(&checkout);
        checkout.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
        fs::remove_file(&changed).unwrap();
        fs::copy(other, changed).unwrap();
        // The content of a file of the commit is read where this one is another.
        checkout.write("sites/a.yaml", set("c"));
        let loaded = read(checkout.path());
        assert_eq!(loaded.source, None, "{name}");
        assert!(loaded.warnings[0].message.contains("damaged"), "{name}: {:?}", loaded.warnings);
    }
}

#[test]
fn t106_line_ends_of_git_for_windows_are_undone() {
    let mut checkout = checkout();
    checkout.write("sites/list.json", serde_json::to_string_pretty(&yaml(&set("json"))).unwrap() + "\n");
    checkout.commit("Two");
    let linux = assert_clean(checkout.path(), &["a", "json"]);
    checkout.git(&["config", "core.autocrlf", "true"]);
    fs::remove_dir_all(checkout.path().join("sites")).unwrap();
    checkout.git(&["checkout", "--quiet", "--", "."]);
    assert!(fs::read_to_string(checkout.path().join("sites/a.yaml")).unwrap().contains("\r\n"));
    let windows = assert_clean(checkout.path(), &["a", "json"]);
    assert_eq!(windows, linux, "the same sets, byte for byte");
    // A set that was committed with CRLF is read as it was committed.
    checkout.git(&["config", "core.autocrlf", "false"]);
    checkout.write("sites/a.yaml", set("a").replace('\n', "\r\n"));
    checkout.commit("Three");
    checkout.write("sites/a.yaml", set("a"));
    let loaded = assert_clean(checkout.path(), &["a", "json"]);
    assert!(loaded.sets[0].raw.windows(2).any(|pair| pair == b"\r\n"));
}

#[cfg(unix)]
#[test]
fn t104_links_and_odd_names_are_compared_as_git_has_them() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    let mut checkout = checkout();
    let odd = "sites/a \"quoted\"\nline\tand ünïcode \\ .yaml";
    checkout.write(odd, set("odd"));
    checkout.write("sites/kept.txt", set("kept"));
    let link = checkout.path().join("sites/link.yaml");
    symlink("kept.txt", &link).unwrap();
    symlink("a.yaml", checkout.path().join("sites/same.yaml")).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"sites/\xff.json");
    fs::write(checkout.path().as_std_path().join(name), "{}").unwrap();
    checkout.commit("Two");
    assert_clean(checkout.path(), &["odd", "a", "kept"]);
    fs::remove_file(&link).unwrap();
    checkout.write("sites/other.txt", set("other"));
    symlink("other.txt", &link).unwrap();
    assert_dirty(checkout.path(), &["odd", "a", "other"], &[("sites/link.yaml", "is not as in the commit")]);
    fs::remove_file(&link).unwrap();
    // As a system without links checks it out.
    checkout.write("sites/link.yaml", "kept.txt");
    assert_dirty(
        checkout.path(),
        &["odd", "a"],
        &[("sites/link.yaml", "is a symbolic link in the commit, and not here")],
    );
    fs::remove_file(&link).unwrap();
    symlink("kept.txt", &link).unwrap();
    checkout.write("sites/kept.txt", set("changed"));
    assert_dirty(
        checkout.path(),
        &["odd", "a", "changed"],
        &[("sites/link.yaml", "is not as in the commit")],
    );
}

#[test]
fn other_checkouts_and_folders_make_it_dirty() {
    let (one, two) = (checkout(), checkout());
    let loaded = load(&[one.path().to_owned(), two.path().to_owned()], None).unwrap();
    assert!(is_dirty(&loaded));
    assert!(loaded.warnings.iter().any(|warning| warning.message.contains("another Git repository")));
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("b.yaml"), set("b")).unwrap();
    let outside = Utf8PathBuf::from_path_buf(outside.path().to_owned()).unwrap();
    let loaded = load(&[outside.clone(), one.path().to_owned()], None).unwrap();
    assert!(is_dirty(&loaded));
    let marked = "so the bundle is marked as made from a checkout with changes";
    assert_eq!(messages(&loaded), [format!("{outside}: lies in no Git checkout, {marked}")]);
    let piped = set("p");
    let mut stdin = piped.as_bytes();
    let loaded = load(&[one.path().to_owned(), "-".into()], Some(&mut stdin)).unwrap();
    assert!(is_dirty(&loaded));
    assert_eq!(messages(&loaded), [format!("-: standard input is in no commit, {marked}")]);
    // The same file by two paths is in one commit.
    let both = [one.path().to_owned(), one.path().join("sites"), one.path().join("sites/a.yaml")];
    assert!(!is_dirty(&load(&both, None).unwrap()));
}
