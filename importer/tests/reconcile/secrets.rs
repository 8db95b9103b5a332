// SPDX-License-Identifier: Apache-2.0
//! Secrets that are missing, wrong or not to be read, and credentials that may do less than is needed.

use krs_testing::registry::{Auth, Matcher, What};
use serde_json::json;

use crate::READY;
use crate::api::Trouble;
use crate::world::World;

fn secret(password: &str) -> serde_json::Value {
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "credentials", "namespace": "shop"},
        "data": {"username": encode("u"), "password": encode(password)},
    })
}

#[tokio::test]
async fn a_secret_that_is_missing_then_wrong_then_right_needs_no_restart_and_is_not_tried_in_a_storm() {
    let world = World::new(1, Auth::basic("u", "right"));
    world.set("x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("credentials"));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "SecretNotFound");
    assert!(message.contains("credentials") && message.contains("shop"), "{message}");
    world.api.put("secrets", secret("wrong"));
    world.wait(15);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("x"), "AuthFailed");
    let requests = world.edge.requests().len();
    world.api.fail(None);
    for _ in 0..10 {
        world.wait(15);
        world.reconcile(&importer).await.unwrap();
    }
    assert_eq!(world.edge.requests().len(), requests, "a wrong password is not tried again and again");
    assert!(world.api.calls().iter().all(|call| call == "GET secrets"), "{:?}", world.api.calls());
    world.api.put("secrets", secret("right"));
    world.wait(15);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t100_a_registry_that_refuses_to_show_what_is_absent_is_copied_to_and_what_cannot_be_read_is_never_ready()
 {
    let world = World::new(1, Auth::basic("u", "right"));
    world.set("x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("credentials"));
    world.api.put("secrets", secret("right"));
    world.edge.fail(Matcher::any().path("/manifests/"), What::Status(403, vec![], String::new()));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1, "the push decides: {:?}", world.condition("x", "Ready"));
    // The Job ends well, and nobody can see what it did.
    world.run_jobs();
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    let (status, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AuthFailed"), "{message}");
    assert!(message.contains("cannot be read"), "{message}");
    for _ in 0..10 {
        world.wait(30);
        world.reconcile(&importer).await.unwrap();
        assert!(world.running().is_empty(), "attempts wait for the resync interval");
        assert_ne!(world.reason("x"), READY);
    }
    // Once it can be read, it is verified without another Job.
    world.edge.clear_faults();
    world.wait(600);
    world.reconcile(&importer).await.unwrap();
    assert!(world.running().is_empty());
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t138_a_secret_that_the_importer_may_not_read_is_reported_and_read_once_it_may() {
    let world = World::new(1, Auth::basic("u", "p"));
    world.set("x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("credentials"));
    world.api.put(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
            "metadata": {"name": "credentials", "namespace": "shop"},
            "data": {"username": "dQ==", "password": "cA=="},
        }),
    );
    let refusal = "secrets \"credentials\" is forbidden";
    world.api.trouble("GET", "secrets", Trouble::Status(403, "Forbidden", refusal), None);
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "SecretForbidden", "{message}");
    assert!(message.contains(refusal) && message.contains("spec.destinationClientSecretName"), "{message}");
    world.wait(20);
    world.reconcile(&importer).await.unwrap();
    world.api.mend();
    world.wait(20);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}
