// SPDX-License-Identifier: Apache-2.0
//! A status that somebody else wrote.

use krs_testing::registry::Auth;
use serde_json::{Value, json};

use crate::controller::{Running, reconciles, start, until, until_quiescent};
use crate::world::{SETS, World};

/// Says of a status that all is well, and more that only the importer may say or that nobody should.
fn forged(right: &Value) -> Value {
    let mut status = right.clone();
    for condition in status["conditions"].as_array_mut().unwrap() {
        condition["status"] = json!("True");
        condition["reason"] = json!("SyncSuccessful");
    }
    let mut foreign = status["conditions"][0].clone();
    foreign["type"] = json!("Healthy");
    status["conditions"].as_array_mut().unwrap().push(foreign);
    let digest = krs_core::oci::digest::Digest::of(b"none");
    status["bundle"] = json!({"name": "none", "stream": "none", "sequence": 1, "digest": digest});
    status["lastHandledReconcileAt"] = json!("never");
    status["importer"] = json!("nobody");
    status["synchronizedImages"] = json!(["example.com/none:1"]);
    status
}

/// The status without an order of its conditions: server-side apply keeps none.
fn status(world: &World) -> Value {
    let mut status = world.status("x");
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.sort_by_key(|condition| condition["type"].to_string());
    }
    status
}

/// Without the times of transitions: an importer that was just started takes those of the status that it finds.
fn timeless(mut status: Value) -> Value {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
    }
    status
}

fn forge(world: &World, status: &Value) {
    world.api.edit("tenant", SETS, "shop", "x", &json!({"status": status}));
}

async fn copying(world: &World) -> (Running, Value) {
    let running = start(world);
    until("a Job", || world.reason("x") == "Copying").await;
    // The status names the bundle once the Job was seen.
    until_quiescent(world).await;
    (running, status(world))
}

fn restored(world: &World) -> usize {
    world.api.all("events").iter().filter(|event| event["reason"] == "StatusOverwritten").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn t178_a_status_of_a_set_that_somebody_else_wrote_is_written_again_at_once() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let (running, right) = copying(&world).await;
    for foreign in &[forged(&right), json!(null), json!({"conditions": null})] {
        forge(&world, foreign);
        until(&format!("the right status in place of {foreign}"), || status(&world) == right).await;
        // Repeats are counted in one Event.
        until("the event", || restored(&world) == 1).await;
        world.wait(5);
    }
    running.stop().await;
    // One that was written while the importer was away.
    forge(&world, &forged(&right));
    let running = start(&world);
    let right = timeless(right);
    until("the right status after a start", || timeless(status(&world)) == right).await;
    // And one that the watch did not tell of.
    world.wait(5);
    world.api.trouble("WATCH", SETS, crate::api::Trouble::Status(410, "Expired", "too old"), Some(1));
    world.api.disconnect();
    forge(&world, &forged(&status(&world)));
    world.api.compact();
    until("the right status after a list", || timeless(status(&world)) == right).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t178_two_writers_of_one_status_make_no_storm() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let (running, right) = copying(&world).await;
    forge(&world, &forged(&right));
    until("the right status", || status(&world) == right).await;
    let writes = || world.api.calls().iter().filter(|call| *call == "PATCH edgeimagesets/status").count();
    until_quiescent(&world).await;
    let before = writes();
    for n in 0..30 {
        let mut status = forged(&right);
        status["lastHandledReconcileAt"] = json!(n.to_string());
        forge(&world, &status);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    until_quiescent(&world).await;
    assert_eq!(writes(), before, "the importer's clock stands still");
    // One more change here could come behind the repair, and would wait for this clock again.
    world.wait(5);
    until("the right status after a while", || status(&world) == right).await;
    until_quiescent(&world).await;
    assert!(writes() <= before + 2, "{} writes", writes() - before);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t178_a_status_that_was_right_at_the_start_is_put_right_as_well() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let (running, _) = copying(&world).await;
    // While nothing runs, the next reconcile is far away.
    world.run_jobs();
    until("the end of the Job", || world.reason("x") == "SyncSuccessful").await;
    until_quiescent(&world).await;
    running.stop().await;
    let writes = || world.api.calls().iter().filter(|call| *call == "PATCH edgeimagesets/status").count();
    let (before, reconciled) = (writes(), until_quiescent(&world).await);
    let running = start(&world);
    until("a reconcile", || reconciles(&world) > reconciled).await;
    until_quiescent(&world).await;
    assert_eq!(writes(), before, "it was right");
    let right = status(&world);
    forge(&world, &forged(&right));
    until("the right status", || status(&world) == right).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t178_the_status_of_a_set_that_waits_for_a_secret_is_put_right_as_well() {
    let world = World::new(1, Auth::basic("u", "right"));
    world.set("x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("credentials"));
    let running = start(&world);
    until("the reason", || world.reason("x") == "SecretNotFound").await;
    until_quiescent(&world).await;
    let right = status(&world);
    forge(&world, &forged(&right));
    until("the right status", || status(&world) == right).await;
    running.stop().await;
}
