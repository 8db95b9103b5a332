// SPDX-License-Identifier: Apache-2.0
//! What goes wrong is named by its reason, ends without a storm, and does not stop the other targets.

use std::time::Duration;

use krs_core::oci::digest::Digest;
use krs_core::registry::{Client, ClientOptions};
use krs_importer::model::task::{CopyTask, DestinationEndpoint, TaskSource};
use krs_importer::runner;
use krs_testing::distribution::{self, Distribution};
use krs_testing::image::{Image, ImageBuilder, index, signature};
use krs_testing::registry::{Auth, Matcher, Options, Registry, What};
use krs_testing::tools::require;
use serde_json::json;

use crate::harness::*;

fn image(seed: u64) -> Image {
    ImageBuilder::new("app").gzip().layer_random(20_000, seed).build()
}

#[tokio::test]
async fn t55_a_wrong_password_fails_all_targets_without_a_storm() {
    let source = Registry::start(Options::default());
    let edge = Registry::start(Options { auth: Auth::basic("me", "right"), ..Options::default() });
    let images = (0..5).map(image).collect::<Vec<_>>();
    let targets = images.iter().map(|image| {
        image.push_to(&source, "team/app", None);
        target(&source.host(), "team/app", &image.digest, "v1")
    });
    let task = online(&source, &edge, targets.collect());
    let pod = Pod::new();
    pod.mount("destination", &[("username", "me"), ("password", "hunter2")]);
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.failed), (7, 5));
    for failure in &report.failures {
        assert_eq!(failure.reason, "AuthFailed", "{failure:?}");
        assert!(
            failure.message.contains("destination") && !failure.message.contains("hunter2"),
            "{failure:?}"
        );
    }
    assert!(edge.requests().len() <= 3, "{:?}", edge.requests());
}

#[tokio::test]
async fn t55_a_private_source_is_named_where_its_credentials_are_missing() {
    let source = Registry::start(Options { auth: Auth::bearer("you", "pw"), ..Options::default() });
    let edge = Registry::start(Options::default());
    let image = image(1);
    image.push_to(&source, "team/app", None);
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
    let pod = Pod::new();
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (7, "AuthFailed"));
    assert!(report.failures[0].message.contains("source registry"), "{report:?}");
    pod.mount("source", &[("username", "you"), ("password", "pw")]);
    assert_eq!(pod.run(&task).await.1, 0);
}

#[tokio::test]
async fn t90_other_bytes_than_the_digest_says_are_a_mismatch_and_do_not_arrive() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let (bad, good) = (image(2), image(3));
    bad.push_to(&source, "team/bad", None);
    good.push_to(&source, "team/app", None);
    let layer = bad.blobs[1].0;
    source.fail(Matcher::blobs().path(layer), What::WrongBytes);
    let host = source.host();
    let targets =
        vec![target(&host, "team/bad", &bad.digest, "v1"), target(&host, "team/app", &good.digest, "v1")];
    let (report, code) = Pod::new().run(&online(&source, &edge, targets)).await;
    assert_eq!((code, report.done, report.failed), (4, 1, 1), "{report:?}");
    assert_eq!(report.failures[0].reason, "DigestMismatch", "{report:?}");
    assert!(!edge.has_blob("mirror/team/bad", &layer));
    assert_eq!(edge.digest("mirror/team/bad", "v1"), None);
    arrived(&good, &edge);
}

#[tokio::test]
async fn t53_t59_registries_that_are_away_or_read_only_are_named() {
    let image = image(4);
    let reason = async |edge: &Registry, source: &Registry| {
        let task = online(source, edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
        let (report, code) = Pod::new().run(&task).await;
        (report.failures[0].reason.clone(), code)
    };
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    assert_eq!(reason(&edge, &source).await, ("ImageNotFound".to_owned(), 6));
    image.push_to(&source, "team/app", None);
    edge.fail(Matcher::any().method("POST"), What::Status(405, Vec::new(), String::new()));
    assert_eq!(reason(&edge, &source).await, ("RegistryReadOnly".to_owned(), 1));
    edge.clear_faults();
    edge.fail(Matcher::any().method("POST"), What::Status(403, Vec::new(), String::new()));
    assert_eq!(reason(&edge, &source).await, ("AuthFailed".to_owned(), 7));
    edge.clear_faults();
    edge.fail(Matcher::any(), What::Status(503, Vec::new(), String::new()));
    assert_eq!(reason(&edge, &source).await, ("RegistryUnreachable".to_owned(), 8));
}

#[tokio::test]
async fn t208_an_edge_without_space_is_called_that_whatever_it_answers() {
    // The last blob is too large to be kept in memory.
    let large = ImageBuilder::new("app").layer_random(40 << 20, 7).build();
    let harbor = "adding 20.3 MiB of storage resource, which when updated to current usage of 300.0 GiB will exceed \
        the configured upper limit of 300.0 GiB.";
    let error = |code: &str, message: &str, detail: &str| {
        format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":{detail}}}]}}"#)
    };
    let unknown = error("UNKNOWN", "unknown error", r#"{"DriverName":"filesystem","Enclosed":{"Err":28}}"#);
    for (method, status, body, image) in [
        ("POST", 500, unknown.clone(), &image(4)),
        ("PATCH", 500, unknown, &large),
        ("PUT", 403, error("DENIED", harbor, "null"), &image(4)),
        ("PUT", 507, String::new(), &image(4)),
    ] {
        let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
        image.push_to(&source, "team/app", None);
        edge.fail(Matcher::any().method(method), What::Status(status, Vec::new(), body.clone()));
        if method == "PATCH" {
            // krs sends a blob in one request, skopeo in two.
            let to_uploads = Matcher::any().method("PUT").path("/blobs/uploads/");
            edge.fail(to_uploads, What::Status(status, Vec::new(), body));
        }
        let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
        let (report, code) = Pod::new().run(&task).await;
        let failure = &report.failures[0];
        assert_eq!((code, failure.reason.as_str()), (9, "RegistryFull"), "{method} {status}: {failure:?}");
        let words = if status == 403 { "quota exceeded" } else { "has no space left for" };
        assert!(failure.message.contains(words), "{failure:?}");
        assert!(edge.requests().len() <= 24, "{method} {status}: {}", edge.requests().len());
    }
}

#[tokio::test]
async fn t241_an_edge_that_takes_nothing_is_called_read_only_and_other_refusals_say_what_helps() {
    let error =
        |code: &str, message: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let harbor = error("DENIED", "The system is in read only mode. Any modification is prohibited.");
    let quay = error("METHOD NOT ALLOWED", "Pushes to the registry are currently disabled.");
    let cache = error("UNSUPPORTED", "The operation is unsupported.");
    // Distribution 3 takes blobs while it is read-only.
    let distribution = "Method not allowed\n".to_owned();
    let missing = error("NAME_UNKNOWN", "project mirror not found");
    let immutable = error("PRECONDITION", "configured as immutable, cannot be updated");
    let vulnerable = error("PROJECTPOLICYVIOLATION", "current image with 3 vulnerabilities");
    let (read_only, refused) = ("RegistryReadOnly", "RegistryRefused");
    for (method, path, status, body, reason, help) in [
        ("POST", "/blobs/", 403, harbor, read_only, "switch its read-only mode off"),
        ("POST", "/blobs/", 405, quay, read_only, "switch its read-only mode off"),
        ("POST", "/blobs/", 405, cache, read_only, "A pull-through cache takes nothing"),
        ("PUT", "/manifests/", 405, distribution, read_only, "switch its read-only mode off"),
        ("POST", "/blobs/", 404, missing, refused, "create the project there"),
        ("PUT", "/manifests/v1", 412, immutable, refused, "give the image another tag in the set"),
        ("PUT", "/manifests/", 412, vulnerable, refused, "which rule of the project forbids it"),
    ] {
        let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
        let image = image(4);
        image.push_to(&source, "team/app", None);
        edge.fail(Matcher::any().method(method).path(path), What::Status(status, Vec::new(), body.clone()));
        let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
        let (report, code) = Pod::new().run(&task).await;
        let failure = &report.failures[0];
        assert_eq!((code, failure.reason.as_str()), (1, reason), "{body}: {failure:?}");
        assert!(failure.message.contains(help), "{body}: {failure:?}");
    }
}

#[tokio::test]
async fn t68_a_run_that_is_killed_is_gone_on_with() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let (one, two) = (image(5), image(6));
    let both = index(&[(&one, None), (&two, Some("linux/arm64"))]);
    both.push_to(&source, "team/app", None);
    // The second image stands still at its layer until the run is dropped.
    source.fail(Matcher::blobs().path(two.blobs[1].0).once(), What::Stall(100, Duration::from_secs(60)));
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &both.digest, "v1")]);
    let pod = Pod::new();
    let paths = pod.paths();
    let observation = async {
        while !source.requests().iter().any(|r| r.path.contains(&two.blobs[1].0.to_string()))
            || edge.manifest("mirror/team/app", &one.digest.to_string()).is_none()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        done = runner::run(&task, &paths) => panic!("{done:?}"),
        () = observation => {}
    }
    assert_eq!(edge.digest("mirror/team/app", "v1"), None, "tags come last");
    edge.clear_requests();
    let (report, code) = pod.run(&task).await;
    assert_eq!(code, 0, "{report:?}");
    arrived(&both, &edge);
    let sent = two.blobs.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
    assert!(report.bytes_copied <= sent && blob_bytes(&edge) <= sent, "{report:?}");
}

#[tokio::test]
async fn a_skopeo_that_does_nothing_is_ended() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let image = image(7);
    image.push_to(&source, "team/app", None);
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
    let pod = Pod::new();
    let script = pod.path("idle");
    std::fs::write(&script, "#!/bin/sh\nexec sleep 600\n").unwrap();
    let made = std::process::Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    assert!(made.success());
    let paths = runner::Paths { skopeo: script, stall: Duration::from_millis(300), ..pod.paths() };
    // What skopeo does not do for small blobs, the runner does.
    let (report, code) = runner::run(&task, &paths).await;
    assert_eq!(code, 0, "{report:?}");
    arrived(&image, &edge);
}

#[tokio::test]
async fn t63_what_garbage_collection_takes_during_a_copy_is_copied_once_more() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let both = index(&[(&image(20), Some("linux/amd64")), (&image(21), Some("linux/arm64"))]);
    both.push_to(&source, "team/app", None);
    // The index is refused, because its images were not named by any tag yet.
    edge.fail(Matcher::any().method("PUT").path(both.digest).once(), What::CollectGarbage);
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &both.digest, "v1")]);
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.done), (0, 1), "{report:?}");
    arrived(&both, &edge);
}

#[tokio::test]
async fn t65_a_tag_that_may_not_be_changed_is_reported_and_the_others_are_set() {
    let source = Registry::start(Options::default());
    let edge = Registry::start(Options { mutable_tags: false, ..Options::default() });
    let (old, new) = (image(22), image(23));
    old.push_to(&edge, "mirror/team/app", Some("v1"));
    new.push_to(&source, "team/app", None);
    let mut wanted = target(&source.host(), "team/app", &new.digest, "v1");
    wanted.tags.push("v2".parse().unwrap());
    let (report, code) = Pod::new().run(&online(&source, &edge, vec![wanted])).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (1, "RegistryRefused"), "{report:?}");
    let message = &report.failures[0].message;
    assert!(message.contains("does not let tag mirror/team/app:v1 be changed"), "{message}");
    assert_eq!(edge.digest("mirror/team/app", "v1"), Some(old.digest));
    assert_eq!(edge.digest("mirror/team/app", "v2"), Some(new.digest));
}

#[tokio::test]
async fn t100_a_destination_that_says_forbidden_of_what_is_absent_gets_its_images() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let image = image(24);
    image.push_to(&source, "team/app", None);
    for method in ["GET", "HEAD"] {
        let first = Matcher::any().method(method).path("/manifests/").once();
        edge.fail(first, What::Status(403, Vec::new(), String::new()));
    }
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.done), (0, 1), "{report:?}");
    arrived(&image, &edge);
}

#[tokio::test]
async fn t110_a_referrer_whose_blob_is_missing_at_the_source_is_counted_and_costs_no_image() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let image = image(4);
    image.push_to(&source, "team/app", None);
    let seal = signature(&image);
    seal.push_to(&source, "team/app", None);
    assert!(source.delete_blob(&seal.blobs.last().unwrap().0));
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.failed, report.referrers_missing), (0, 0, 1), "{report:?}");
    arrived(&image, &edge);
    let repository = &task.targets[0].repository;
    assert!(edge.manifest(repository.as_str(), &seal.digest.to_string()).is_none());
}

#[tokio::test]
async fn t120_a_bundle_that_is_not_served_at_present_is_no_image_that_does_not_exist() {
    let source =
        Registry::start(Options { tls: true, auth: Auth::basic("krs", "token"), ..Options::default() });
    let edge = Registry::start(Options::default());
    let image = image(25);
    image.push_to(&source, "bundle/app", None);
    let ca = source.ca_pem().unwrap().to_owned();
    let from = TaskSource::Bundle { digest: image.digest, name: "site".to_owned(), ca };
    let wanted = target(&source.host(), "bundle/app", &image.digest, "v1");
    let task = CopyTask { destination: endpoint(&edge), source: from, targets: vec![wanted] };
    let pod = Pod::new();
    pod.mount("token", &[("token", "token")]);
    // Longer than a Job may hold its slot.
    source.fail(Matcher::any().path("/manifests/"), What::RetryAfter(503, 600));
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (8, "BundleUnavailable"), "{report:?}");
    source.clear_faults();
    // As a restart of the importer looks: the runner waits for it.
    source.fail(Matcher::any().path("/manifests/").once(), What::RetryAfter(503, 1));
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.done), (0, 1), "{report:?}");
    // A restart that takes longer: nothing listens.
    let again = target(&source.host(), "bundle/app", &image.digest, "v2");
    drop(source);
    let (report, code) = pod.run(&CopyTask { targets: vec![again], ..task }).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (8, "BundleUnavailable"), "{report:?}");
}

/// An index with an attestation, the digest of that, and of a layer that only it has.
fn attested() -> (Image, Digest, Digest) {
    let top = krs_testing::image::with_attestations(&[&image(40)]);
    let (image, attestation) = (&top.children[0], &top.children[1]);
    let own = |digest: &&Digest| image.blobs.iter().all(|(other, _)| other != *digest);
    let blob = *attestation.blobs.iter().map(|(digest, _)| digest).rev().find(own).unwrap();
    let digest = attestation.digest;
    (top, digest, blob)
}

#[tokio::test]
async fn t149_an_attestation_inside_an_index_costs_itself() {
    let (top, attestation, blob) = attested();
    let of_attestation = || Matcher::any().path(attestation);
    for (at_edge, on, what) in [
        (false, Matcher::blobs().path(blob), What::WrongBytes),
        (false, Matcher::any().path(blob), What::Status(404, Vec::new(), String::new())),
        (false, of_attestation(), What::Status(404, Vec::new(), String::new())),
        (true, of_attestation().method("PUT"), What::Status(413, Vec::new(), String::new())),
    ] {
        let source = Registry::start(Options::default());
        let edge = Registry::start(Options { sparse_indexes: true, ..Options::default() });
        top.push_to(&source, "team/app", None);
        let faulty = if at_edge { &edge } else { &source };
        faulty.fail(on.clone(), what);
        let task = online(&source, &edge, vec![target(&source.host(), "team/app", &top.digest, "v1")]);
        let (report, code) = Pod::new().run(&task).await;
        assert_eq!((code, report.done, report.referrers_missing), (0, 1, 1), "{on:?}: {report:?}");
        assert_eq!(edge.digest("mirror/team/app", "v1"), Some(top.digest), "{on:?}");
        // The next run brings it.
        faulty.clear_faults();
        let (report, code) = Pod::new().run(&task).await;
        assert_eq!((code, report.referrers_missing), (0, 0), "{report:?}");
        arrived(&top, &edge);
    }
    // It is there, and a blob of it is not, and cannot be had.
    let source = Registry::start(Options::default());
    let edge = Registry::start(Options::default());
    for registry in [&source, &edge] {
        top.push_to(registry, "team/app", None);
        top.push_to(registry, "mirror/team/app", None);
        registry.delete_blob(&blob);
    }
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &top.digest, "v1")]);
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.done, report.referrers_missing), (0, 1, 1), "{report:?}");
    // Where the edge takes no index without it, that is the failure.
    let edge = Registry::start(Options::default());
    edge.fail(of_attestation().method("PUT"), What::Status(413, Vec::new(), String::new()));
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &top.digest, "v1")]);
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (1, "SparseIndexRefused"), "{report:?}");
    assert!(report.failures[0].message.contains(&attestation.to_string()), "{report:?}");
}

/// An index with an entry of an unknown type, and the content of that.
fn with_unknown_entry() -> (Image, &'static [u8]) {
    let content = br#"{"is": "neither an index nor a manifest"}"#;
    let plain = index(&[(&image(41), Some("linux/amd64"))]);
    let mut index = serde_json::from_slice::<serde_json::Value>(&plain.manifest).unwrap();
    index["manifests"].as_array_mut().unwrap().push(serde_json::json!({
        "mediaType": "application/vnd.example.unknown", "digest": Digest::of(content), "size": content.len(),
    }));
    let manifest = serde_json::to_vec(&index).unwrap();
    (Image { digest: Digest::of(&manifest), manifest, ..plain }, content)
}

#[tokio::test]
async fn t150_distribution_2_takes_an_entry_of_an_unknown_type_and_distribution_3_is_told_how() {
    let (top, content) = with_unknown_entry();
    let source = Registry::start(Options { sparse_indexes: true, ..Options::default() });
    top.push_to(&source, "team/app", None);
    source.put_blob("team/app", content);
    for (program, taken) in [("docker-registry", true), ("registry", false)] {
        let edge = Distribution::start(&require(program), distribution::Options::default());
        let destination =
            DestinationEndpoint { registry: edge.host(), plain_http: true, insecure_skip_verify: false };
        let targets = vec![target(&source.host(), "team/app", &top.digest, "v1")];
        let task = CopyTask { destination, source: TaskSource::Registry { plain_http: true }, targets };
        let (report, code) = Pod::new().run(&task).await;
        if taken {
            assert_eq!((code, report.done, report.referrers_missing), (0, 1, 0), "{report:?}");
            let client = Client::new(ClientOptions::default()).unwrap();
            let repository = client.repository(&edge.host(), &"mirror/team/app".parse().unwrap());
            assert!(repository.has_blob(&Digest::of(content), content.len() as u64).await.unwrap());
            continue;
        }
        let [failure] = report.failures.as_slice() else { panic!("{report:?}") };
        assert_eq!(failure.reason, "SparseIndexRefused", "{report:?}");
        let child = Digest::of(content).to_string();
        for named in ["validation.manifests.indexes.platforms: none", &child] {
            assert!(failure.message.contains(named), "{named}: {report:?}");
        }
    }
}

#[tokio::test]
async fn t150_an_entry_of_an_unknown_type_is_put_as_a_manifest_where_an_edge_wants_that() {
    let (top, content) = with_unknown_entry();
    let of_any_type = || Options { unknown_types: true, ..Options::default() };
    for (as_blob, edge) in [(true, of_any_type()), (false, of_any_type()), (true, Options::default())] {
        let taken = edge.unknown_types;
        let source = Registry::start(Options { sparse_indexes: true, ..Options::default() });
        let edge = Registry::start(edge);
        top.push_to(&source, "team/app", None);
        if as_blob {
            source.put_blob("team/app", content);
        } else {
            let digest = Digest::of(content).to_string();
            source.put_manifest("team/app", &digest, "application/vnd.example.unknown", content);
        }
        let task = online(&source, &edge, vec![target(&source.host(), "team/app", &top.digest, "v1")]);
        let (report, code) = Pod::new().run(&task).await;
        assert_eq!(edge.digest("mirror/team/app", "v1").is_some(), taken, "{report:?}");
        if taken {
            assert_eq!((code, report.referrers_missing), (0, 0), "{report:?}");
            continue;
        }
        assert_eq!(report.failures[0].reason, "SparseIndexRefused", "{report:?}");
        assert!(report.failures[0].message.contains(&Digest::of(content).to_string()), "{report:?}");
    }
}

#[tokio::test]
async fn a_blob_that_is_passed_on_while_it_is_read_fails_for_the_side_that_fails() {
    let urls = json!(["https://127.0.0.1:1/layer"]);
    let image = ImageBuilder::new("app").layer_random(20_000, 3);
    let image = image.build_with(|manifest| manifest["layers"][0]["urls"] = urls);
    let layer = image.blobs.last().unwrap().0;
    for (role, reason) in
        [("the source registry", "RegistryUnreachable"), ("the destination registry", "RegistryFull")]
    {
        let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
        image.push_to(&source, "team/app", None);
        if role == "the source registry" {
            let read = Matcher::blobs().method("GET").path(layer);
            source.fail(read, What::Status(503, Vec::new(), String::new()));
        } else {
            let sent = Matcher::any().method("PUT").path("/blobs/uploads/");
            edge.fail(sent.clone(), What::Status(507, Vec::new(), String::new()));
            edge.fail(Matcher::any().method("PATCH"), What::Status(507, Vec::new(), String::new()));
        }
        let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
        let (report, _) = Pod::new().run(&task).await;
        let failure = &report.failures[0];
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.message.starts_with(role), "{failure:?}");
    }
}
