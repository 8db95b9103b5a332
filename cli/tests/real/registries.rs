// SPDX-License-Identifier: Apache-2.0
//! The way between registries that people run.

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Selector;
use krs_testing::corpus::Corpus;
use krs_testing::distribution::{Distribution, Options};
use krs_testing::image::{Image, ImageBuilder, index};
use krs_testing::registry::{self, Registry};
use krs_testing::tools::require;
use serde_json::{Value, json};

use crate::harness::{Workspace, checkout, client, distribution3, fill, set_of};

/// Asks `registry` for every image by tag: the digest must be Git's.
fn digests_are_equal(corpus: &Corpus, registry: &Distribution) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client(registry);
        for image in &corpus.images {
            let repository = client.repository(&registry.host(), &image.name.parse().unwrap());
            let tag = Selector::Tag(image.tag.parse().unwrap());
            let manifest = repository.manifest(&tag).await.unwrap();
            assert_eq!(
                (manifest.digest, &manifest.media_type),
                (image.digest, &image.media_type),
                "{}",
                image.note
            );
        }
    });
}

#[test]
fn images_go_from_a_private_registry_with_tls_to_an_old_registry_without() {
    let workspace = Workspace::new();
    let private = Options { password: true, tls: true, ..Options::default() };
    let source = Distribution::start(&require("registry"), private);
    let corpus = fill(&source);
    let checkout = checkout(&corpus, &source.host());
    let auth = workspace.auth_file(&[&source.host()]);
    let ca = source.ca_file().unwrap();
    let bundle = |name: &str| {
        workspace.krs(&[
            "bundle",
            checkout.path().as_str(),
            "-o",
            name,
            "--authfile",
            auth.as_str(),
            "--ca-file",
            ca.as_str(),
        ])
    };
    bundle("one.krs.tar");
    bundle("two.krs.tar");
    let read = |name: &str| std::fs::read(workspace.path().join(name)).unwrap();
    assert!(read("one.krs.tar") == read("two.krs.tar"), "T-89: the same commit gives the same bytes");
    drop(source);

    workspace.krs(&["verify", "one.krs.tar"]);
    let edge = Distribution::start(&require("docker-registry"), Options::default());
    let host = edge.host().to_string();
    workspace.krs(&["push", "one.krs.tar", &host, "--plain-http", &host]);
    digests_are_equal(&corpus, &edge);
    let again = workspace.krs(&["push", "one.krs.tar", &host, "--plain-http", &host, "--format", "json"]);
    let again = serde_json::from_str::<serde_json::Value>(&again).unwrap();
    assert_eq!(
        again.pointer("/blobsSent").or_else(|| again.pointer("/blobs/sent")),
        Some(&0.into()),
        "{again}"
    );
}

#[test]
fn images_go_from_an_old_registry_to_a_private_one_with_tls() {
    let workspace = Workspace::new();
    let source = Distribution::start(&require("docker-registry"), Options::default());
    let corpus = fill(&source);
    let checkout = checkout(&corpus, &source.host());
    workspace.krs(&["bundle", checkout.path().as_str(), "-o", "one.krs.tar"]);
    let private = Options { password: true, tls: true, ..Options::default() };
    let edge = Distribution::start(&require("registry"), private);
    let (auth, ca) = (workspace.auth_file(&[&edge.host()]), edge.ca_file().unwrap());
    let host = edge.host().to_string();
    workspace.krs(&["push", "one.krs.tar", &host, "--authfile", auth.as_str(), "--ca-file", ca.as_str()]);
    digests_are_equal(&corpus, &edge);
}

#[test]
fn t62_what_was_pushed_survives_the_garbage_collection_of_untagged_images() {
    let workspace = Workspace::new();
    let source = distribution3();
    let corpus = fill(&source);
    // Without tags in the set, every image gets a tag of its own.
    let mut checkout = krs_testing::git::Checkout::new();
    let set = corpus.set(&source.host());
    let untagged = corpus
        .images
        .iter()
        .fold(set, |set, i| set.replace(&format!(":{}@{}", i.tag, i.digest), &format!("@{}", i.digest)));
    checkout.write("corpus.yaml", untagged);
    checkout.commit("Without tags");
    workspace.krs(&["bundle", checkout.path().as_str(), "-o", "one.krs.tar"]);
    let edge = distribution3();
    let host = edge.host().to_string();
    workspace.krs(&["push", "one.krs.tar", &host]);
    let config = edge.storage().parent().unwrap().join("config.yml");
    workspace.tool("registry", &["garbage-collect", "--delete-untagged", config.as_str()]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for image in &corpus.images {
            let repository = client(&edge).repository(&edge.host(), &image.name.parse().unwrap());
            let found = repository.head_manifest(&Selector::Digest(image.digest)).await.unwrap();
            assert!(found.is_some(), "{} {} was collected", image.name, image.note);
        }
    });
}

#[test]
fn t150_an_entry_of_an_unknown_type_is_taken_by_distribution_2_and_distribution_3_is_told_how() {
    let content = br#"{"is": "neither an index nor a manifest"}"#;
    let plain = index(&[(&ImageBuilder::new("app").layer_random(3000, 1).build(), Some("linux/amd64"))]);
    let mut manifest = serde_json::from_slice::<Value>(&plain.manifest).unwrap();
    manifest["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": "application/vnd.example.unknown", "digest": Digest::of(content), "size": content.len(),
    }));
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let image = Image { digest: Digest::of(&manifest), manifest, ..plain };
    let source = Registry::start(registry::Options { sparse_indexes: true, ..registry::Options::default() });
    image.push_to(&source, "team/app", Some("1.0"));
    source.put_blob("team/app", content);
    let workspace = Workspace::new();
    let set = set_of(&source.host(), &[("team/app:1.0", &image)]);
    std::fs::write(workspace.path().join("set.yaml"), set).unwrap();
    workspace.krs(&["bundle", "set.yaml", "-o", "a.krs.tar"]);

    let old = Distribution::start(&require("docker-registry"), Options::default());
    workspace.krs(&["push", "a.krs.tar", &old.host().to_string()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let repository = client(&old).repository(&old.host(), &"team/app".parse().unwrap());
    let found = runtime.block_on(repository.manifest(&Selector::Tag("1.0".parse().unwrap()))).unwrap();
    assert_eq!(found.digest, image.digest);

    let new = distribution3();
    let pushed = workspace
        .try_run(env!("CARGO_BIN_EXE_krs").as_ref(), &["push", "a.krs.tar", &new.host().to_string()]);
    let outcome = String::from_utf8_lossy(&pushed.stderr);
    assert!(!pushed.status.success(), "{outcome}");
    let named = format!("entry of type application/vnd.example.unknown {}", Digest::of(content));
    assert!(outcome.contains(&named), "{outcome}");
    assert!(outcome.contains("validation.manifests.indexes.platforms: none"), "{outcome}");
}
