// SPDX-License-Identifier: Apache-2.0
//! Two importers in one cluster.

use std::sync::Arc;
use std::time::Duration;

use krs_importer::adapters::lease::{Attempt, Leases, Times, holder_name};
use krs_importer::app::reconcile::{Reconciler, reconcile};
use krs_testing::registry::Auth;
use serde_json::json;

use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";
/// Longest time that anything here takes.
const TIMEOUT: Duration = Duration::from_secs(120);
const TIMES: Times = Times { duration: Duration::from_secs(1), renew: Duration::from_millis(20) };

fn leases(world: &World, namespace: &str, holder: &str, served: &[&str]) -> Arc<Leases> {
    let served = served.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Arc::new(Leases::new(world.api.client(), namespace, holder, &served, TIMES))
}

#[tokio::test]
async fn t224_of_two_pods_of_one_name_one_holds_the_lease_and_a_restarted_container_has_it_at_once() {
    let world = World::new(0, Auth::None);
    let process =
        |uid: Option<&str>| leases(&world, "krs-system", &holder_name(Some("krs-importer-0"), uid), &[]);
    let first = process(Some("u1"));
    assert_eq!(first.acquire().await.unwrap(), Attempt::Held);
    assert_eq!(process(Some("u1")).acquire().await.unwrap(), Attempt::Held, "a container that was restarted");
    for other in [process(Some("u2")), process(None), process(None)] {
        let attempt = other.acquire().await.unwrap();
        assert!(
            matches!(&attempt, Attempt::HeldBy(holder) if holder.starts_with("krs-importer-0")),
            "{attempt:?}"
        );
        assert!(first.is_held());
    }
    // Neither are two processes one that do not know their Pods.
    first.release().await.unwrap();
    assert_eq!(process(None).acquire().await.unwrap(), Attempt::Held);
    let attempt = process(None).acquire().await.unwrap();
    assert!(matches!(&attempt, Attempt::HeldBy(_)), "{attempt:?}");
}

/// An importer of a namespace, and its Lease, which it holds.
async fn importer(world: &mut World, namespace: &str, served: &[&str]) -> (Arc<Reconciler>, Arc<Leases>) {
    let leases = leases(world, namespace, &format!("{namespace}-0"), served);
    assert_eq!(leases.acquire().await.unwrap(), Attempt::Held);
    namespace.clone_into(&mut world.namespace);
    world.leases = Some(Arc::clone(&leases));
    (world.importer(), leases)
}

fn owner(world: &World, name: &str) -> String {
    world.status(name)["importer"].as_str().unwrap_or_default().to_owned()
}

/// Reconciles, with `renewed` alive, until the importer of `namespace` serves the set.
async fn until_served(world: &World, importer: &Arc<Reconciler>, namespace: &str, renewed: &Leases) {
    let waiting = async {
        while owner(world, "x") != namespace {
            renewed.acquire().await.unwrap();
            world.reconcile(importer).await.unwrap();
            tokio::time::sleep(TIMES.renew).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("{}", world.status("x")));
}

#[tokio::test]
async fn t75_t179_one_of_two_importers_serves_a_set_until_its_lease_expires() {
    let mut world = World::new(2, Auth::None);
    world.set("x", &[0], |_| {});
    let (first, first_lease) = importer(&mut world, "krs-a", &[]).await;
    let (second, second_lease) = importer(&mut world, "krs-b", &[]).await;
    world.reconcile(&first).await.unwrap();
    assert_eq!((owner(&world, "x").as_str(), world.reason("x").as_str()), ("krs-a", "Copying"));
    let before = world.api.version();
    world.reconcile(&second).await.unwrap();
    assert_eq!(world.api.version(), before, "the other one writes nothing");
    world.settle(&first).await;
    assert_eq!(world.reason("x"), READY);
    world.set("x", &[0, 1], |_| {});
    first_lease.acquire().await.unwrap();
    let before = world.api.version();
    world.reconcile(&second).await.unwrap();
    assert_eq!(world.api.version(), before, "whatever changes");
    assert!(world.running().is_empty());

    // The first one dies.
    until_served(&world, &second, "krs-b", &second_lease).await;
    assert!(!first_lease.is_held());
    let before = world.api.version();
    world.reconcile(&first).await.unwrap();
    assert_eq!(world.api.version(), before, "without its Lease it does nothing");
    // It was only cut off: it comes back, and the set stays where it is.
    first_lease.acquire().await.unwrap();
    second_lease.acquire().await.unwrap();
    let before = world.api.version();
    world.reconcile(&first).await.unwrap();
    assert_eq!(world.api.version(), before, "it is served");
    let settling = async {
        while world.reason("x") != READY {
            second_lease.acquire().await.unwrap();
            world.reconcile(&second).await.unwrap();
            world.run_jobs();
            world.wait(11);
        }
    };
    tokio::time::timeout(TIMEOUT, settling).await.unwrap();
    assert_eq!(owner(&world, "x"), "krs-b");
}

#[tokio::test]
async fn t179_of_two_importers_that_claim_a_set_at_once_one_succeeds() {
    let mut world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let (first, _first) = importer(&mut world, "krs-a", &[]).await;
    let (second, _second) = importer(&mut world, "krs-b", &[]).await;
    let object = world.object("x");
    for importer in [&first, &second] {
        world.prime(importer).await;
    }
    reconcile(Arc::clone(&object), first).await.unwrap();
    reconcile(object, second).await.unwrap();
    assert_eq!(owner(&world, "x"), "krs-a");
    assert_eq!(world.api.all("jobs").len(), 1);
    let states = world.api.all("configmaps");
    assert!(states.iter().all(|state| state["metadata"]["namespace"] == "krs-a"), "{states:?}");
}

#[tokio::test]
async fn t179_a_namespace_that_moves_from_one_importer_to_another_is_served_by_that_one() {
    let mut world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let (first, _) = importer(&mut world, "krs-a", &["shop"]).await;
    world.settle(&first).await;
    assert_eq!(owner(&world, "x"), "krs-a");
    // Its values change: it serves another namespace, and the second importer serves this one.
    let (_, first_lease) = importer(&mut world, "krs-a", &["bank"]).await;
    let (second, second_lease) = importer(&mut world, "krs-b", &["shop"]).await;
    world.reconcile(&second).await.unwrap();
    assert_eq!(owner(&world, "x"), "krs-b", "it need not wait for the Lease to expire");
    assert!(first_lease.is_held() && second_lease.is_held());
    world.settle(&second).await;
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t179_an_importer_that_does_not_exist_serves_no_set() {
    let mut world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    for nobody in ["krs-gone", "../../pods", "", "x".repeat(64).as_str()] {
        world.api.edit("tenant", SETS, "shop", "x", &json!({"status": {"importer": nobody}}));
        let (importer, _lease) = importer(&mut world, "krs-a", &[]).await;
        world.reconcile(&importer).await.unwrap();
        assert_eq!(owner(&world, "x"), "krs-a", "{nobody}");
    }
}

#[tokio::test]
async fn t179_one_process_at_a_time_is_the_importer_of_a_namespace() {
    let world = World::new(0, Auth::None);
    let [first, second] = ["pod-1", "pod-2"].map(|pod| leases(&world, "krs-a", pod, &[]));
    assert_eq!(first.acquire().await.unwrap(), Attempt::Held);
    assert_eq!(second.acquire().await.unwrap(), Attempt::HeldBy("pod-1".to_owned()));
    // A container that is restarted is the same Pod.
    assert_eq!(leases(&world, "krs-a", "pod-1", &[]).acquire().await.unwrap(), Attempt::Held);
    first.release().await.unwrap();
    assert_eq!(second.acquire().await.unwrap(), Attempt::Held, "at once");
    assert_eq!(first.acquire().await.unwrap(), Attempt::HeldBy("pod-2".to_owned()));
    // The second one is killed.
    let waiting = async {
        while first.acquire().await.unwrap() != Attempt::Held {
            tokio::time::sleep(TIMES.renew).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.unwrap();
    assert!(!second.is_held(), "it knows that it may be replaced");
    assert_eq!(second.acquire().await.unwrap(), Attempt::HeldBy("pod-1".to_owned()));
    let lease = world.api.get("leases", "krs-a", "krs-importer").unwrap();
    assert_eq!(
        (&lease["spec"]["holderIdentity"], &lease["spec"]["leaseTransitions"]),
        (&json!("pod-1"), &json!(3))
    );
}

#[tokio::test]
async fn t179_an_importer_without_its_lease_counts_no_success() {
    let mut world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let (importer, lease) = importer(&mut world, "krs-a", &[]).await;
    world.reconcile(&importer).await.unwrap();
    let success = &world.metrics.reconcile_success;
    success.set(0);
    importer.measure_success();
    assert!(success.get() > 0);
    // Its Role is gone, or another process has the Lease.
    let expiring = async {
        while lease.is_held() {
            tokio::time::sleep(TIMES.renew).await;
        }
    };
    tokio::time::timeout(TIMEOUT, expiring).await.unwrap();
    success.set(0);
    importer.measure_success();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(success.get(), 0, "the alert must come");
}
