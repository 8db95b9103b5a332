// SPDX-License-Identifier: Apache-2.0
//! Two namespaces that wish each other ill: the row of SECURITY.md on tenants of a cluster, sentence by sentence.

use std::sync::Arc;

use krs_importer::config::AllowedDestination;
use krs_importer::readers::Readers;
use krs_importer::reconcile::reconcile;
use krs_testing::registry::{Auth, Options, Registry};
use serde_json::{Value, json};

use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";

fn only(namespace: &str) -> Readers {
    Readers::Namespaces(vec![namespace.into()])
}

fn reason(world: &World, namespace: &str, name: &str) -> String {
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
        assert!(message.contains("(shop)") && message.contains("namespace evil"), "{message}");
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
        "metadata": {"name": "login", "namespace": namespace},
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
                set["spec"]["images"][n] = json!({"image": image, "sourceClientSecretName": "login"});
            }
        });
        let importer = world.importer();
        for hosts in [None, Some("other.example"), Some("https://x")] {
            world.api.put("secrets", password("evil", kind, hosts));
            world.look(&importer).await.unwrap();
            world.wait(700);
            world.look(&importer).await.unwrap();
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

#[tokio::test]
async fn t146_a_destination_of_another_namespace_is_never_spoken_to() {
    let mut world = World::new(1, Auth::None);
    let registry = world.edge.host().to_string();
    world.allowed = vec![AllowedDestination::Of { registry, namespaces: vec!["shop".to_owned()] }];
    world.set_in("evil", "x", &[0], |_| {});
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let (_, reason_, message) = world.condition_in("evil", "x", "Stalled").unwrap();
    assert_eq!(reason_, "DestinationNotAllowed");
    assert!(message.contains("namespace evil") && !message.contains("shop"), "{message}");
    assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
    world.set("mine", &[0], |_| {});
    world.settle(&importer).await;
    assert_eq!(reason(&world, "shop", "mine"), READY);
}

/// A Job that looks like ours, of a set in its namespace, that writes to `repository`.
fn forged(world: &World, name: &str, set: (&str, &str), repository: &str, suspend: bool) -> Value {
    let owner = world.api.get(SETS, set.0, set.1).unwrap()["metadata"]["uid"].clone();
    let task = json!({
        "destination": {"registry": world.edge.host(), "plainHTTP": true},
        "source": {"kind": "bundle", "digest": krs_core::digest::Digest::of(b"bundle"), "name": "prod-1", "ca": "CA"},
        "targets": [{
            "image": world.reference(0), "sourceRegistry": "krs.krs-system.svc:5443", "sourceRepository": "a/b",
            "digest": world.images[0].digest, "repository": repository, "tags": ["1"],
        }],
    });
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": format!("krs-{name}-0123456789-1"), "namespace": set.0,
            "labels": {"app.kubernetes.io/managed-by": "krs-importer", "app.kubernetes.io/component": "copy",
                "kuberegistrysync.io/set-uid": owner},
            "annotations": {"kuberegistrysync.io/batch": "0123456789", "kuberegistrysync.io/attempt": "1",
                "kuberegistrysync.io/nonce": "00"},
            "ownerReferences": [{"apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
                "name": set.1, "uid": owner, "controller": true}],
        },
        "spec": {"suspend": suspend, "template": {"spec": {"containers": [
            {"name": "copy", "args": ["copy", "--task", task.to_string()]}]}}},
    })
}

fn jobs_of<'a>(jobs: &'a [Value], namespace: &str) -> Vec<&'a Value> {
    jobs.iter().filter(|job| job["metadata"]["namespace"] == namespace).collect()
}

#[tokio::test]
async fn t151_jobs_that_the_importer_did_not_create_stop_nobody() {
    for restarted in [false, true] {
        let world = World::new(1, Auth::None);
        world.set_in("evil", "x", &[0], |set| set["spec"]["suspend"] = json!(true));
        world.set("mine", &[0], |set| set["spec"]["suspend"] = json!(true));
        let mut importer = world.importer();
        world.look(&importer).await.unwrap();
        for n in 0..8 {
            let (name, suspend) = (format!("forged{n}"), n % 2 == 0);
            world.api.put("jobs", forged(&world, &name, ("evil", "x"), "shop/app0", suspend));
        }
        for n in 0..8 {
            // Of a set that there is not, and of one of another namespace.
            let mut stray = forged(&world, &format!("stray{n}"), ("evil", "x"), "shop/app0", false);
            let mine = world.api.get(SETS, "shop", "mine").unwrap()["metadata"]["uid"].clone();
            let uid = if n % 2 == 0 { mine } else { json!(format!("../../{n}")) };
            stray["metadata"]["ownerReferences"][0]["uid"] = uid.clone();
            stray["metadata"]["labels"]["kuberegistrysync.io/set-uid"] = uid;
            world.api.put("jobs", stray);
        }
        if restarted {
            importer = world.importer();
        }
        world.look(&importer).await.unwrap();
        world.set("mine", &[0], |_| {});
        world.wait(11);
        world.look(&importer).await.unwrap();
        let jobs = world.api.all("jobs");
        assert_eq!(jobs_of(&jobs, "shop").len(), 1, "{:?}", world.condition("mine", "Ready"));
        assert_eq!(jobs_of(&jobs, "evil").len(), 16, "they are left alone");
    }
}

/// Whoever may write Jobs in a namespace may suspend those of its sets: it harms the set, and nobody else.
#[tokio::test]
async fn t151_a_suspended_job_takes_no_place_and_no_repository_from_others() {
    let mut world = World::new(1, Auth::None);
    world.max_jobs = 1;
    world.set_in("evil", "x", &[0], |set| {
        set["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    });
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let mut job = world.api.all("jobs").remove(0);
    job["spec"]["suspend"] = json!(true);
    world.api.put("jobs", job.clone());
    world.set("mine", &[0], |_| {});
    for _ in 0..3 {
        world.wait(31);
        world.look(&importer).await.unwrap();
    }
    let jobs = world.api.all("jobs");
    assert_eq!((jobs_of(&jobs, "shop").len(), jobs_of(&jobs, "evil").len()), (1, 1), "{jobs:#?}");
    let (_, reason, message) = world.condition_in("evil", "x", "Ready").unwrap();
    assert!(reason == "Copying" && message.contains("suspended"), "{reason}: {message}");
}

#[tokio::test]
async fn t151_a_job_in_the_way_is_named_and_the_next_attempt_has_another_name() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let ours = world.api.all("jobs").remove(0);
    let name = ours["metadata"]["name"].as_str().unwrap().to_owned();
    // Somebody replaces it by another one, with the same nonce.
    world.api.remove("jobs", "shop", &name);
    let mut theirs = ours;
    theirs["metadata"]["uid"] = json!("another");
    world.api.put("jobs", theirs);
    world.wait(31);
    world.look(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "JobRejected", "{message}");
    assert!(message.contains(&name) && message.contains("did not create"), "{message}");
    world.wait(700);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

/// What version 0.1 left of a set `x`: a Job without a nonce, and a state that knows of none.
async fn of_0_1() -> World {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    world.look(&world.importer()).await.unwrap();
    let mut job = world.api.all("jobs").remove(0);
    job["metadata"]["annotations"].as_object_mut().unwrap().remove("kuberegistrysync.io/nonce");
    world.api.put("jobs", job);
    let mut map = world.api.all("configmaps").remove(0);
    let mut state = serde_json::from_str::<Value>(map["data"]["state.json"].as_str().unwrap()).unwrap();
    assert!(state.as_object_mut().unwrap().remove("jobs").is_some());
    map["data"]["state.json"] = json!(state.to_string());
    world.api.put("configmaps", map);
    world
}

#[tokio::test]
async fn t161_jobs_of_0_1_are_known_before_the_first_set() {
    let world = of_0_1().await;
    world.set("first", &[0], |_| {});
    let importer = world.importer();
    world.learn(&importer).await;
    reconcile(world.object("first"), importer).await.unwrap();
    assert_eq!(world.api.all("jobs").len(), 1, "no second Job writes to the repository");
}

#[tokio::test]
async fn t161_jobs_of_0_1_are_adopted_once_a_spec_is_valid_again() {
    let world = of_0_1().await;
    world.set("x", &[0], |set| set["spec"]["destinationRegistry"] = json!("${EDGE}"));
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    assert_eq!(reason(&world, "shop", "x"), "InvalidSpec");
    world.set("x", &[0], |_| {});
    world.wait(31);
    world.look(&importer).await.unwrap();
    assert_eq!((reason(&world, "shop", "x").as_str(), world.api.all("jobs").len()), ("Copying", 1));
    world.settle(&importer).await;
    assert_eq!((reason(&world, "shop", "x").as_str(), world.api.all("jobs").len()), (READY, 1));
}

/// Whether the intake is told that media are copied from.
fn copies(world: &World) -> bool {
    world.demand().sets.values().any(|set| !set.copying_from.is_empty())
}

#[tokio::test]
async fn t162_media_do_not_wait_for_a_job_that_is_suspended() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    assert!(copies(&world));
    let job = world.api.all("jobs").remove(0);
    let suspend = |suspend: bool| {
        let mut job = job.clone();
        job["spec"]["suspend"] = json!(suspend);
        world.api.put("jobs", job);
    };
    suspend(true);
    world.wait(31);
    world.look(&importer).await.unwrap();
    assert!(!copies(&world), "a suspended Job reads nothing");
    suspend(false);
    world.wait(31);
    world.look(&importer).await.unwrap();
    assert!(copies(&world));
}

#[tokio::test]
async fn t162_media_and_places_are_free_once_the_jobs_of_a_set_that_a_finalizer_keeps_have_ended() {
    let mut world = World::new(2, Auth::None);
    world.max_jobs = 1;
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let mut set = world.api.get(SETS, "shop", "x").unwrap();
    set["metadata"]["deletionTimestamp"] = json!(world.now().to_string());
    set["metadata"]["finalizers"] = json!(["example.com/keep"]);
    world.api.put(SETS, set);
    world.set("next", &[1], |_| {});
    world.look(&importer).await.unwrap();
    assert!(copies(&world) && world.running().len() == 1, "its Job still reads");
    world.run_jobs();
    reconcile(world.object("x"), Arc::clone(&importer)).await.unwrap();
    assert!(!copies(&world), "nothing reads the media");
    world.look(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1, "its place is free");
}

/// What version 0.1 left: Jobs without a nonce, and a state that knows of none.
#[tokio::test]
async fn t82_t151_running_jobs_of_0_1_are_adopted_at_the_update() {
    let world = of_0_1().await;
    let importer = world.importer();
    for _ in 0..3 {
        world.wait(31);
        world.look(&importer).await.unwrap();
        assert_eq!(world.api.all("jobs").len(), 1, "its Job goes on, and no second one copies the same");
    }
    world.settle(&importer).await;
    assert_eq!((reason(&world, "shop", "x").as_str(), world.api.all("jobs").len()), (READY, 1));
}

#[tokio::test]
async fn t152_a_namespace_cannot_take_all_places_for_jobs() {
    let world = World::new(12, Auth::None);
    world.set("mine", &[0], |set| set["spec"]["suspend"] = json!(true));
    world.set("other", &[1], |set| set["spec"]["images"][0]["destinationRepository"] = json!("other"));
    world.set_in("evil", "x", &(2..12).collect::<Vec<_>>(), |set| set["spec"]["parallelism"] = json!(16));
    let importer = world.importer();
    for _ in 0..3 {
        world.look(&importer).await.unwrap();
        world.wait(31);
    }
    assert!(jobs_of(&world.api.all("jobs"), "evil").len() <= 4, "its Jobs hang");
    world.set("mine", &[0], |_| {});
    world.look(&importer).await.unwrap();
    assert_eq!(jobs_of(&world.api.all("jobs"), "shop").len(), 2);
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
    world.set_in("evil", "x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("login"));
    world.settle(&world.importer()).await;
    let (_, reason, message) = world.condition_in("evil", "x", "Ready").unwrap();
    assert_eq!(reason, "SecretNotFound");
    assert!(message.contains("namespace evil") && !message.contains("right"), "{message}");
    assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
}

/// The Pod of a Job can be stopped by whoever owns its namespace, so that the Job lasts for hours.
#[tokio::test]
async fn t155_a_job_that_hangs_keeps_a_repository_from_other_namespaces_for_some_minutes_only() {
    let world = World::new(1, Auth::None);
    world.set_in("evil", "x", &[0], |set| {
        set["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    });
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let mut job = world.api.all("jobs").remove(0);
    job["metadata"]["creationTimestamp"] = json!(world.now().to_string());
    world.api.put("jobs", job);
    world.set("mine", &[0], |_| {});
    world.wait(61);
    world.look(&importer).await.unwrap();
    assert!(jobs_of(&world.api.all("jobs"), "shop").is_empty(), "one Job at a time writes to a repository");
    world.wait(600);
    world.look(&importer).await.unwrap();
    assert_eq!(jobs_of(&world.api.all("jobs"), "shop").len(), 1, "{:?}", world.condition("mine", "Ready"));
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
        world.look(&importer).await.unwrap();
        let task = world.running().remove(0).1;
        let from = task.targets[0].mount_from.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(from, if shared { vec!["shop/app0"] } else { vec![] });
    }
}
