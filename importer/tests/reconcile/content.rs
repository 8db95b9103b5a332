// SPDX-License-Identifier: Apache-2.0
//! Content that is read back from the edge registry: when, and whose first.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use krs_core::crd::EdgeImageSet;
use krs_importer::app::reconcile::{Reconciler, reconcile};
use krs_testing::registry::Auth;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;

use crate::READY;
use crate::world::{SETS, World};

fn verify_content(world: &World, namespace: &str, name: &str, value: &str) {
    let mut set = world.api.get(SETS, namespace, name).unwrap();
    set["metadata"]["annotations"] = json!({"kuberegistrysync.io/verify-content-at": value});
    world.api.put(SETS, set);
}

/// Repositories whose blobs were read, in the order in which that began.
fn read(world: &World) -> Vec<String> {
    let mut order = Vec::new();
    for request in world.edge.requests().iter().filter(|request| request.method == "GET") {
        let Some((repository, _)) = request.path.split_once("/blobs/") else { continue };
        if !order.iter().any(|known| known == repository) {
            order.push(repository.to_owned());
        }
    }
    order
}

/// Reconciles the next set that is woken, as the controller would.
async fn follow(
    world: &World,
    importer: &Arc<Reconciler>,
    woken: &mut (impl Stream<Item = ObjectRef<EdgeImageSet>> + Unpin),
) {
    let set = tokio::time::timeout(Duration::from_secs(120), woken.next()).await;
    let set = set.unwrap_or_else(|_| panic!("no set is woken")).unwrap();
    let set = world.api.get(SETS, &set.namespace.unwrap(), &set.name).unwrap();
    reconcile(Arc::new(serde_json::from_value(set).unwrap()), Arc::clone(importer)).await.unwrap();
}

#[tokio::test]
async fn t202_content_is_read_back_on_demand_where_no_interval_is_set() {
    let mut world = World::new(1, Auth::None);
    world.config = "contentVerifyInterval: ''\n".to_owned();
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    let layer = world.images[0].blobs.iter().max_by_key(|(_, content)| content.len()).unwrap().0;
    assert!(world.edge.corrupt_blob(&layer));
    world.wait(90 * 24 * 3600);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY, "nobody asks for it");
    let mut woken = importer.wakeups(None);
    verify_content(&world, "shop", "x", "1");
    world.reconcile(&importer).await.unwrap();
    tokio::time::timeout(Duration::from_secs(120), woken.next()).await.unwrap().unwrap();
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("x"), "DigestMismatch");
}

#[tokio::test]
async fn t202_namespaces_take_turns_when_content_is_read_back() {
    let world = World::new(5, Auth::None);
    world.set_in("many", "x", &[0, 1, 2, 3], |_| {});
    world.set("one", &[4], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    let mut woken = importer.wakeups(None);
    verify_content(&world, "many", "x", "1");
    verify_content(&world, "shop", "one", "1");
    world.wait(11);
    world.edge.clear_requests();
    world.reconcile(&importer).await.unwrap();
    while read(&world).len() < 5 {
        follow(&world, &importer, &mut woken).await;
    }
    let order = read(&world);
    assert!(order[1].ends_with("/shop/app4"), "{order:?}");
}

/// Each set is woken when it is its turn, also where the one before it does not want its turn any more.
#[tokio::test]
async fn t202_sets_of_one_namespace_that_wait_are_woken_one_after_the_other() {
    let world = World::new(4, Auth::None);
    for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        world.set(name, &[n], |_| {});
    }
    let importer = world.importer();
    world.settle(&importer).await;
    let mut woken = importer.wakeups(None);
    for name in ["a", "b", "c", "d"] {
        verify_content(&world, "shop", name, "1");
    }
    world.wait(11);
    world.edge.clear_requests();
    // All but the first wait.
    world.reconcile(&importer).await.unwrap();
    world.set("c", &[2], |set| set["spec"]["suspend"] = json!(true));
    while !read(&world).iter().any(|repository| repository.ends_with("/shop/app3")) {
        follow(&world, &importer, &mut woken).await;
    }
    let order = read(&world);
    let names = order.iter().map(|repository| repository.rsplit('/').next().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["app0", "app1", "app3"]);
}

/// The same size, other bytes: neither HEAD nor a walk over the manifests shows it.
#[tokio::test]
async fn t60_content_that_rotted_at_the_edge_is_found_when_it_is_read_back_and_copied_again_once_removed() {
    let world = World::new(2, Auth::None);
    world.set("x", &[0, 1], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    let layer = world.images[1].blobs.iter().max_by_key(|(_, content)| content.len()).unwrap().0;
    assert!(world.edge.corrupt_blob(&layer));
    world.wait(25 * 3600);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY, "nothing but its bytes tells");
    let until = async |wanted: &str| {
        let looking = async {
            while world.reason("x") != wanted {
                world.reconcile(&importer).await.unwrap();
                world.run_jobs();
                world.wait(11);
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(120), looking).await;
        in_time.unwrap_or_else(|_| panic!("{wanted}: {:#}", world.status("x")));
    };
    verify_content(&world, "shop", "x", "1");
    until("DigestMismatch").await;
    let (_, reason, message) = world.condition("x", "Stalled").unwrap();
    assert_eq!(reason, "DigestMismatch");
    assert!(message.contains(&layer.to_string()), "{message}");
    assert_eq!(world.status("x")["synchronizedImages"], json!([world.reference(0)]));

    // A restart does not take it for sound.
    let again = world.importer();
    world.wait(11);
    world.reconcile(&again).await.unwrap();
    assert_eq!(world.reason("x"), "DigestMismatch");

    assert!(world.edge.delete_blob(&layer));
    until(READY).await;
    verify_content(&world, "shop", "x", "2");
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}
