// SPDX-License-Identifier: Apache-2.0
//! Reconciles that somebody asks for, and two importers that do the same.

use krs_testing::registry::Auth;
use serde_json::json;

use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";

fn annotate(world: &World, value: &str) {
    let annotations = json!({"metadata": {"annotations": {"kuberegistrysync.io/reconcile-at": value}}});
    world.api.edit("kubectl", SETS, "shop", "x", &annotations);
}

#[tokio::test]
async fn t157_a_reconcile_that_is_asked_for_asks_the_registry_about_every_image_and_the_status_answers() {
    let world = World::new(2, Auth::None);
    world.set("x", &[0, 1], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    assert!(world.status("x")["lastHandledReconcileAt"].is_null());
    // Something that only a full walk finds.
    let layer = world.images[0].blobs.last().unwrap().0;
    assert!(world.edge.delete_blob(&layer));
    world.wait(60);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("x"), READY, "nobody asks yet");
    annotate(&world, "first");
    world.reconcile(&importer).await.unwrap();
    assert_ne!(world.reason("x"), READY);
    assert_eq!(world.status("x")["lastHandledReconcileAt"], "first");
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    // The same value asks nothing, after a restart too.
    let requests = world.edge.requests().len();
    world.reconcile(&importer).await.unwrap();
    world.reconcile(&world.importer()).await.unwrap();
    assert_eq!(world.edge.requests().len(), requests);
    assert_eq!(world.status("x")["lastHandledReconcileAt"], "first");
    // A suspended set answers when it continues.
    world.set("x", &[0, 1], |set| set["spec"]["suspend"] = json!(true));
    annotate(&world, "second");
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.status("x")["lastHandledReconcileAt"], "first");
    world.set("x", &[0, 1], |_| {});
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.status("x")["lastHandledReconcileAt"], "second");
}
