// SPDX-License-Identifier: Apache-2.0
//! What `krs` says of the checkout that it reads, and of the sequence that comes of it.

use crate::harness::Site;

/// One image that is named by its tag alone.
fn by_tag() -> Site {
    let mut site = Site::with_three_images();
    site.name("team/web:1.0");
    site.commit();
    site
}

fn sequence(site: &Site, file: &str) -> u64 {
    site.desk.krs(&["inspect", file, "--format", "json"]).ok().json()["sequence"].as_u64().unwrap()
}

#[test]
fn t107_a_checkout_of_another_user_gives_the_same_bundle() {
    let site = Site::with_three_images();
    site.bundle("own.krs.tar", &[]).ok();
    let arguments = ["bundle", site.checkout.path().as_str(), "-o", "other.krs.tar"];
    // Git's own tests set this: every repository then seems to belong to somebody else.
    let foreign = [("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")];
    let refused = std::process::Command::new("git")
        .args(["-C", site.checkout.path().as_str(), "status"])
        .envs(foreign)
        .output()
        .unwrap();
    assert!(!refused.status.success(), "git does not mind: {refused:?}");
    let outcome = site.desk.krs_env(&foreign, &arguments).ok();
    assert!(!outcome.other_warnings().contains("warning"), "{outcome}");
    let read = |name| std::fs::read(site.desk.path(name)).unwrap();
    assert!(read("own.krs.tar") == read("other.krs.tar"));
}

#[test]
fn the_present_time_as_sequence_is_always_said() {
    let expect = |site: &Site, reason: &str| {
        let outcome = site.bundle("a.krs.tar", &["--quiet"]).ok();
        let number = sequence(site, "a.krs.tar");
        let expected = format!("the sequence is the present time ({number}) and not the commit's: {reason}");
        assert!(outcome.err.contains(&expected), "{outcome}");
        let json = site.bundle("b.krs.tar", &["--format", "json", "--dry-run"]).ok().json();
        let warnings = json["warnings"].as_array().unwrap();
        assert!(
            warnings.iter().any(|warning| warning["message"].as_str().unwrap().contains(reason)),
            "{json}"
        );
        // Who numbers bundles does not care.
        let outcome = site.bundle("c.krs.tar", &["--quiet", "--sequence", &(number + 1).to_string()]).ok();
        assert_eq!(outcome.err, "");
    };
    expect(&by_tag(), "1 image has no digest");
    let site = Site::with_three_images();
    site.checkout.write("sites/berlin.yaml", site.set() + "# changed\n");
    expect(&site, "what was read is not what the commit holds");
    let site = Site::with_three_images();
    std::fs::remove_dir_all(site.checkout.path().join(".git")).unwrap();
    expect(&site, "no commit is recorded");
}

#[test]
fn t109_a_newer_bundle_never_gets_a_lower_sequence_unnoticed() {
    let mut site = by_tag();
    site.bundle("a.krs.tar", &["--stream", "prod"]).ok();
    let now = sequence(&site, "a.krs.tar").to_string();
    // Pinned and committed: the sequence is the commit's, long before.
    let pinned = Site::with_three_images();
    site.checkout.write(
        "sites/berlin.yaml",
        pinned.set().replace(&pinned.source.host().to_string(), &site.source.host().to_string()),
    );
    let commit = site.checkout.commit("Pin");
    let time = site.checkout.git(&["show", "--no-patch", "--format=%ct", &commit]).trim().to_owned();
    let next = (now.parse::<u64>().unwrap() + 1).to_string();
    let help = format!("--sequence {next} or higher");
    let parts = [time.as_str(), now.as_str(), help.as_str()];
    let before = std::fs::read(site.desk.path("a.krs.tar")).unwrap();
    for more in
        [&["a.krs.tar"][..], &["b.krs.tar", "--reuse", "a.krs.tar"], &["b.krs.tar", "--against", "a.krs.tar"]]
    {
        let arguments = [&more[1..], &["--stream", "prod"]].concat();
        site.bundle(more[0], &arguments).failed(5, &parts);
        let dry = site.bundle(more[0], &[&arguments[..], &["--dry-run", "--quiet"]].concat()).ok();
        assert!(parts.iter().all(|part| dry.err.contains(part)), "{dry}");
    }
    assert!(std::fs::read(site.desk.path("a.krs.tar")).unwrap() == before, "it was not touched");
    assert!(!site.desk.path("b.krs.tar").exists());
    // Another stream, and a number of one's own.
    site.bundle("b.krs.tar", &["--reuse", "a.krs.tar"]).ok();
    site.bundle("a.krs.tar", &["--stream", "prod", "--sequence", &next]).ok();
    // The same number again is a matter of the content.
    let outcome = site.bundle("a.krs.tar", &["--stream", "prod", "--sequence", &next, "--quiet"]).ok();
    assert_eq!(outcome.err, "");
    site.checkout.write("sites/berlin.yaml", site.set());
    let more = ["--stream", "prod", "--sequence", next.as_str(), "--quiet"];
    let outcome = site.bundle("c.krs.tar", &[&more[..], &["--reuse", "a.krs.tar"]].concat()).ok();
    assert!(outcome.err.contains("has the same sequence"), "{outcome}");
    site.bundle("d.krs.tar", &[&more[..], &["--against", "a.krs.tar"]].concat())
        .failed(5, &["the same sequence", "--sequence"]);
}

#[test]
fn t205_the_order_of_paths_changes_nothing_and_names_tell_files_apart() {
    let site = Site::with_three_images();
    let berlin = site.set();
    site.checkout.write("sites/berlin/images.yaml", &berlin);
    site.checkout.write("sites/common/images.yaml", berlin.replace("name: ", "name: common-"));
    std::fs::remove_file(site.checkout.path().join("sites/berlin.yaml")).unwrap();
    let mut site = site;
    site.checkout.commit("Two folders");
    let (common, berlin) =
        (site.checkout.path().join("sites/common"), site.checkout.path().join("sites/berlin"));
    let bundle = |paths: &[&str], file: &str| {
        let outcome = site.desk.krs(&[&["bundle"], paths, &["-o", file, "--quiet"]].concat()).ok();
        assert_eq!(outcome.err, "");
        std::fs::read(site.desk.path(file)).unwrap()
    };
    let (common, berlin) = (common.as_str(), berlin.as_str());
    let first = bundle(&[common, berlin], "a.krs.tar");
    assert!(first == bundle(&[common, berlin], "b.krs.tar"));
    assert!(first == bundle(&[berlin, common, berlin], "c.krs.tar"));
    let json = site.desk.krs(&["inspect", "a.krs.tar", "--format", "json"]).ok().json();
    let files = json["sets"].as_array().unwrap().iter().map(|set| set["file"].as_str().unwrap());
    assert_eq!(files.collect::<Vec<_>>(), ["berlin/images.yaml", "common/images.yaml"]);
    // An error says in which of them it is, and so does the JSON.
    site.checkout.write("sites/common/images.yaml", "kind: EdgeImageSet");
    let wrong = format!("error: {common}/images.yaml:1");
    let outcome = site.desk.krs(&["validate", common, berlin]).failed(2, &[&wrong]);
    assert!(outcome.err.contains("the sets are not acceptable"), "{outcome}");
    let json = site.desk.krs(&["validate", berlin, common, "--format", "json"]).json();
    assert_eq!(json["problems"][0]["file"], format!("{common}/images.yaml"), "{json}");
}

#[test]
fn a_path_that_does_not_exist_is_called_that() {
    let desk = crate::harness::Desk::new();
    for arguments in [
        &["validate", "no-such"][..],
        &["plan", "no-such"],
        &["bundle", "no-such", "-o", "a.krs.tar"],
        &["receipt", "localhost:1", "--set", "no-such", "-o", "a.json"],
        &["diff", "localhost:1", "localhost:1", "--set", "no-such"],
    ] {
        let outcome = desk.krs(arguments).failed(2, &["error: no-such: does not exist", "help: "]);
        assert!(
            !outcome.err.contains("acceptable") && outcome.err.matches("error:").count() == 1,
            "{outcome}"
        );
    }
    desk.krs(&["validate", "no-such", "neither"]).failed(
        2,
        &["no-such: does not exist", "neither: does not exist", "the sets cannot be read: 2 errors"],
    );
    assert_eq!(desk.files(), Vec::<String>::new());
}

#[test]
fn t108_what_kustomize_would_change_is_among_the_warnings() {
    let site = Site::with_three_images();
    site.checkout.write("sites/kustomization.yaml", "resources: [berlin.yaml]\nnamePrefix: x-\n");
    let path = site.checkout.path().as_str();
    let outcome = site.desk.krs(&["validate", path]).ok();
    assert!(outcome.err.contains("/sites/kustomization.yaml: namePrefix would change"), "{outcome}");
    let json = site.desk.krs(&["validate", path, "--format", "json"]).ok().json();
    assert_eq!(json["warnings"][0]["file"], format!("{path}/sites/kustomization.yaml"));
    let json = site.desk.krs(&["plan", path, "--format", "json"]).ok().json();
    assert!(json["warnings"][0]["message"].as_str().unwrap().contains("kustomize build "), "{json}");
}

#[test]
fn t199_what_flux_and_argo_cd_would_change_is_among_the_warnings() {
    let site = Site::with_three_images();
    let flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: images}\nspec: {path: ./sites, namePrefix: x-}\n";
    let argo_cd = "---\napiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: edge}\nspec: {source: {path: sites, kustomize: {nameSuffix: -x}}}\n";
    site.checkout.write("clusters/prod.yaml", format!("{flux}{argo_cd}"));
    let sites = site.checkout.path().join("sites");
    let outcome = site.desk.krs(&["validate", sites.as_str()]).ok();
    for resource in [
        "clusters/prod.yaml:1: the Flux Kustomization images",
        "clusters/prod.yaml:6: the Argo CD Application edge",
    ] {
        assert!(
            outcome.err.contains(&format!("{resource} would change the sets of berlin.yaml")),
            "{outcome}"
        );
    }
    let json = site.desk.krs(&["plan", sites.as_str(), "--format", "json"]).ok().json();
    let warnings = json["warnings"].as_array().unwrap();
    let of = |line: u64| {
        warnings.iter().find(|warning| warning["line"] == line).unwrap()["message"].as_str().unwrap()
    };
    assert!(of(1).contains("`flux build kustomization images --path "), "{json}");
    assert!(of(6).contains("`argocd app manifests edge`"), "{json}");
}

#[test]
fn t125_what_kustomize_may_add_is_among_the_warnings() {
    let site = Site::with_three_images();
    site.checkout
        .write("a/kustomization.yaml", "resources: [https://u:SECRET@example.com/x.yaml, ../gone]\n");
    let outcome = site.desk.krs(&["validate", site.checkout.path().as_str()]).ok();
    let taken =
        "/a/kustomization.yaml: may take sets from https://***@example.com/x.yaml (krs fetches no manifests)";
    let missing = "/a/kustomization.yaml: lists ../gone, which does not exist";
    assert!(outcome.err.contains(taken) && outcome.err.contains(missing), "{outcome}");
}

#[test]
fn t233_a_misspelt_kind_or_api_version_is_an_error_with_the_right_word() {
    let site = Site::with_three_images();
    for (wrong, expected) in [
        (
            ("kind: EdgeImageSet", "kind: EdgeImageSets"),
            "kind `EdgeImageSets` is not known; did you mean EdgeImageSet?",
        ),
        (
            ("kind: EdgeImageSet", "kind: EdgeImage"),
            "kind `EdgeImage` is not known; did you mean EdgeImageSet?",
        ),
        (
            ("kind: EdgeImageSet", "kind: edgeimageset"),
            "kind `edgeimageset` is not known; did you mean EdgeImageSet?",
        ),
        (
            ("kuberegistrysync.io/v1alpha1", "kuberegistrysync.com/v1"),
            "apiVersion `kuberegistrysync.com/v1` is not supported; expected kuberegistrysync.io/v1alpha1",
        ),
    ] {
        // Beside a set that is right, so that nothing but the word tells that one is missing.
        site.checkout.write("sites/other.yaml", site.set().replace(wrong.0, wrong.1));
        let path = site.checkout.path().as_str();
        site.desk.krs(&["validate", path]).failed(2, &["sites/other.yaml:", expected]);
        site.bundle("a.krs.tar", &[]).failed(2, &[expected]);
    }
    assert_eq!(site.desk.files(), Vec::<String>::new());
}

#[test]
fn t234_sets_that_ignore_files_exclude_are_listed() {
    let site = Site::with_three_images();
    let path = site.checkout.path().as_str();
    let none = site.desk.krs(&["validate", path]).ok();
    assert!(!none.out.contains("skipped") && !none.out.contains("ignored"), "{none}");
    site.checkout.write(".gitignore", "/rendered/\n");
    site.checkout.write("rendered/kassel.yaml", site.set().replace("name: site", "name: kassel"));
    site.checkout.write("rendered/values.yaml", "a: 1\n");
    site.checkout.write("sites/.krsignore", "old-*\n");
    site.checkout.write("sites/old-bonn.yaml", site.set().replace("name: site", "name: bonn"));
    let outcome = site.desk.krs(&["validate", path]).ok();
    for expected in [
        "2 files skipped:\n",
        "/rendered/kassel.yaml: it is excluded by `/rendered/` in .gitignore\n",
        "/sites/old-bonn.yaml: it is excluded by `old-*` in sites/.krsignore\n",
        "3 YAML or JSON files ignored by .gitignore or .krsignore\n",
    ] {
        assert!(outcome.out.contains(expected), "{expected}\n{outcome}");
    }
    let json = site.desk.krs(&["validate", path, "--format", "json"]).ok().json();
    let skipped = json["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 2, "{json}");
    assert_eq!(skipped[0]["file"], format!("{path}/rendered/kassel.yaml"));
    assert_eq!(skipped[0]["message"], "is excluded by `/rendered/` in .gitignore");
    assert_eq!(json["ignoredFiles"], 3);
    let outcome = site.bundle("a.krs.tar", &["-v"]).ok();
    assert!(outcome.err.contains("/rendered/kassel.yaml was skipped: it is excluded by"), "{outcome}");
    // Very many are counted, not listed.
    for n in 0..30 {
        site.checkout.write(&format!("rendered/{n}.yaml"), site.set());
    }
    let outcome = site.desk.krs(&["validate", path]).ok();
    assert!(outcome.out.contains("  and 12 more (--format json lists them)\n"), "{outcome}");
    let json = site.desk.krs(&["validate", path, "--format", "json"]).ok().json();
    assert_eq!((json["skipped"].as_array().unwrap().len(), &json["ignoredFiles"]), (32, &33.into()));
}

#[test]
fn t234_where_no_set_is_found_it_is_reported_what_was_read_and_what_was_not() {
    let desk = crate::harness::Desk::new();
    std::fs::create_dir_all(desk.path("app/out")).unwrap();
    desk.write("app/a.yaml", "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Pod\n");
    desk.write("app/.gitignore", "out\n");
    desk.write("app/out/set.yaml", "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\n");
    for command in [&["validate", "app"][..], &["plan", "app"], &["bundle", "app", "-o", "a.krs.tar"]] {
        desk.krs(command).failed(
            2,
            &[
                "error: app: no EdgeImageSet (1 file read: 1 Deployment, 1 Pod; 1 ignored by .gitignore or .krsignore)",
                "help: krs carries what an EdgeImageSet lists. `krs collect` writes one",
                "help: out/set.yaml: holds a set and was skipped: it is excluded by `out` in .gitignore",
            ],
        );
    }
}

#[test]
fn t258_messages_name_files_by_paths_that_begin_as_the_call_does() {
    let site = Site::with_three_images();
    let desk = &site.desk;
    for folder in ["two/x", "two/y"] {
        std::fs::create_dir_all(desk.path(folder)).unwrap();
    }
    let wrong = site.set().replace("destinationRegistry", "destinationRegistri");
    desk.write("two/x/images.yaml", &wrong);
    desk.write(
        "two/y/images.yaml",
        site.set().replace("destinationRegistry: edge", "destinationRegistry: other"),
    );
    let absolute = desk.path("two/x");
    let file = format!("{absolute}/images.yaml");
    for (paths, shown) in [
        (&["two/x"][..], "two/x/images.yaml"),
        (&["two"], "two/x/images.yaml"),
        (&["./two/x/"], "./two/x/images.yaml"),
        (&["two/y", "two/x"], "two/x/images.yaml"),
        (&["two/x/images.yaml"], "two/x/images.yaml"),
        (&[absolute.as_str()], &file),
    ] {
        let outcome = desk
            .krs(&[&["validate"], paths].concat())
            .failed(2, &[&format!("error: {shown}:7:3: unknown field")]);
        assert!(desk.path(shown).exists(), "{outcome}");
        let json = desk.krs(&[&["validate", "--format", "json"], paths].concat()).json();
        assert_eq!(json["problems"][0]["file"], shown, "{json}");
    }
    let output = desk.command(&["validate", "."]).current_dir(desk.path("two")).output().unwrap();
    let outcome = String::from_utf8(output.stderr).unwrap();
    assert!(outcome.contains("error: x/images.yaml:7:3: "), "{outcome}");
    // Warnings, collisions and the table too; the bundle holds names that are the same everywhere.
    let digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    let set = site.set();
    let other = set
        .lines()
        .map(|line| line.split_once('@').map_or(line.to_owned(), |(image, _)| format!("{image}@{digest}")));
    desk.write("two/x/images.yaml", other.collect::<Vec<_>>().join("\n"));
    desk.write("two/y/images.yaml", &set);
    desk.krs(&["validate", "two"])
        .failed(2, &["error: two/y/images.yaml:9:12: naming collision", "(two/x/images.yaml:9)"]);
    desk.write(
        "two/x/images.yaml",
        set.replace("name: site", "name: other").replace("@sha256:", ":x@sha256:").replace(":1.0:x", ":1.1"),
    );
    let tagged = desk.path("two/x/images.yaml");
    let text = std::fs::read_to_string(&tagged).unwrap();
    std::fs::write(
        &tagged,
        text.lines().map(|line| line.split('@').next().unwrap()).collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let outcome = desk.krs(&["validate", "two"]).ok();
    assert!(
        outcome.err.contains("warning: two/x/images.yaml:9: ") && outcome.out.contains("two/y/images.yaml:1"),
        "{outcome}"
    );
    // And files that are left out.
    std::fs::create_dir_all(desk.path("two/old")).unwrap();
    desk.write("two/.krsignore", "old\n");
    desk.write("two/old/images.yaml", &set);
    let outcome = desk.krs(&["validate", "two"]).ok();
    assert!(outcome.out.contains("two/old/images.yaml: it is excluded by `old`"), "{outcome}");
}
