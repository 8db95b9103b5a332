// SPDX-License-Identifier: Apache-2.0
//! What the media wait for, as the intake is told it.

use std::net::IpAddr;
use std::sync::Arc;

use krs_core::registry::DenyList;
use krs_importer::app::reconcile::Reconciler;
use krs_importer::model::marks::MarkComparison;
use krs_testing::registry::Auth;
use serde_json::{Value, json};

use crate::api::Trouble;
use crate::world::{SETS, World};

/// A site whose drive decides tags.
fn site() -> World {
    let mut world = World::new(2, Auth::None);
    world.bare = true;
    world.plug_in();
    world
}

/// A set of one image by its tag, and one by its digest.
fn set(world: &World, change: impl FnOnce(&mut Value)) {
    world.set("x", &[0, 1], |set| {
        set["spec"]["images"][0]["image"] = json!(world.tag(0));
        change(set);
    });
}

/// Reconciles the set as often as it takes until nothing changes, and answers whether media wait for it.
async fn holds_media(world: &World, importer: &Arc<Reconciler>) -> bool {
    for _ in 0..3 {
        world.reconcile(importer).await.unwrap();
        world.wait(61);
    }
    let sets = world.stored().iter().map(|stored| stored.set()).collect::<Vec<_>>();
    importer.retain(&sets, true);
    let demand = world.demand();
    assert!(demand.complete, "nothing is safe to remove before every set was reconciled");
    let holds = demand.sets.values().map(|set| {
        let all = [set.missing.is_empty(), !set.follows_bundles, set.copying_from.is_empty()];
        assert!(all.iter().all(|none| *none == all[0]), "{set:?}");
        !all[0]
    });
    holds.fold(false, |any, holds| any | holds)
}

fn mark(world: &World) -> Option<Value> {
    world.api.get("configmaps", "krs-system", "krs-streams")
}

#[tokio::test]
async fn t130_media_wait_for_a_set_that_copies_from_them_and_its_decision_raises_the_mark() {
    let world = site();
    set(&world, |_| {});
    let importer = world.importer();
    assert!(holds_media(&world, &importer).await);
    assert!(mark(&world).is_some());
}

#[tokio::test]
async fn t130_a_suspended_set_holds_no_media_and_no_mark() {
    let world = site();
    set(&world, |set| set["spec"]["suspend"] = json!(true));
    let importer = world.importer();
    assert!(!holds_media(&world, &importer).await);
    assert_eq!(mark(&world), None);
    assert_eq!(world.reason("x"), "Suspended");
}

#[tokio::test]
async fn t130_a_stalled_set_holds_no_media() {
    let mut world = site();
    // Its registry is one that nobody may be sent to.
    world.deny_list = DenyList::new(|_: IpAddr| Some("the cloud's metadata"));
    set(&world, |_| {});
    let importer = world.importer();
    assert!(!holds_media(&world, &importer).await);
    assert!(world.condition("x", "Stalled").is_some(), "{}", world.status("x"));
}

#[tokio::test]
async fn t130_a_set_whose_destination_is_not_allowed_holds_no_media_and_no_mark() {
    let mut world = site();
    world.allowed.clear();
    set(&world, |_| {});
    let importer = world.importer();
    assert!(!holds_media(&world, &importer).await);
    assert_eq!(mark(&world), None);
    assert_eq!(world.reason("x"), "DestinationNotAllowed");
}

#[tokio::test]
async fn t130_a_set_that_copies_from_its_registries_only_holds_no_media_and_no_mark() {
    let world = site();
    set(&world, |set| set["spec"]["source"] = json!("Registry"));
    let importer = world.importer();
    assert!(!holds_media(&world, &importer).await);
    assert_eq!(mark(&world), None);
}

#[tokio::test]
async fn t130_a_set_that_is_being_deleted_holds_no_media() {
    let world = site();
    set(&world, |_| {});
    let importer = world.importer();
    assert!(holds_media(&world, &importer).await);
    for (name, _) in world.running() {
        world.end(&name, "Failed", "DeadlineExceeded");
    }
    let deleted = json!({"metadata": {
        "deletionTimestamp": world.now().to_string(), "finalizers": ["example.com/somebody"],
    }});
    world.api.edit("kubectl", SETS, "shop", "x", &deleted);
    assert!(!holds_media(&world, &importer).await);
}

#[tokio::test]
async fn t130_a_set_whose_secret_the_importer_may_not_read_holds_no_media() {
    let world = site();
    set(&world, |set| set["spec"]["destinationClientSecretName"] = json!("credentials"));
    world.api.trouble("GET", "secrets", Trouble::Status(403, "Forbidden", "no Role"), None);
    let importer = world.importer();
    assert!(!holds_media(&world, &importer).await);
    assert_eq!(world.reason("x"), "SecretForbidden");
    // It waits for a person in vain as long as the media are away, and takes them once it may.
    world.api.mend();
    world.api.put(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
            "metadata": {"name": "credentials", "namespace": "shop"},
            "data": {"username": "dQ==", "password": "cA=="},
        }),
    );
    assert!(holds_media(&world, &importer).await);
}

/// An older drive than the one that was used last is put in, and nothing else is there.
#[tokio::test]
async fn t27_a_set_that_waits_takes_nothing_from_an_older_bundle_and_says_which_it_waits_for() {
    let mut world = site();
    world.standing = MarkComparison::Superseded { by: 5 };
    world.plug_in();
    world.set("waits", &[0], |set| set["spec"]["images"][0]["image"] = json!(world.tag(0)));
    world.images[1].push_to(&world.edge, "shop/app1", Some("1"));
    world.set("healthy", &[1], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    let (_, reason, message) = world.condition("waits", "Ready").unwrap();
    assert_eq!(reason, "WaitingForBundle");
    let wanted = "prod-1 is superseded: insert the newest bundle of stream prod";
    assert!(message.contains(wanted), "{message}");
    assert_eq!(world.condition("waits", "Reconciling").unwrap().0, "True");
    assert!(world.condition("waits", "Stalled").is_none());
    assert_eq!(world.reason("healthy"), "SyncSuccessful");
    assert!(world.api.all("jobs").is_empty() && mark(&world).is_none());
    // Nothing else is said of it than that it is older: the set holds no media back.
    let demand = world.demand();
    assert!(demand.sets.values().all(|set| set.missing.is_empty() && set.copying_from.is_empty()));
}
