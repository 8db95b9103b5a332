// SPDX-License-Identifier: Apache-2.0
//! What the API server takes and refuses, up to the largest set.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use krs_core::crd::message;
use serde_json::{Value, json};

use crate::edge::edges;
use crate::harness::{apply, condition, get, refusal, try_run, wait_for, wait_not_ready};
use crate::site::Site;
use crate::source::{Ci, namespace, reference, registry, set, small_image};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const EDGE: &str = "edge.example:5000";

#[test]
fn e0_a_bad_set_is_refused_and_the_message_says_what_is_wrong() {
    let _site = Site::new(&[&Ci::new().public_key()], &json!({}));
    namespace("e0");
    let good = format!("docker.io/library/nginx:1@{DIGEST}");
    let one = |image: &str| set("e0", "bad", EDGE, &[image.to_owned()], &json!({}));
    let many = (0..1001).map(|n| format!("docker.io/a/b{n}:1")).collect::<Vec<_>>();
    let both = json!({"destinationTLS": {"caSecretName": "a", "caConfigMapName": "b"}});
    let bad = [
        (set("e0", "bad", "https://edge.example", from_ref(&good), &json!({})), message::DESTINATION_SCHEME),
        (one(&format!("library/nginx:1@{DIGEST}")), message::IMAGE_REGISTRY),
        (one("docker.io/library/nginx:1@sha256:abc"), message::IMAGE_DIGEST),
        (one("docker.io/library/nginx"), message::IMAGE_BARE),
        (one(&format!("https://{good}")), message::IMAGE_SCHEME),
        (one("docker.io/library/${NAME}:1"), message::IMAGE_VARIABLE),
        (set("e0", "bad", EDGE, &[good.clone(), good.clone()], &json!({})), "uplicate"),
        (set("e0", "bad", EDGE, &[], &json!({})), "spec.images"),
        (set("e0", "bad", EDGE, &many, &json!({})), "1000"),
        (set("e0", "bad", EDGE, from_ref(&good), &both), message::ONE_CA),
        (set("e0", "bad", EDGE, &[good], &json!({"resyncInterval": "1s"})), message::INTERVAL),
    ];
    for (set, expected) in bad {
        let output = refusal(&set);
        assert!(output.contains(expected), "expected `{expected}`, got: {output}");
    }
}

#[test]
fn e0_a_destination_that_the_site_does_not_allow_stalls_its_set() {
    let _site = Site::new(&[&Ci::new().public_key()], &json!({}));
    namespace("e0-not-allowed");
    let image = format!("docker.io/library/nginx:1@{DIGEST}");
    apply(&set("e0-not-allowed", "elsewhere", EDGE, &[image], &json!({})));
    wait_not_ready("e0-not-allowed", "elsewhere", "DestinationNotAllowed");
    let set = get("edgeimagesets", "e0-not-allowed", "elsewhere").unwrap();
    assert_eq!(condition(&set, "Stalled").unwrap().1, "DestinationNotAllowed");
}

#[test]
fn e11_a_thousand_images_of_320_characters_are_accepted_and_all_are_in_the_status() {
    const LENGTH: usize = 320;
    let source = registry(None, false);
    let mut references = Vec::new();
    for n in 0..25 {
        let image = small_image(&format!("large-{n}"), 10_000);
        let tag = |tag: usize| format!("{tag:0>128}");
        let rest = reference(&source, "", &tag(0), &image).len();
        let repository = format!("{:x<1$}", format!("large/{n:02}"), LENGTH - rest);
        for number in 0..40 {
            image.push_to(&source, &repository, Some(&tag(number)));
            references.push(reference(&source, &repository, &tag(number), &image));
        }
    }
    assert_eq!(references.len(), 1000);
    assert!(references.iter().all(|reference| reference.len() == LENGTH));
    let (access, _) = edges().open.access("e11");
    let large = set("e11", "large", edges().open.host().as_str(), &references, &access);
    let mut ci = Ci::new();
    ci.commit(from_ref(&large));
    let bundle = ci.bundle("e11", "e11", 1, &source, &[]);
    drop(source);
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("e11");
    let start = Instant::now();
    apply(&large);
    println!("1000 images of {LENGTH} characters: admitted in {:?}, kubectl included", start.elapsed());
    wait_not_ready("e11", "large", "WaitingForBundle");
    site.insert(&bundle);
    let done = wait_for("the large set is Ready", Duration::from_secs(300), || {
        let set = get("edgeimagesets", "e11", "large")?;
        (condition(&set, "Ready")?.0 == "True").then_some(set)
    });
    println!("ready after {:?}; the status has {} bytes", start.elapsed(), done["status"].to_string().len());
    assert_eq!(done["status"]["synchronizedImages"], json!(references), "all, in the order of the spec");
    assert_eq!(done["status"]["images"]["present"], Value::from(1000));
}

/// The rules of `krs validate` are compared with these answers without a cluster; here it is seen that a real API server
/// still gives them (ADR 10).
#[test]
fn e12_the_api_server_answers_as_recorded() {
    let _site = Site::new(&[&Ci::new().public_key()], &json!({}));
    namespace("e12");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/admission.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    let mut set = set("e12", "case", EDGE, &["docker.io/library/nginx:1".to_owned()], &json!({}));
    let named = cases.iter().enumerate().map(|(number, case)| {
        set["metadata"]["name"] = json!(format!("case-{number}"));
        set["spec"] = case["spec"].clone();
        set.clone()
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": named.collect::<Vec<_>>()});
    // Without the checks of kubectl, which would refuse all of them for the type of one.
    let arguments = ["create", "--dry-run=server", "--validate=ignore", "--output=name", "-f", "-"];
    let output = try_run("kubectl", &arguments, Some(&list.to_string()));
    let accepted = String::from_utf8_lossy(&output.stdout).into_owned();
    let refused = String::from_utf8_lossy(&output.stderr).into_owned();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("case-{number}");
        let causes = case["refused"].as_array().unwrap();
        let messages = causes.iter().map(|cause| cause["message"].as_str().unwrap()).collect::<Vec<_>>();
        if messages.iter().any(|message| message.starts_with("unknown field")) {
            let mut one = list["items"][number].clone();
            one["metadata"]["name"] = json!("unknown");
            let message = refusal(&one);
            assert!(messages.iter().all(|message| message.contains(message)), "{case}: {message}");
            continue;
        }
        let is_accepted = accepted.lines().any(|line| line.ends_with(&format!("/{name}")));
        assert_eq!(is_accepted, messages.is_empty(), "{case}\n{refused}");
        let message = refused.lines().filter(|line| line.contains(&format!("\"{name}\" is invalid")));
        let message = message.collect::<String>();
        assert!(messages.iter().all(|message| message.contains(message)), "{case}: {message}");
    }
}
