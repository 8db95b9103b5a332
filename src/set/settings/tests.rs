// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use camino::Utf8PathBuf;
use proptest::prelude::*;

use super::parse::parse;
use super::*;
use crate::crd::Naming;
use crate::set::load;

const FULL: &str = "\
# Of all sites.
stream: prod
audience: [berlin, hamburg]
platforms: [linux/amd64]
naming: HostInPath
require:
  digests: true
  signature: true
  clean: false
";

const SET: &str = "\
apiVersion: kuberegistrysync.io/v1alpha1
kind: EdgeImageSet
metadata: {name: a}
spec:
  destinationRegistry: edge
  images:
  - image: docker.io/nginx:1
";

fn message(text: &str) -> String {
    parse(text, "krs.yaml").unwrap_err().to_string()
}

#[test]
fn values_and_requirements_are_read_with_their_places() {
    let settings = parse(FULL, "krs.yaml").unwrap();
    let stream = settings.stream.as_ref().unwrap();
    assert_eq!((stream.value.as_str(), settings.place(stream)), ("prod", "krs.yaml:2".to_owned()));
    assert_eq!(
        settings.audience.iter().map(|site| site.value.as_str()).collect::<Vec<_>>(),
        ["berlin", "hamburg"]
    );
    assert_eq!(settings.platforms[0].value, "linux/amd64".parse().unwrap());
    assert_eq!(settings.naming.as_ref().unwrap().value, Naming::HostInPath);
    // What is false is not required.
    assert_eq!(settings.require.names(), ["digests", "signature"]);
    assert_eq!(settings.place(settings.require.signature.as_ref().unwrap()), "krs.yaml:8");
    for empty in ["", "# nothing\n", "---\n# nothing\n"] {
        let settings = parse(empty, "krs.yaml").unwrap();
        assert!(settings.stream.is_none() && settings.require == Requirements::default(), "{empty}");
    }
}

#[test]
fn t279_what_could_loosen_a_check_is_an_unknown_field() {
    for field in
        ["caFile", "ca-file", "key", "public-key", "plainHttp", "insecure-registry", "authfile", "output"]
    {
        let said = message(&format!("stream: prod\n{field}: x\n"));
        assert!(said.starts_with(&format!("krs.yaml:2:1: unknown field `{field}`")), "{said}");
        assert!(said.contains("can only make more strict"), "{said}");
    }
    let said = message(SET);
    assert!(said.starts_with("krs.yaml:1:1: unknown field `apiVersion`"), "{said}");
    assert!(said.contains("give a file with a set, or with another resource, another name"), "{said}");
    let said = message("require: {signatures: true}\n");
    assert!(
        said.starts_with("krs.yaml:1:11: unknown field `signatures`; did you mean `signature`?"),
        "{said}"
    );
}

#[test]
fn faults_are_named_with_their_places() {
    for (text, expected) in [
        ("stream: prod\nstream: prod\n", "krs.yaml:2:1: the key `stream` occurs twice"),
        ("stream: [prod]\n", "krs.yaml:1:9: "),
        ("platforms: [linux]\n", "krs.yaml:1:13: each platform must be"),
        ("platforms: [linux/arm64, linux/arm64]\n", "krs.yaml:1:26: platform is listed twice"),
        ("audience: [a, a]\n", "krs.yaml:1:15: site is listed twice"),
        ("audience: ['']\n", "krs.yaml:1:12: a site must have 1 to 253"),
        ("naming: Path\n", "krs.yaml:1:9: `Path` is not one of PathOnly, HostInPath"),
        ("require: {digests: maybe}\n", "krs.yaml:1:20: "),
        ("- stream: prod\n", "krs.yaml:1:1: expected fields"),
        ("stream: a\n---\nstream: b\n", "krs.yaml:3: has several documents"),
        ("--- \nstream: [prod]\n", "krs.yaml:2:9: "),
    ] {
        let said = message(text);
        assert!(said.starts_with(expected), "{text}: {said}");
    }
    let sites = (0..101).map(|n| format!("- s{n}\n")).collect::<String>();
    assert!(message(&format!("audience:\n{sites}")).contains("more than 100 sites"));
}

fn checkouts(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir_all(folder.path().join(file.split('/').next().unwrap()).join(".git")).unwrap();
        fs::write(path, text).unwrap();
    }
    let path = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
    (folder, path)
}

#[test]
fn only_the_file_at_the_top_of_a_checkout_counts() {
    let (_folder, path) =
        checkouts(&[("a/sites/x/krs.yaml", FULL), ("b/sites/x.yaml", ""), ("b/krs.yaml", FULL)]);
    assert_eq!(settings(&[path.join("a/sites"), "-".into(), path.join("none")]).unwrap(), None);
    for place in ["b", "b/sites", "b/sites/x.yaml"] {
        let found = settings(&[path.join(place)]).unwrap().unwrap();
        assert_eq!(found.file, path.join("b/krs.yaml"), "{place}");
    }
}

#[test]
fn a_folder_in_no_checkout_has_settings_of_its_own_and_a_file_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
    fs::write(path.join("krs.yaml"), FULL).unwrap();
    fs::write(path.join("x.yaml"), SET).unwrap();
    assert_eq!(settings(std::slice::from_ref(&path)).unwrap().unwrap().file, path.join("krs.yaml"));
    assert_eq!(settings(&[path.join("x.yaml")]).unwrap(), None);
}

#[test]
fn a_file_that_is_not_read_as_settings_is_named() {
    let (_folder, path) = checkouts(&[
        ("a/krs.yml", FULL),
        ("a/sites/x.yaml", SET),
        ("a/sites/b/krs.yaml", FULL),
        ("a/sites/krs.yaml", FULL),
        ("a/sites/c/krs.yaml", SET),
    ]);
    let warnings = |place: &str| {
        let loaded = load(&[path.join(place)], None).unwrap();
        let of_settings = loaded.warnings.iter().filter(|warning| warning.rule == "settings");
        of_settings.map(|warning| warning.file.clone()).collect::<Vec<_>>()
    };
    assert_eq!(warnings("a"), ["krs.yml", "sites/b/krs.yaml", "sites/krs.yaml"]);
    assert_eq!(warnings("a/sites"), ["b/krs.yaml", "krs.yaml", "krs.yml"]);
    assert_eq!(warnings("a/sites/x.yaml"), ["krs.yml", "sites/krs.yaml"]);
}

#[test]
fn two_checkouts_must_say_the_same() {
    let (_folder, path) = checkouts(&[
        ("a/krs.yaml", "stream: prod\n"),
        ("b/krs.yaml", "# the same\nstream: prod\n"),
        ("c/krs.yaml", "stream: test\n"),
        ("d/x.yaml", ""),
    ]);
    let read = |names: &[&str]| settings(&names.iter().map(|name| path.join(name)).collect::<Vec<_>>());
    assert!(read(&["a", "b", "d"]).unwrap().is_some());
    let error = read(&["a", "c"]).unwrap_err().to_string();
    assert!(
        error.contains(&format!("{path}/c/krs.yaml: says something else than {path}/a/krs.yaml")),
        "{error}"
    );
}

#[test]
fn t279_a_file_that_is_too_large_or_a_link_is_refused() {
    let large = format!("# {}\n", "x".repeat(64 << 10));
    let (_folder, path) = checkouts(&[("a/krs.yaml", &large), ("b/other.yaml", FULL), ("c/krs.yaml/x", "")]);
    assert!(settings(&[path.join("a")]).unwrap_err().to_string().contains("larger than 65536 bytes"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("other.yaml", path.join("b/krs.yaml")).unwrap();
        assert!(settings(&[path.join("b")]).unwrap_err().to_string().contains("is not a regular file"));
    }
    assert!(settings(&[path.join("c")]).unwrap_err().to_string().contains("is not a regular file"));
}

#[test]
fn sets_are_held_to_what_is_required() {
    let loaded = load(&["-".into()], Some(&mut SET.as_bytes())).unwrap();
    let settings = parse("naming: HostInPath\nrequire: {digests: true}\n", "krs.yaml").unwrap();
    let errors = settings.check(&loaded.sets).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("-:1: the naming of the set is PathOnly, and krs.yaml:1 requires HostInPath")
    );
    assert!(
        errors[1].starts_with("-:7:12: `docker.io/nginx:1` has no digest, and krs.yaml:2 requires one\n")
    );
    assert!(
        errors[1].ends_with("7 |   - image: docker.io/nginx:1\n  |            ^^^^^^^^^^^^^^^^^"),
        "{}",
        errors[1]
    );
    let settings = parse("naming: PathOnly\nrequire: {digests: false}\n", "krs.yaml").unwrap();
    assert!(settings.check(&loaded.sets).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_reading_panic(at in any::<prop::sample::Index>(), put in "[\\PC\n\t:{}&*|-]{0,6}") {
        let mut text = FULL.to_owned();
        let at = at.index(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(at, &put);
        }
        if let Err(errors) = parse(&text, "krs.yaml") {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
