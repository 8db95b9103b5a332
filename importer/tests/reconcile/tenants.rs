// SPDX-License-Identifier: Apache-2.0
//! Two namespaces that wish each other ill: the row of SECURITY.md on tenants of a cluster, sentence by sentence.

use std::sync::Arc;

use krs_importer::app::reconcile::reconcile;
use krs_importer::model::config::AllowedDestination;
use krs_importer::model::readers::Readers;
use krs_testing::proxy::Proxy;
use krs_testing::registry::{Auth, Options, Registry};
use serde_json::{Value, json};

use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";

fn only(namespace: &str) -> Readers {
    Readers::Namespaces(vec![namespace.into()])
}

pub(crate) fn reason(world: &World, namespace: &str, name: &str) -> String {
    world.condition_in(namespace, name, "Ready").map(|(_, reason, _)| reason).unwrap_or_default()
}

#[tokio::test]
async fn t123_an_image_of_a_bundle_is_copied_only_for_namespaces_whose_sets_in_the_bundle_list_it() {
    let mut world = World::new(2, Auth::None);
    (world.readers, world.bare) = (only("shop"), true);
    world.plug_in();
    let tag = world.tag(1);
    world.set_in("evil", "digest", &[0], |_| {});
    world.set_in("evil", "tag", &[0], |set| set["spec"]["images"][0]["image"] = json!(tag));
    let importer = world.importer();
    world.settle(&importer).await;
    assert!(
        world.api.all("jobs").is_empty(),
        "nothing is copied for a namespace that the bundle does not name"
    );
    for name in ["digest", "tag"] {
        let (status, reason, message) = world.condition_in("evil", name, "Ready").unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", "NamespaceNotListed"), "{message}");
        // Nothing but the image's own repository has that word.
        let others = message.replace("example.com/shop/", "");
        assert!(message.contains("namespace evil") && !others.contains("shop"), "{message}");
        assert!(message.contains("prod-1") && message.contains("Kustomize"), "{message}");
        let status = world.api.get(SETS, "evil", name).unwrap()["status"].clone();
        assert_eq!(status["failures"][0]["reason"], "NamespaceNotListed");
        assert!(!status.to_string().contains(&world.images[1].digest.hex()), "a tag's digest is not told");
        assert!(world.condition_in("evil", name, "Stalled").is_none(), "a later bundle may list it");
    }
    // Its owner is served, and so is everybody where the bundle says so.
    world.set("mine", &[0, 1], |_| {});
    world.settle(&importer).await;
    assert_eq!(reason(&world, "shop", "mine"), READY);
    assert_ne!(reason(&world, "evil", "tag"), READY);
    world.readers = Readers::Any;
    world.plug_in();
    world.wait(700);
    world.settle(&importer).await;
    assert_eq!(reason(&world, "evil", "tag"), READY);
}

#[tokio::test]
async fn t123_where_the_site_shares_every_namespace_is_served() {
    let mut world = World::new(1, Auth::None);
    (world.readers, world.shared) = (only("shop"), true);
    world.plug_in();
    world.set_in("other", "x", &[0], |_| {});
    world.settle(&world.importer()).await;
    assert_eq!(reason(&world, "other", "x"), READY);
}

/// A Secret with a user and a password.
fn password(namespace: &str, kind: &str, hosts: Option<&str>) -> Value {
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": "credentials", "namespace": namespace},
        "data": {"username": encode("u"), "password": encode("right")},
    });
    if let Some(hosts) = hosts {
        secret["metadata"]["annotations"] = json!({"kuberegistrysync.io/registry-hosts": hosts});
    }
    secret
}

/// The author of a set may name a Secret that they cannot read, and an image of any registry that the site allows.
#[tokio::test]
async fn t145_a_password_goes_only_to_the_registries_that_its_secret_names() {
    for kind in ["kubernetes.io/basic-auth", "Opaque"] {
        let mut world = World::new(2, Auth::None);
        let source = Registry::start(Options { auth: Auth::basic("u", "right"), ..Options::default() });
        let host = source.host().to_string();
        for (n, image) in world.images.iter().enumerate() {
            image.push_to(&source, &format!("app{n}"), Some("1"));
        }
        source.clear_requests();
        world.config =
            format!("online: {{enabled: true, allowedSources: ['{host}'], plainHTTP: ['{host}']}}\n");
        world.set_in("evil", "x", &[0, 1], |set| {
            set["spec"]["source"] = json!("Registry");
            for (n, image) in [format!("{host}/app0:1"), format!("{host}/app1:1@{}", world.images[1].digest)]
                .into_iter()
                .enumerate()
            {
                set["spec"]["images"][n] = json!({"image": image, "sourceClientSecretName": "credentials"});
            }
        });
        let importer = world.importer();
        for hosts in [None, Some("other.example"), Some("https://x")] {
            world.api.put("secrets", password("evil", kind, hosts));
            world.reconcile(&importer).await.unwrap();
            world.wait(700);
            world.reconcile(&importer).await.unwrap();
            assert!(source.requests().is_empty(), "{kind} {hosts:?}: {:?}", source.requests());
            assert!(world.api.all("jobs").is_empty(), "{kind} {hosts:?}");
            let (_, reason, message) = world.condition_in("evil", "x", "Ready").unwrap();
            assert_eq!(reason, "SecretInvalid", "{message}");
            assert!(message.contains("registry-hosts") && !message.contains("right"), "{message}");
        }
        world.api.put("secrets", password("evil", kind, Some(&format!("other.example, {host}"))));
        world.wait(700);
        world.settle(&importer).await;
        assert_eq!(reason(&world, "evil", "x"), READY);
    }
}

#[tokio::test]
async fn t145_a_registry_that_the_site_does_not_name_as_a_source_is_never_spoken_to() {
    let mut world = World::new(1, Auth::None);
    let source = Registry::start(Options::default());
    let host = source.host().to_string();
    world.config = format!("online: {{enabled: true, allowedSources: [quay.io], plainHTTP: ['{host}']}}\n");
    for (name, image) in [("tag", format!("{host}/app0:1")), ("digest", world.reference(0))] {
        let image = image.replace("example.com/shop", &host);
        world.set_in("evil", name, &[0], |set| {
            set["spec"]["source"] = json!("Registry");
            set["spec"]["images"][0]["image"] = json!(image);
        });
    }
    world.settle(&world.importer()).await;
    assert!(source.requests().is_empty() && world.api.all("jobs").is_empty());
    assert_eq!(reason(&world, "evil", "digest"), "SourceNotAllowed");
}

/// Names of source registries may be known to the proxy alone.
#[tokio::test]
async fn t191_source_registries_are_reached_by_the_proxy_of_the_site_and_the_edge_without_it() {
    let mut world = World::new(1, Auth::None);
    let source = Registry::start(Options::default());
    world.images[0].push_to(&source, "app0", Some("1"));
    let proxy = Proxy::start(source.address());
    let online = "online: {enabled: true, allowedSources: [source.invalid], plainHTTP: [source.invalid]";
    world.config = format!("{online}, proxy: {{url: 'http://{}'}}}}\n", proxy.address());
    world.set("x", &[0], |set| {
        set["spec"]["source"] = json!("Registry");
        set["spec"]["images"][0]["image"] = json!("source.invalid/app0:1");
    });
    world.reconcile(&world.importer()).await.unwrap();
    let requests = proxy.requests();
    assert!(!requests.is_empty() && !world.edge.requests().is_empty());
    assert!(requests.iter().all(|one| one.target.starts_with("http://source.invalid/")), "{requests:?}");
    let jobs = world.api.all("jobs");
    let container = &jobs[0]["spec"]["template"]["spec"]["containers"][0];
    let variable = |name: &str| {
        let all = container["env"].as_array().unwrap().iter();
        all.clone().find(|variable| variable["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(variable("HTTPS_PROXY"), format!("http://{}", proxy.address()));
    let direct = variable("NO_PROXY");
    let direct = direct.split(',').collect::<Vec<_>>();
    assert!(direct.contains(&"127.0.0.1") && direct.contains(&"krs.krs-system.svc"), "{direct:?}");
}

#[tokio::test]
async fn t146_a_destination_of_another_namespace_is_never_spoken_to() {
    let mut world = World::new(1, Auth::None);
    let registry = world.edge.host().to_string();
    world.allowed = vec![AllowedDestination::Of { registry, namespaces: vec!["shop".to_owned()] }];
    world.set_in("evil", "x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let (_, reason_, message) = world.condition_in("evil", "x", "Stalled").unwrap();
    assert_eq!(reason_, "DestinationNotAllowed");
    assert!(message.contains("namespace evil") && !message.contains("shop"), "{message}");
    assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
    world.set("mine", &[0], |_| {});
    world.settle(&importer).await;
    assert_eq!(reason(&world, "shop", "mine"), READY);
}

#[tokio::test]
async fn t180_after_a_restart_an_older_set_keeps_the_tag_that_its_media_decided_before() {
    let mut world = World::new(2, Auth::None);
    world.bare = true;
    world.plug_in();
    let image = |reference: String| json!([{"image": reference, "destinationRepository": "app"}]);
    world.set("older", &[], |set| set["spec"]["images"] = image(world.tag(0)));
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(reason(&world, "shop", "older"), READY);
    // The media are away, the importer restarts, and somebody wants the same tag for another image.
    world.pull_out();
    world.bare = false;
    world.set("younger", &[], |set| {
        set["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
        set["spec"]["images"] = image(world.reference(1));
    });
    world.plug_in();
    let importer = world.importer();
    world.prime(&importer).await;
    reconcile(world.object("younger"), Arc::clone(&importer)).await.unwrap();
    let named = world.running().into_iter().flat_map(|(_, task)| task.targets);
    let tags = named.flat_map(|target| target.tags).map(|tag| tag.to_string()).collect::<Vec<_>>();
    assert!(!tags.is_empty() && !tags.contains(&"1".to_owned()), "{tags:?}");
    world.settle(&importer).await;
    assert_eq!(reason(&world, "shop", "older"), READY);
    assert_eq!(reason(&world, "shop", "younger"), "NamingCollision");
}

#[tokio::test]
async fn t153_a_set_that_may_not_write_takes_no_name_and_others_lose_only_the_image_in_question() {
    for (n, how) in ["suspended", "being deleted", "not allowed", "writes"].into_iter().enumerate() {
        let mut world = World::new(3, Auth::None);
        let registry = world.edge.host().to_string();
        let mut namespaces = vec!["shop".to_owned()];
        namespaces.extend((n != 2).then(|| "evil".to_owned()));
        world.allowed = vec![AllowedDestination::Of { registry, namespaces }];
        world.set_in("evil", "x", &[0], |set| {
            set["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
            set["spec"]["images"][0]["destinationRepository"] = json!("same");
            match n {
                0 => set["spec"]["suspend"] = json!(true),
                1 => set["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
                _ => {}
            }
        });
        world.set("mine", &[1, 2], |set| set["spec"]["images"][0]["destinationRepository"] = json!("same"));
        world.settle(&world.importer()).await;
        if how != "writes" {
            assert_eq!(reason(&world, "shop", "mine"), READY, "{how}");
            assert_eq!(world.edge.digest("same", "1"), Some(world.images[1].digest), "{how}");
            continue;
        }
        let (_, reason, message) = world.condition("mine", "Stalled").unwrap();
        assert!(reason == "NamingCollision" && message.contains("1 of 2 images present"), "{message}");
        let status = world.status("mine");
        assert_eq!(status["synchronizedImages"], json!([world.reference(2)]), "only one image is concerned");
        assert_eq!(status["failures"][0]["reason"], "NamingCollision");
        let tag = format!("krs-{}", &world.images[1].digest.hex()[..32]);
        assert_eq!(world.edge.digest("same", &tag), Some(world.images[1].digest), "Pods find it by digest");
        assert_eq!(world.edge.digest("same", "1"), Some(world.images[0].digest));
    }
}

/// Secrets are read by name in the set's own namespace, and of no other.
#[tokio::test]
async fn t77_a_set_reads_no_secret_of_another_namespace() {
    let world = World::new(1, Auth::basic("u", "right"));
    world.api.put("secrets", password("shop", "kubernetes.io/basic-auth", None));
    world.set_in("evil", "x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("credentials"));
    world.settle(&world.importer()).await;
    let (_, reason, message) = world.condition_in("evil", "x", "Ready").unwrap();
    assert_eq!(reason, "SecretNotFound");
    assert!(message.contains("namespace evil") && !message.contains("right"), "{message}");
    assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
}

/// A link to a blob is a way to read it.
#[tokio::test]
async fn t156_no_blob_is_linked_from_a_repository_of_another_namespace_unless_the_site_shares() {
    for shared in [false, true] {
        let mut world = World::new(1, Auth::None);
        world.config = format!("shareAcrossNamespaces: {shared}\n");
        world.set("mine", &[0], |_| {});
        let importer = world.importer();
        world.settle(&importer).await;
        assert_eq!(reason(&world, "shop", "mine"), READY);
        world.set_in("evil", "x", &[0], |set| {
            set["spec"]["images"][0]["destinationRepository"] = json!("evil/app0");
        });
        world.reconcile(&importer).await.unwrap();
        let task = world.running().remove(0).1;
        let from = task.targets[0].mount_from.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(from, if shared { vec!["shop/app0"] } else { vec![] });
    }
}
