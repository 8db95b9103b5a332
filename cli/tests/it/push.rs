// SPDX-License-Identifier: Apache-2.0
//! Where a push brings the sets of a bundle, and what it says of it.

use krs_testing::registry::{Auth, Matcher, Options, Registry};
use serde_json::Value;

use crate::harness::{Outcome, Site, app, status};

/// A set with images of the source registry, each `repository:tag@digest`.
fn set(site: &Site, name: &str, destination: &str, images: &[&str]) -> String {
    let source = site.source.host();
    let images = images.iter().map(|image| format!("  - image: {source}/{image}\n")).collect::<String>();
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\n  \
         namespace: {namespace}\nspec:\n  destinationRegistry: {destination}\n  images:\n{images}"
    )
}

/// An image of the source registry, as a set names it.
fn image(site: &Site, repository: &str, tag: &str, seed: u64) -> String {
    let image = app(repository, seed);
    image.push_to(&site.source, repository, Some(tag));
    format!("{repository}:{tag}@{}", image.digest)
}

/// Writes `b.krs.tar`, signed by `k.key`, of these sets.
fn bundle(site: &mut Site, sets: &[String], more: &[&str]) -> Outcome {
    for (n, set) in sets.iter().enumerate() {
        site.checkout.write(&format!("sites/{n}.yaml"), set);
    }
    site.checkout.commit("Change the sets");
    if !site.desk.path("k.key").exists() {
        site.desk.keygen("k");
    }
    site.bundle("b.krs.tar", &[&["--key", "k.key"], more].concat())
}

fn push(site: &Site, more: &[&str]) -> Outcome {
    site.desk.krs(&[&["push", "b.krs.tar", "--public-key", "k.pub"], more].concat())
}

fn texts<'a>(json: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    json[list].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap()).collect()
}

#[test]
fn each_set_goes_to_its_own_destination_with_its_prefix() {
    let mut site = Site::new();
    let second = Registry::start(Options { auth: Auth::basic("me", "word-of-second"), ..Options::default() });
    let (first, second_host) = (site.edge.host().to_string(), second.host().to_string());
    let (web, api) = (image(&site, "team/web", "1.0", 2), image(&site, "team/api", "1.0", 3));
    let sets = [
        set(&site, "apps/web", &first, &[&web]),
        set(&site, "apps/api", &format!("{second_host}/mirror/a"), &[&api]),
        set(&site, "infra/web", &format!("{second_host}/mirror/b"), &[&web, &api]),
    ];
    bundle(&mut site, &sets, &[]).ok();
    // The user and password in base64; no other registry has an entry.
    let auth = format!(r#"{{"auths":{{"{second_host}":{{"auth":"bWU6d29yZC1vZi1zZWNvbmQ="}}}}}}"#);
    let file = site.desk.write("auth.json", auth);
    let run = |more: &[&str]| push(&site, &[&["--authfile", file.as_str()], more].concat());

    let dry = run(&["--dry-run", "--format", "json"]).ok().json();
    let (a, b) = (format!("{second_host}/mirror/a"), format!("{second_host}/mirror/b"));
    let mut expected = vec![first.as_str(), &a, &b];
    expected.sort_unstable();
    assert_eq!(texts(&dry, "destinations", "destination"), expected);
    assert_eq!(dry["targets"].as_array().unwrap().len(), 4);
    assert!(site.edge.repositories().is_empty() && second.repositories().is_empty());

    let outcome = run(&["--format", "json"]).ok();
    let json = outcome.json();
    assert_eq!(texts(&json, "destinations", "destination"), expected);
    assert_eq!(json.get("destination"), None, "there are several: {outcome}");
    assert_eq!(site.edge.digest("team/web", "1.0"), site.source.digest("team/web", "1.0"));
    assert_eq!(site.edge.digest("team/api", "1.0"), None);
    for (repository, name) in [
        ("mirror/a/team/api", "team/api"),
        ("mirror/b/team/api", "team/api"),
        ("mirror/b/team/web", "team/web"),
    ] {
        assert_eq!(second.digest(repository, "1.0"), site.source.digest(name, "1.0"), "{repository}");
    }
    assert_eq!(second.repositories().len(), 3);
    // What came to one prefix is linked to the other one.
    let of = |name: &str| {
        let mut all = json["destinations"].as_array().unwrap().iter();
        all.find(|one| one["destination"] == name).unwrap().clone()
    };
    assert!(of(&b)["blobsMounted"].as_u64().unwrap() >= 2, "{json}");
    // Credentials of one registry are not for another one.
    assert!(site.edge.requests().iter().all(|request| !request.had_authorization));
    assert!(second.requests().iter().any(|request| request.had_authorization));

    let text = run(&[]).ok().out;
    let summaries = text.lines().filter(|line| line.contains(" images at ") || line.contains(" image at "));
    assert_eq!(summaries.count(), 3, "{text}");
    assert!(text.lines().last().unwrap().starts_with("b.krs.tar: stream default, sequence "), "{text}");
}

#[test]
fn t243_a_bundle_that_nobody_vouches_for_chooses_no_registry() {
    let mut site = Site::new();
    let web = image(&site, "team/web", "1.0", 2);
    let sets = [set(&site, "apps/web", &site.edge.host().to_string(), &[&web])];
    bundle(&mut site, &sets, &[]).ok();
    site.desk.keygen("other");
    let parts = ["credentials go, and its origin", "--public-key FILE", "krs push b.krs.tar REGISTRY"];
    for more in [&[][..], &["--dry-run"]] {
        let run = |keys: &[&str]| site.desk.krs(&[&["push", "b.krs.tar"], more, keys].concat());
        run(&[]).failed(3, &parts);
        run(&["--public-key", "other.pub"]).failed(3, &["no trusted key signed the bundle"]);
        assert_eq!(site.edge.requests().len(), 0, "nothing is asked");
    }
    site.bundle("unsigned.krs.tar", &[]).ok();
    let call = ["push", "unsigned.krs.tar", "--public-key", "k.pub"];
    site.desk.krs(&call).failed(3, &["is not signed"]);
    assert_eq!(site.edge.requests().len(), 0, "nothing is asked");
    push(&site, &[]).ok();
    assert!(site.edge.digest("team/web", "1.0").is_some());
}

#[test]
fn sets_are_selected_by_their_names() {
    let mut site = Site::new();
    let edge = site.edge.host().to_string();
    let (web, api) = (image(&site, "team/web", "1.0", 2), image(&site, "team/api", "1.0", 3));
    let sets = [
        set(&site, "berlin/shop", &edge, &[&web]),
        set(&site, "munich/shop", &format!("{edge}/munich"), &[&web]),
        set(&site, "berlin/tools", "${REGISTRY}/x", &[&api]),
    ];
    bundle(&mut site, &sets, &[]).ok();
    push(&site, &[]).failed(
        2,
        &["`${REGISTRY}/x` of set berlin/tools (sites/2.yaml) holds a variable", "krs push BUNDLE REGISTRY"],
    );
    let known = "it holds berlin/shop, berlin/tools, munich/shop";
    push(&site, &["--set", "berlin/shop", "--set", "bonn/shop", "--set", "shop2"])
        .failed(2, &["the bundle holds no set shop2, bonn/shop;", known]);
    push(&site, &["--set", "a/b/c"]).failed(2, &["expected NAME or NAMESPACE/NAME"]);
    assert_eq!(site.edge.requests().len(), 0);
    push(&site, &["--set", "berlin/shop"]).ok();
    assert_eq!(site.edge.repositories(), ["team/web"]);
    push(&site, &["--set", "shop"]).ok();
    assert_eq!(site.edge.repositories(), ["munich/team/web", "team/web"]);
    // Also with a registry, and by a variable.
    let call = ["push", "b.krs.tar", &edge, "--quiet"];
    site.desk.krs_env(&[("KRS_SET", "berlin/tools,munich/shop")], &call).ok();
    assert_eq!(site.edge.repositories(), ["munich/team/web", "team/api", "team/web"]);
}

#[test]
fn another_registry_than_that_of_the_sets_is_warned_about() {
    let mut site = Site::new();
    let edge = site.edge.host().to_string();
    let web = image(&site, "team/web", "1.0", 2);
    let mut warning = |own: &str| {
        let sets = [set(&site, "apps/a", own, &[&web]), set(&site, "apps/b", "${REGISTRY}", &[&web])];
        bundle(&mut site, &sets, &["--force"]).ok();
        let outcome = push(&site, &[&edge]).ok();
        let json = push(&site, &[&edge, "--format", "json"]).ok().json();
        let text = outcome.err.lines().find(|line| line.contains("the sets are for")).map(str::to_owned);
        assert_eq!(text.is_some(), json["warnings"].to_string().contains("the sets are for"), "{json}");
        text
    };
    let other = warning("edge.example.com/mirror").unwrap();
    let expected =
        format!("the sets are for edge.example.com/mirror, and not for {edge}, which the command names");
    assert!(other.ends_with(&expected), "{other}");
    assert_eq!(warning(&edge), None, "a variable may stand for it");
}

#[test]
fn one_destination_that_fails_stops_no_other_one() {
    let mut site = Site::new();
    let broken = Registry::start(Options::default());
    broken.fail(Matcher::any().method("POST"), status(403));
    let (first, second) = (site.edge.host().to_string(), broken.host().to_string());
    let web = image(&site, "team/web", "1.0", 2);
    let sets = [set(&site, "apps/a", &first, &[&web]), set(&site, "apps/b", &second, &[&web])];
    bundle(&mut site, &sets, &[]).ok();
    let outcome = push(&site, &["--format", "json", "--retries", "0"]);
    let failed = outcome.code;
    assert!(failed == 7 && outcome.err.contains("1 of 2 destinations failed"), "{outcome}");
    let json = outcome.json();
    let destinations = json["destinations"].as_array().unwrap();
    for one in destinations {
        let is_broken = one["destination"] == second.as_str();
        assert_eq!(
            (one["error"].is_string(), &one["remembered"]),
            (is_broken, &Value::from(!is_broken)),
            "{json}"
        );
    }
    assert!(site.edge.digest("team/web", "1.0").is_some() && broken.digest("team/web", "1.0").is_none());
}

#[test]
fn two_names_of_one_image_at_one_registry_are_reported_with_their_sets() {
    let mut site = Site::new();
    let edge = site.edge.host().to_string();
    let (one, other) = (image(&site, "team/web", "1.0", 2), image(&site, "a/team/web", "1.0", 3));
    // Another prefix, and the same name all the same: an error of the bundle already.
    let sets = [set(&site, "x/one", &format!("{edge}/a"), &[&one]), set(&site, "x/two", &edge, &[&other])];
    bundle(&mut site, &sets, &[]).failed(2, &["naming collision", "sites/0.yaml"]);
    let (one, other) = (image(&site, "team/api", "1.0", 2), image(&site, "b/team/api", "1.0", 3));
    let sets = [set(&site, "x/one", "berlin.local", &[&one]), set(&site, "x/two", "munich.local", &[&other])];
    let renamed = sets[1].replace(&other, &format!("{other}\n    destinationRepository: team/api"));
    bundle(&mut site, &[sets[0].clone(), renamed], &[]).ok();
    push(&site, &[&edge]).failed(
        2,
        &[
            &format!("{edge}/team/api:1.0 is claimed"),
            "by set x/one (sites/0.yaml)",
            "by set x/two (sites/1.yaml)",
            "--set x/one",
        ],
    );
    push(&site, &[&edge, "--set", "x/two"]).ok();
    assert_eq!(site.edge.digest("team/api", "1.0"), site.source.digest("b/team/api", "1.0"));
}

#[test]
fn t246_a_name_of_different_images_at_different_sites_is_reported_when_the_bundle_is_made() {
    let mut site = Site::new();
    let (one, other) = (image(&site, "team/api", "1.0", 2), image(&site, "b/team/api", "1.0", 3));
    let shared = image(&site, "team/web", "1.0", 4);
    let renamed = |set: &str| set.replace(&other, &format!("{other}\n    destinationRepository: team/api"));
    let sets = |name: &str, first: &str, second: &str| {
        let berlin = set(&site, "x/berlin", first, &[&one, &shared]);
        [berlin, renamed(&set(&site, name, second, &[&other, &shared]))]
    };
    let (apart, without) = (
        sets("x/munich", "edge.berlin.example", "edge.munich.example"),
        sets("x/munich", "edge.berlin.example/a", "edge.berlin.example/b"),
    );
    for sets in [apart, without] {
        let destination = |set: &String| {
            set.split_once("destinationRegistry: ").unwrap().1.lines().next().unwrap().to_owned()
        };
        let outcome = bundle(&mut site, &sets, &["--force"]).ok();
        let line =
            outcome.err.lines().find(|line| line.contains("give one name to different images")).unwrap();
        for (file, name, set) in
            [("sites/0.yaml", "x/berlin", &sets[0]), ("sites/1.yaml", "x/munich", &sets[1])]
        {
            let source_position = format!("/{file}:9, for {})", destination(set));
            assert!(
                line.contains(&format!("set {name} (")) && line.contains(&source_position),
                "`{source_position}`: {line}"
            );
        }
        assert!(line.contains("team/api:1.0") && !line.contains("team/web"), "{line}");
        let json = bundle(&mut site, &sets, &["--force", "--format", "json"]).ok().json();
        assert!(json["warnings"].to_string().contains("give one name to different images"), "{json}");
    }
    // One image under one name at two sites is what everybody has.
    let sets = [set(&site, "x/a", "a.example", &[&shared]), set(&site, "x/b", "b.example", &[&shared])];
    let outcome = bundle(&mut site, &sets, &["--force"]).ok();
    assert!(!outcome.err.contains("give one name"), "{outcome}");
}

#[test]
fn t247_a_tag_that_moves_is_shown_with_both_digests() {
    let mut site = Site::new();
    let edge = site.edge.host().to_string();
    let old = image(&site, "team/web", "1.0", 2);
    let kept = image(&site, "team/api", "1.0", 3);
    let sets = [set(&site, "x/a", &edge, &[&old, &kept])];
    bundle(&mut site, &sets, &["--sequence", "1"]).ok();
    let states = |json: &Value| {
        let targets = json["targets"].as_array().unwrap().iter();
        targets.map(|target| target["tagStates"][0].clone()).collect::<Vec<_>>()
    };
    let named = |state: &str| serde_json::json!({"tag": "1.0", "state": state});
    let dry = push(&site, &["--dry-run", "--format", "json"]).ok().json();
    assert_eq!(states(&dry), [named("created"), named("created")]);
    let outcome = push(&site, &[]).ok();
    assert!(outcome.out.contains("2 tags: 2 new\n"), "{outcome}");
    let before = site.edge.digest("team/web", "1.0").unwrap();
    let (new, added) = (image(&site, "team/web", "1.0", 4), image(&site, "team/db", "1.0", 5));
    let sets = [set(&site, "x/a", &edge, &[&new, &kept, &added])];
    bundle(&mut site, &sets, &["--sequence", "2"]).ok();
    let after = new.split_once('@').unwrap().1;
    let lines = |what: &str| format!("{edge}/team/web:1.0 {what}\n  from {before}\n  to   {after}\n");
    let outcome = push(&site, &["--dry-run"]).ok();
    assert!(outcome.out.contains(&lines("would move")), "{outcome}");
    assert!(outcome.out.contains("3 tags: 1 moved, 1 new, 1 unchanged\nNothing was sent.\n"), "{outcome}");
    assert_eq!(site.edge.digest("team/web", "1.0"), Some(before), "nothing is sent");
    let mut moved = named("moved");
    moved["from"] = before.to_string().into();
    let dry = push(&site, &["--dry-run", "--format", "json"]).ok().json();
    assert_eq!(states(&dry), [moved.clone(), named("unchanged"), named("created")]);
    let outcome = push(&site, &[]).ok();
    assert!(outcome.out.contains(&lines("moved")), "{outcome}");
    let key = site.desk.krs(&["inspect", "b.krs.tar", "--public-key", "k.pub", "--format", "json"]).json();
    let key = key["signatures"][0]["key"].as_str().unwrap().to_owned();
    let last = format!("b.krs.tar: stream default, sequence 2, signed by {key}");
    assert_eq!(outcome.out.lines().last().unwrap(), last);
    let again = push(&site, &["--format", "json"]).ok().json();
    assert_eq!(states(&again), ["unchanged"; 3].map(named));
    assert_eq!(again["destinations"][0]["tagsUnchanged"], 3);
}

#[test]
fn t247_a_tag_of_which_the_registry_says_nothing_is_not_called_new() {
    let mut site = Site::new();
    let edge = site.edge.host().to_string();
    let web = image(&site, "team/web", "1.0", 2);
    let sets = [set(&site, "x/a", &edge, &[&web])];
    bundle(&mut site, &sets, &[]).ok();
    push(&site, &[]).ok();
    let name = "/manifests/1.0";
    let refuse = |method: &str| {
        site.edge.fail(Matcher::any().method(method).path(name).once(), status(403));
    };
    refuse("HEAD");
    refuse("GET");
    let outcome = push(&site, &["--dry-run"]).ok();
    assert!(outcome.out.contains("1 tag: 1 not known"), "{outcome}");
    assert!(outcome.err.contains("which tags would move at"), "{outcome}");
    site.edge.clear_faults();
    refuse("HEAD");
    refuse("GET");
    let outcome = push(&site, &[]).ok();
    assert!(outcome.out.contains("1 tag: 1 not known"), "{outcome}");
    // A registry that is not there: once, and not for each tag.
    let outcome = site.desk.krs(&["push", "b.krs.tar", "127.0.0.1:1", "--dry-run"]).ok();
    assert!(outcome.out.contains("1 not known") && outcome.err.contains("is not known"), "{outcome}");
}

#[test]
fn damage_is_named_with_its_file_and_its_position() {
    let site = Site::with_three_images();
    for (file, part, more) in
        [("a.krs.tar", "a.krs.tar", &[][..]), ("v.krs.tar", "v.krs.tar.003", &["--volume-size", "1MiB"])]
    {
        site.bundle(file, more).ok();
        let mut damaged = std::fs::read(site.desk.path(part)).unwrap();
        let at = damaged.len() - 200_000;
        damaged[at] ^= 1;
        site.desk.write(part, &damaged);
        let named = format!("{part} is damaged: blobs/sha256/");
        site.push(file, &[]).failed(4, &[&named, "(at byte ", "content is damaged: expected sha256:"]);
    }
}

#[test]
fn a_bundle_after_the_registry_and_a_slash_after_it_are_understood() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    std::fs::copy(site.desk.path("a.krs.tar"), site.desk.path("update")).unwrap();
    let edge = site.edge.host().to_string();
    for bundle in ["a.krs.tar", "./a.krs.tar", site.desk.path("a.krs.tar").as_str()] {
        let named = format!("invalid value '{bundle}' for '[REGISTRY[/PREFIX]]'");
        let outcome = site.desk.krs(&["push", &edge, bundle]);
        outcome.failed(2, &[&named, "The bundle comes first, then the registry"]);
    }
    let right = format!("help: the bundle comes first, then the registry: krs push update {edge}");
    site.desk.krs(&["push", &edge, "update"]).failed(2, &["update is a file and not a registry", &right]);
    assert!(site.edge.requests().is_empty());
    site.desk.krs(&["push", "a.krs.tar", &format!("{edge}/")]).ok();
    site.arrived("team/web", "1.0");
    site.desk.krs(&["push", "a.krs.tar", &format!("{edge}/mirror/")]).ok();
    assert!(site.edge.digest("mirror/team/web", "1.0").is_some());
}

#[test]
fn an_address_without_a_port_or_a_host_is_answered_with_one_that_works() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    for wrong in ["5000", ":5000", "localhost:5000", "0.0.0.0"] {
        site.desk
            .krs(&["serve", "a.krs.tar", "--listen", wrong])
            .failed(2, &["is not an IP address with a port; write 127.0.0.1:5000 for this machine alone"]);
    }
}
