// SPDX-License-Identifier: Apache-2.0
//! Which files are read, what they are called, and what is skipped.

use super::*;

#[test]
fn t85_a_checkout_is_read_in_order_and_without_what_it_ignores() {
    let a = set("a", &[&nginx()]);
    let b = set("b", &[&nginx()]);
    let loaded = load_files(&[
        ("z.yaml", &format!("# head\n---\n{a}---\nkind: Secret\ndata: {{x: ]}}\n---\n{b}")),
        ("m/one.yml", &set("c", &["quay.io/a/b:1"])),
        ("m/notes.txt", &a),
        (".gitignore", "out/\n"),
        ("out/x.yaml", &a),
        (".krsignore", "old*.yaml\n"),
        ("old-1.yaml", "kind: EdgeImageSet ]"),
        (".hidden/x.yaml", &a),
        ("other.yaml", "kind: Deployment # for the EdgeImageSet\n"),
    ])
    .unwrap();
    assert_eq!(locations(&loaded), [("m/one.yml", 1, "c"), ("z.yaml", 3, "a"), ("z.yaml", 15, "b")]);
    assert_eq!(loaded.sets[1].raw, a.as_bytes());
    let skipped = loaded.skipped.iter().map(|skipped| format!("{} {}", skipped.file, skipped.reason));
    assert_eq!(
        skipped.collect::<Vec<_>>(),
        [
            ".hidden/x.yaml is hidden (a part of its path begins with a dot)",
            "old-1.yaml is excluded by `old*.yaml` in .krsignore",
            "out/x.yaml is excluded by `out/` in .gitignore",
        ]
    );
    assert_eq!(loaded.ignored_files, 2);
    let locations = loaded.warnings.iter().map(|warning| (warning.file.as_str(), warning.line));
    assert_eq!(locations.collect::<Vec<_>>(), [(".hidden/x.yaml", 0), ("m/one.yml", 8)]);
    assert_eq!(loaded.source, None);
}

#[test]
fn if_no_set_is_found_the_message_tells_what_is_there_instead() {
    let error = load_files(&[
        ("a.yaml", "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Pod\n"),
        ("b.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}"),
        (".gitignore", "out\n"),
        ("out/c.yaml", ""),
        (".hidden/d.yaml", &set("d", &[&nginx()])),
    ])
    .unwrap_err();
    let [error] = error.0.as_slice() else { panic!("{error}") };
    assert_eq!(
        error.message,
        "no EdgeImageSet (3 files read: 2 Pod, 1 Deployment, 1 EdgeImageSet; 1 ignored by .gitignore or .krsignore)"
    );
    let help = error.help.as_deref().unwrap();
    assert!(help.contains("krs collect"), "{help}");
    assert!(help.contains(".hidden/d.yaml: holds a set and was skipped: it is hidden"), "{help}");
}

#[test]
fn t85_large_files_are_refused_only_if_they_can_hold_a_set() {
    let (folder, path) = folder(&[("set.yaml", &set("a", &[&nginx()]))]);
    let large = |name: &str, tail: &[u8]| {
        let mut content = vec![b'#'; 33 << 20];
        content.extend_from_slice(tail);
        fs::write(folder.path().join(name), content).unwrap();
    };
    large("large.yaml", b"\nkind: Other\n");
    assert_eq!(load(std::slice::from_ref(&path), None).unwrap().sets.len(), 1);
    large("large.yaml", b"\nkind: EdgeImageSet\n");
    let error = load(&[path], None).unwrap_err().to_string();
    assert!(error.starts_with("large.yaml: mentions EdgeImageSet"), "{error}");
}

#[cfg(unix)]
#[test]
fn t85_links_are_followed_only_below_the_root() {
    use std::os::unix::fs::symlink;
    let text = set("a", &[&nginx()]);
    let (folder, path) = folder(&[("in/real.yaml", &text), ("out/x.yaml", &text), ("in/kept.txt", &text)]);
    let root = folder.path().join("in");
    symlink("real.yaml", root.join("again.yaml")).unwrap();
    symlink("kept.txt", root.join("only.yaml")).unwrap();
    symlink(".", root.join("loop")).unwrap();
    symlink("/etc/hostname", root.join("harmless")).unwrap();
    let loaded = load(&[path.join("in")], None).unwrap();
    assert_eq!(locations(&loaded), [("only.yaml", 1, "a"), ("real.yaml", 1, "a")]);
    symlink("../out", root.join("up")).unwrap();
    symlink("../out/x.yaml", root.join("up.yaml")).unwrap();
    symlink("gone", root.join("gone.yaml")).unwrap();
    let errors = load(&[path.join("in")], None).unwrap_err().0;
    let messages = errors.iter().map(|error| format!("{} {}", error.file, error.message)).collect::<Vec<_>>();
    assert_eq!(
        messages,
        [
            "gone.yaml is a symbolic link to a file that does not exist",
            "up is a symbolic link that leaves the folder that is read",
            "up.yaml is a symbolic link that leaves the folder that is read",
        ]
    );
}

#[test]
fn files_and_standard_input_are_read_and_nothing_is_read_twice() {
    let text = set("a", &[&nginx()]);
    let (_folder, path) = folder(&[("a.yaml", &text), ("b.txt", &set("b", &[&nginx()]))]);
    let mut stdin = text.as_bytes();
    let paths = [path.join("b.txt"), path.clone(), path.join("a.yaml"), Utf8PathBuf::from("-")];
    let loaded = load(&paths, Some(&mut stdin)).unwrap();
    assert_eq!(locations(&loaded), [("-", 1, "a"), ("a.yaml", 1, "a"), ("b.txt", 1, "b")]);
    let missing = load(&[path.join("none")], None).unwrap_err().to_string();
    assert!(missing.contains("none: does not exist"), "{missing}");
    assert!(load(&[Utf8PathBuf::from("-")], None).is_err());
    let empty = load_files(&[("x.yaml", "a: 1\n")]).unwrap_err().to_string();
    assert!(empty.contains("no EdgeImageSet (1 file read)"), "{empty}");
}

/// Texts of a set whose image has no digest, and of one that does not read.
fn by_tag(name: &str) -> String {
    set(name, &["quay.io/a/b:1"])
}

fn load_below(root: &camino::Utf8Path, paths: &[&str]) -> Result<LoadedSets, SetErrors> {
    load(&paths.iter().map(|path| root.join(path)).collect::<Vec<_>>(), None)
}

#[test]
fn t205_files_of_several_paths_have_names_of_their_own() {
    let (_folder, root) = folder(&[
        ("sites/common/images.yaml", &by_tag("common")),
        ("sites/berlin/images.yaml", &by_tag("berlin")),
        ("sites/paris/images.yaml", &by_tag("paris").replace("images:", "imges:")),
        ("sites/paris/hidden/x.yaml", "kind: EdgeImageSet"),
        ("sites/rome/images.yaml", &by_tag("rome").replace("images:", "imges:")),
    ]);
    let both = load_below(&root, &["sites/common", "sites/berlin"]).unwrap();
    assert_eq!(locations(&both), [("berlin/images.yaml", 1, "berlin"), ("common/images.yaml", 1, "common")]);
    let warned = both.warnings.iter().map(|warning| warning.file.as_str()).collect::<Vec<_>>();
    assert_eq!(warned, ["berlin/images.yaml", "common/images.yaml"], "one for each file");
    assert_eq!(both, load_below(&root, &["sites/berlin", "sites/common"]).unwrap());
    let errors = |paths: &[&str]| {
        let SetErrors(errors) = load_below(&root, paths).unwrap_err();
        errors.into_iter().map(|error| error.to_string()).collect::<Vec<_>>()
    };
    let wrong = errors(&["sites/rome", "sites/paris"]);
    assert!(wrong.iter().any(|error| error.starts_with("paris/images.yaml:7:3:")), "{wrong:?}");
    assert!(wrong.iter().any(|error| error.starts_with("rome/images.yaml:7:3:")), "{wrong:?}");
    assert_eq!(wrong, errors(&["sites/paris", "sites/rome"]));
    // Files beside each other keep their names; a folder and a file do not meet.
    let files = load_below(&root, &["sites/berlin/images.yaml", "sites/common"]).unwrap();
    assert_eq!(files, both);
}

#[test]
fn t205_what_is_named_twice_is_read_once() {
    let (_folder, root) = folder(&[
        ("sites/berlin/images.yaml", &by_tag("berlin")),
        ("sites/common/images.yaml", &by_tag("common")),
        ("sites/.drafts/images.yaml", &by_tag("draft")),
    ]);
    std::os::unix::fs::symlink("../common/images.yaml", root.join("sites/berlin/link.yaml")).unwrap();
    let all = load_below(&root, &["sites"]).unwrap();
    assert_eq!(locations(&all), [("berlin/images.yaml", 1, "berlin"), ("common/images.yaml", 1, "common")]);
    for paths in [
        &["sites", "sites/."][..],
        &["sites", "sites/berlin"],
        &["sites/berlin", "sites"],
        &["sites/berlin/images.yaml", "sites", "sites/berlin/link.yaml"],
    ] {
        assert_eq!(load_below(&root, paths).unwrap(), all, "{paths:?}");
    }
    // The name of a file comes before that of a link to it, also where the link is found first.
    assert_eq!(load_below(&root, &["sites/berlin", "sites/common"]).unwrap().sets, all.sets);
    // Alone, the folder has a link that leaves it.
    assert!(load_below(&root, &["sites/berlin"]).is_err());
    // What is hidden below one path and not below another is read.
    let more = load_below(&root, &["sites", "sites/.drafts"]).unwrap();
    assert_eq!(locations(&more)[0], (".drafts/images.yaml", 1, "draft"));
    assert_eq!(more, load_below(&root, &["sites/.drafts", "sites"]).unwrap());
    // Advice and errors do not depend on the order either.
    fs::create_dir(root.join("sites/berlin/.old")).unwrap();
    fs::write(root.join("sites/berlin/.old/a.yaml"), by_tag("old")).unwrap();
    let skipped = load_below(&root, &["sites/.", "sites/berlin"]).unwrap();
    assert_eq!(skipped.skipped.len(), 2);
    assert_eq!(skipped, load_below(&root, &["sites/berlin", "sites/."]).unwrap());
    assert_eq!(load_below(&root, &["no", "none"]), load_below(&root, &["none", "no", "none"]));
}
