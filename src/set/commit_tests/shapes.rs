// SPDX-License-Identifier: Apache-2.0
//! Checkouts of all shapes: worktrees, links, several of them, none.

use super::*;

fn add_submodule(checkout: &Checkout, library: &Checkout) {
    checkout.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        library.path().as_str(),
        "lib",
    ]);
}

#[test]
fn t104_t105_submodules_are_compared_with_the_commit_that_is_recorded() {
    let mut library = Checkout::new();
    library.write("b.yaml", set("b"));
    library.commit("One");
    let mut checkout = checkout();
    add_submodule(&checkout, &library);
    checkout.commit("Two");
    assert_clean(checkout.path(), &["b", "a"]);
    checkout.write("lib/b.yaml", set("changed"));
    assert_dirty(checkout.path(), &["changed", "a"], &[("lib/b.yaml", "is not as in the commit")]);
    // Committed in there, and not recorded here.
    let library = checkout.path().join("lib");
    checkout.git(&["-C", library.as_str(), "commit", "--quiet", "--all", "--message", "x"]);
    assert_dirty(checkout.path(), &["changed", "a"], &[("lib/b.yaml", "is not as in the commit")]);
    // The commit that is recorded here is not the one that is checked out there, and is not there at all.
    let other = "1".repeat(40);
    let recorded = checkout.git(&["rev-parse", ":lib"]);
    checkout.git(&["update-index", "--cacheinfo", &format!("160000,{other},lib")]);
    checkout.git(&["commit", "--quiet", "--message", "Three"]);
    let absent = |id: &str| format!("is a submodule whose commit {id} is not here");
    assert_dirty(
        checkout.path(),
        &["changed", "a"],
        &[("lib", &absent(&other)), ("lib/b.yaml", "is not in the commit")],
    );
    checkout.git(&["update-index", "--cacheinfo", &format!("160000,{},lib", recorded.trim())]);
    checkout.git(&["commit", "--quiet", "--message", "Four"]);
    checkout.git(&["submodule", "--quiet", "deinit", "--force", "lib"]);
    assert_dirty(
        checkout.path(),
        &["a"],
        &[(
            "lib",
            &format!(
                "{}, so its sets were not read. Run: git submodule update --init",
                absent(recorded.trim())
            ),
        )],
    );
    assert_clean(&checkout.path().join("sites"), &["a"]);
}

#[test]
fn t104_a_repository_inside_of_the_checkout_is_not_in_its_commit() {
    let checkout = checkout();
    checkout.git(&["init", "--quiet", "inner"]);
    checkout.write("inner/b.yaml", set("b"));
    let inner = checkout.path().join("inner");
    checkout.git(&["-C", inner.as_str(), "add", "."]);
    checkout.git(&["-C", inner.as_str(), "commit", "--quiet", "--message", "x"]);
    assert_dirty(checkout.path(), &["b", "a"], &[("inner/b.yaml", "is not in the commit")]);
    assert_clean(&inner, &["b"]);
}

#[test]
fn worktrees_shallow_clones_and_sha256_are_as_good_as_others() {
    let checkout = checkout();
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = Utf8Path::from_path(elsewhere.path()).unwrap();
    let tree = elsewhere.join("tree");
    checkout.git(&["worktree", "add", "--quiet", "--detach", tree.as_str()]);
    let expected = read(checkout.path()).source;
    assert_eq!(assert_clean(&tree, &["a"]).source, expected);
    let shallow = elsewhere.join("shallow");
    let url = format!("file://{}", checkout.path());
    checkout.git(&["clone", "--quiet", "--depth", "1", &url, shallow.as_str()]);
    assert_eq!(assert_clean(&shallow, &["a"]).source, expected);

    let sha256 = elsewhere.join("sha256");
    checkout.git(&["init", "--quiet", "--object-format=sha256", sha256.as_str()]);
    fs::write(sha256.join("a.yaml"), set("a")).unwrap();
    checkout.git(&["-C", sha256.as_str(), "add", "."]);
    checkout.git(&["-C", sha256.as_str(), "commit", "--quiet", "--message", "x"]);
    assert_eq!(assert_clean(&sha256, &["a"]).source.unwrap().commit.len(), 64);
    fs::write(sha256.join("a.yaml"), set("b")).unwrap();
    assert_dirty(&sha256, &["b"], &[("a.yaml", "is not as in the commit")]);
}

#[test]
fn without_a_commit_the_reason_is_reported() {
    let checkout = Checkout::new();
    checkout.write("a.yaml", set("a"));
    let loaded = read(checkout.path());
    assert_eq!(loaded.source, None);
    assert_eq!(loaded.warnings[0].message, "no commit is recorded: there is no commit yet");
    fs::write(checkout.path().join(".git/HEAD"), "nonsense").unwrap();
    let loaded = read(checkout.path());
    assert!(loaded.warnings[0].message.contains("not a git repository"), "{:?}", loaded.warnings);
}

#[cfg(unix)]
#[test]
fn t126_a_link_that_leaves_the_checkout_is_the_reason_for_no_commit() {
    use std::os::unix::fs::symlink;
    let checkout = checkout();
    let outside = tempfile::tempdir().unwrap();
    let outside = Utf8PathBuf::from_path_buf(outside.path().canonicalize().unwrap()).unwrap();
    fs::write(outside.join("b.yaml"), set("b")).unwrap();
    let (file, folder) = (checkout.path().join("b.yaml"), checkout.path().join("more"));
    symlink(outside.join("b.yaml"), &file).unwrap();
    symlink(&outside, &folder).unwrap();
    let top = checkout.path().canonicalize_utf8().unwrap();
    for (path, is) in [
        (file.clone(), "is a symbolic link".to_owned()),
        (folder.clone(), "is a symbolic link".to_owned()),
        (folder.join("b.yaml"), format!("lies below the symbolic link {folder}")),
    ] {
        let leaves = format!("{is} that leaves the checkout {top}");
        let loaded = load(std::slice::from_ref(&path), None).unwrap();
        assert_eq!(loaded.source, None);
        assert_eq!(messages(&loaded), [format!("{path}: no commit is recorded: it {leaves}")]);
        let loaded = load(&[checkout.path().join("sites"), path.clone()], None).unwrap();
        assert!(is_dirty(&loaded));
        let marked = "so the bundle is marked as made from a checkout with changes";
        assert_eq!(messages(&loaded), [format!("{path}: {leaves}, {marked}")]);
    }
    // Outside of a checkout, nothing was to be expected; inside, a link changes nothing.
    symlink(outside.join("b.yaml"), outside.join("link.yaml")).unwrap();
    assert_eq!(messages(&read(&outside.join("link.yaml"))), [""; 0]);
    symlink(checkout.path(), outside.join("to")).unwrap();
    assert_clean(&outside.join("to/sites"), &["a"]);
}

#[test]
fn t205_names_and_commit_do_not_depend_on_the_order_or_the_machine() {
    let read = || {
        let mut checkout = Checkout::new();
        checkout.write("sites/images.yaml", set("sites"));
        checkout.write("base/sites/images.yaml", set("base"));
        checkout.commit("One");
        let (sites, base) = (checkout.path().join("sites"), checkout.path().join("base/sites"));
        let loaded = load(&[sites.clone(), base.clone()], None).unwrap();
        assert_eq!(loaded, load(&[base, sites], None).unwrap());
        assert_eq!(loaded.warnings, []);
        assert!(!is_dirty(&loaded));
        // A difference is named as the set is.
        checkout.write("base/sites/images.yaml", set("changed"));
        let changed =
            load(&[checkout.path().join("sites"), checkout.path().join("base/sites")], None).unwrap();
        assert_eq!(messages(&changed), ["base/sites/images.yaml: is not as in the commit"]);
        fs::remove_file(checkout.path().join("base/sites/images.yaml")).unwrap();
        let gone = load(&[checkout.path().join("sites"), checkout.path().join("base/sites")], None).unwrap();
        assert_eq!(messages(&gone), ["base/sites/images.yaml: holds a set in the commit, and is not here"]);
        loaded.sets.into_iter().map(|set| set.file).collect::<Vec<_>>()
    };
    let names = read();
    assert_eq!(names, ["base/sites/images.yaml", "sites/images.yaml"]);
    assert_eq!(names, read(), "in a checkout of another name");
}

#[test]
fn t205_a_repository_inside_of_what_is_read_is_read_with_it_in_any_order() {
    let checkout = checkout();
    let inner = checkout.path().join("sites/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("b.yaml"), set("b")).unwrap();
    assert!(
        std::process::Command::new("git").args(["init", "-q", inner.as_str()]).status().unwrap().success()
    );
    let outer = checkout.path().join("sites");
    let all = read(&outer);
    assert_eq!(load(&[inner.clone(), outer.clone()], None).unwrap(), all);
    assert_eq!(load(&[outer, inner], None).unwrap(), all);
}
