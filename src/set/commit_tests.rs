// SPDX-License-Identifier: Apache-2.0
//! What is read of real checkouts, beside the commit that they are of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::git::{Checkout, FIRST_COMMIT};

use super::{Loaded, load};

const D: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn set(name: &str) -> String {
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRegistry: edge.local:5000\n  images:\n  - image: quay.io/{name}:1@{D}\n"
    )
}

/// A checkout with a committed set in `sites/a.yaml`, and a Deployment beside it.
fn checkout() -> Checkout {
    let mut checkout = Checkout::new();
    checkout.write("sites/a.yaml", set("a"));
    checkout.write("sites/deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n");
    checkout.commit("One");
    checkout
}

fn read(path: &Utf8Path) -> Loaded {
    load(&[path.to_owned()], None).unwrap()
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.sets.iter().map(|set| set.set.name.as_str()).collect()
}

fn said(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(|warning| format!("{}: {}", warning.file, warning.message)).collect()
}

fn is_dirty(loaded: &Loaded) -> bool {
    loaded.source.as_ref().unwrap().dirty
}

/// The commit is recorded, and nothing is said against it.
#[track_caller]
fn assert_clean(path: &Utf8Path, expected: &[&str]) -> Loaded {
    let loaded = read(path);
    assert_eq!(names(&loaded), expected);
    assert!(!is_dirty(&loaded), "{:?}", loaded.warnings);
    assert_eq!(loaded.warnings, []);
    loaded
}

/// The checkout is dirty, and a warning for each file says why.
#[track_caller]
fn assert_dirty(path: &Utf8Path, expected: &[&str], warnings: &[(&str, &str)]) {
    let loaded = read(path);
    assert_eq!(names(&loaded), expected, "{:?}", loaded.warnings);
    assert!(is_dirty(&loaded));
    let said = loaded.warnings.iter().map(|warning| (warning.file.as_str(), warning.message.as_str()));
    let said = said.collect::<Vec<_>>();
    assert_eq!(said.len(), warnings.len(), "{said:?}");
    for ((file, message), (expected_file, part)) in said.iter().zip(warnings) {
        assert!(file == expected_file && message.contains(part), "{file}: {message}");
    }
}

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

fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
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
    // Read once, where it is.
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

/// Makes a checkout a partial clone that lacks an object, with a program to fetch it by.
fn hostile(checkout: &Checkout, lacks: &str, mark: &Utf8Path, settings: &[(&str, &str)]) {
    let id = checkout.git(&["rev-parse", lacks]);
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
fn without_a_commit_the_reason_is_said() {
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
    assert_eq!(said(&loaded), [format!("{outside}: lies in no Git checkout, {marked}")]);
    let piped = set("p");
    let mut stdin = piped.as_bytes();
    let loaded = load(&[one.path().to_owned(), "-".into()], Some(&mut stdin)).unwrap();
    assert!(is_dirty(&loaded));
    assert_eq!(said(&loaded), [format!("-: standard input is in no commit, {marked}")]);
    // The same file by two paths is in one commit.
    let both = [one.path().to_owned(), one.path().join("sites"), one.path().join("sites/a.yaml")];
    assert!(!is_dirty(&load(&both, None).unwrap()));
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
        assert_eq!(said(&loaded), [format!("{path}: no commit is recorded: it {leaves}")]);
        let loaded = load(&[checkout.path().join("sites"), path.clone()], None).unwrap();
        assert!(is_dirty(&loaded));
        let marked = "so the bundle is marked as made from a checkout with changes";
        assert_eq!(said(&loaded), [format!("{path}: {leaves}, {marked}")]);
    }
    // Outside of a checkout, nothing was to be expected; inside, a link changes nothing.
    symlink(outside.join("b.yaml"), outside.join("link.yaml")).unwrap();
    assert_eq!(said(&read(&outside.join("link.yaml"))), [""; 0]);
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
        assert_eq!(said(&changed), ["base/sites/images.yaml: is not as in the commit"]);
        fs::remove_file(checkout.path().join("base/sites/images.yaml")).unwrap();
        let gone = load(&[checkout.path().join("sites"), checkout.path().join("base/sites")], None).unwrap();
        assert_eq!(said(&gone), ["base/sites/images.yaml: holds a set in the commit, and is not here"]);
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
