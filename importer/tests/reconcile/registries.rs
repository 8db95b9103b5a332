// SPDX-License-Identifier: Apache-2.0
//! Many sets and few registries: what is asked, how often, and what happens while one of them does not answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use krs_core::crd::EdgeImageSet;
use krs_importer::app::reconcile::{Reconciler, reconcile};
use krs_testing::registry::{Auth, Matcher, What};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::READY;
use crate::world::{SETS, World};

/// A registry that takes connections and says nothing, or nothing after its first answer.
struct Silent {
    host: String,
    connections: Arc<AtomicUsize>,
}

impl Silent {
    async fn start(answers: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                if count.fetch_add(1, Ordering::Relaxed) < answers {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                    let _ = connection.read(&mut [0; 4096]).await;
                    connection.write_all(answer).await.unwrap();
                }
                held.push(connection);
            }
        });
        Self { host, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl World {
    pub(crate) fn object(&self, name: &str) -> Arc<EdgeImageSet> {
        Arc::new(serde_json::from_value(self.api.get(SETS, "shop", name).unwrap()).unwrap())
    }

    /// Lets the importer know all sets and Jobs, without a reconcile.
    pub(crate) async fn prime(&self, importer: &Reconciler) {
        for set in self.api.all(SETS) {
            importer.prime(&serde_json::from_value(set).unwrap()).await.unwrap();
        }
        let heartbeat = self.heartbeats.begin("the test", std::time::Duration::from_secs(3600));
        importer.prime_jobs(&self.stored(), &heartbeat).await.unwrap();
        importer.begin();
    }
}

fn at(world: &mut World, host: &str) {
    world.allowed.push(krs_importer::model::config::AllowedDestination::Any(host.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn t134_a_reconcile_ends_in_time_though_the_registry_never_answers() {
    // Nothing at all; then an answer to the first request, and nothing to those about the image.
    for answers in [0, 1] {
        let (mut world, silent) = (World::new(1, Auth::None), Silent::start(answers).await);
        at(&mut world, &silent.host);
        world.set("x", &[0], |set| {
            set["spec"]["destinationRegistry"] = json!(silent.host);
            set["spec"]["destinationTLS"] = json!({"plainHTTP": true});
        });
        let importer = world.importer();
        for _ in 0..4 {
            let before = tokio::time::Instant::now();
            world.reconcile(&importer).await.unwrap();
            assert!(before.elapsed() <= Duration::from_secs(30), "{:?}", before.elapsed());
            assert_eq!(world.reason("x"), "RegistryUnreachable");
            tokio::time::sleep(Duration::from_secs(30)).await;
            world.wait(30);
        }
        assert!(silent.connections() > answers);
    }
}

#[tokio::test]
async fn t159_a_source_registry_that_never_answers_blocks_its_own_images_only() {
    let (mut world, silent) = (World::new(1, Auth::None), Silent::start(0).await);
    let host = &silent.host;
    world.config = format!("online: {{enabled: true, allowedSources: ['{host}'], plainHTTP: ['{host}']}}\n");
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    world.set("x", &[0], |set| {
        let images = set["spec"]["images"].as_array_mut().unwrap();
        images.extend((0..20).map(|n| json!({"image": format!("{host}/app{n}:1")})));
    });
    // What the edge registry has is verified, so that nobody but the source registry is asked.
    tokio::time::pause();
    for _ in 0..3 {
        let before = tokio::time::Instant::now();
        world.reconcile(&importer).await.unwrap();
        assert!(before.elapsed() <= Duration::from_secs(20), "{:?}", before.elapsed());
        let (_, reason, message) = world.condition("x", "Ready").unwrap();
        assert_eq!(reason, "RegistryUnreachable");
        assert!(message.contains("within 10 s"), "{message}");
        assert_eq!(world.status("x")["observedGeneration"], 2);
        assert_eq!(world.status("x")["images"]["present"], 1);
        world.wait(30);
    }
    assert!(silent.connections() > 0);
    let demand = world.demand();
    let (name, _) = demand.sets.iter().next().unwrap();
    importer.retain(&[world.object(&name.name)], true);
    let listed = demand.sets[name].images.iter().count();
    assert!(world.demand().complete && listed == 21, "{demand:?}");
}

#[tokio::test(start_paused = true)]
async fn t160_what_a_check_found_out_before_a_suspension_or_a_request_is_not_taken() {
    let suspend = |world: &World, host: &str, suspend: bool| {
        world.set("x", &[0], |set| {
            set["spec"]["destinationRegistry"] = json!(host);
            set["spec"]["suspend"] = json!(suspend);
        });
    };
    for (what, asks_again) in [("nothing", false), ("suspension", true), ("request", true)] {
        let (mut world, silent) = (World::new(1, Auth::None), Silent::start(0).await);
        at(&mut world, &silent.host);
        suspend(&world, &silent.host, false);
        let importer = world.importer();
        world.reconcile(&importer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.wait(60);
        let before = silent.connections();
        match what {
            "suspension" => {
                suspend(&world, &silent.host, true);
                world.reconcile(&importer).await.unwrap();
                world.wait(3 * 24 * 3600);
                suspend(&world, &silent.host, false);
            }
            "request" => {
                let mut set = world.api.get(SETS, "shop", "x").unwrap();
                set["metadata"]["annotations"]["kuberegistrysync.io/reconcile-at"] = json!("now");
                world.api.put(SETS, set);
            }
            _ => {}
        }
        world.reconcile(&importer).await.unwrap();
        assert_eq!(world.reason("x"), "RegistryUnreachable");
        assert_eq!(silent.connections() > before, asks_again, "{what}");
    }
}

/// What the controller does: so many reconciles at once.
const CONCURRENCY: usize = 16;

#[tokio::test]
async fn t134_sets_of_other_registries_continue_while_one_never_answers() {
    let (mut world, silent) = (World::new(1, Auth::None), Silent::start(0).await);
    at(&mut world, &silent.host);
    let names = (0..40).map(|n| format!("silent-{n}")).collect::<Vec<_>>();
    for name in &names {
        world.set(name, &[0], |set| set["spec"]["destinationRegistry"] = json!(silent.host));
    }
    world.set("good", &[0], |_| {});
    let importer = world.importer();
    world.prime(&importer).await;
    // All of the registry that never answers come first; those that cannot ask now make room at once.
    let mut names = names.iter().map(String::as_str).chain(["good"]);
    let mut running = FuturesUnordered::new();
    let start = |name: &str| {
        let name = name.to_owned();
        reconcile(world.object(&name), Arc::clone(&importer)).map(move |result| (name, result))
    };
    running.extend(names.by_ref().take(CONCURRENCY).map(start));
    loop {
        let (name, result) = running.next().await.unwrap();
        result.unwrap();
        if name == "good" {
            break;
        }
        running.extend(names.next().map(start));
    }
    assert_eq!(world.reason("good"), "Copying", "its first status is there");
    assert!(!running.is_empty(), "others still wait for the registry that never answers");
    assert!(silent.connections() <= 4, "{} checks at once", silent.connections());
}

#[tokio::test]
async fn t135_a_registry_that_fails_again_and_again_is_left_alone_and_asked_by_one_set_first() {
    let world = World::new(2, Auth::None);
    for name in ["a", "b", "c"] {
        world.set(name, &[0, 1], |_| {});
    }
    let importer = world.importer();
    let fail = || world.edge.fail(Matcher::any(), What::Status(503, vec![], String::new()));
    fail();
    world.reconcile(&importer).await.unwrap();
    world.reconcile(&importer).await.unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(world.reason(name), if name == "c" { "RegistryBackOff" } else { "RegistryUnreachable" });
    }
    world.wait(11);
    world.edge.clear_requests();
    for _ in 0..10 {
        world.reconcile(&importer).await.unwrap();
        world.wait(1);
    }
    assert!(world.edge.requests().is_empty(), "nobody asks it during the pause");
    let (_, reason, message) = world.condition("a", "Ready").unwrap();
    assert_eq!(reason, "RegistryBackOff");
    assert!(message.contains("5 times") && message.contains("2026-01-01T00:00:31Z"), "{message}");
    world.wait(30);
    world.reconcile(&importer).await.unwrap();
    let probe = world.edge.requests().len();
    assert!((1..=3).contains(&probe), "one set asks, with its retries: {probe} requests");
    // It answers again: the set that asks next wakes the others.
    world.edge.clear_faults();
    world.wait(61);
    let mut woken = importer.wakeups(None);
    reconcile(world.object("b"), Arc::clone(&importer)).await.unwrap();
    let names = std::iter::from_fn(|| woken.next().now_or_never().flatten()).map(|set| set.name);
    assert!(names.collect::<Vec<_>>().contains(&"c".to_owned()));
    world.settle(&importer).await;
    world.settle(&importer).await;
    for name in ["a", "b", "c"] {
        assert_eq!(world.reason(name), READY);
    }
}

#[tokio::test]
async fn t135_a_set_with_a_wrong_setting_does_not_cut_the_others_off() {
    let world = World::new(1, Auth::None);
    for n in 0..8 {
        world.set(&format!("wrong-{n}"), &[0], |set| {
            set["spec"]["destinationTLS"] = json!({"insecureSkipVerify": true});
        });
    }
    world.set("right", &[0], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    assert_ne!(world.reason("wrong-0"), READY);
    assert_eq!(world.reason("right"), READY);
}

#[tokio::test]
async fn t136_sets_that_wait_for_a_job_ask_nobody_and_are_woken_by_its_end() {
    const SETS: usize = 30;
    let world = World::new(8, Auth::None);
    let names = (0..SETS).map(|n| format!("set-{n:02}")).collect::<Vec<_>>();
    for (n, name) in names.iter().enumerate() {
        world.set(name, &[0, 1, 2, 3, 4, 5, 6, 7], |set| {
            set["spec"]["destinationRegistry"] = json!(format!("{}/site{n}", world.edge.host()));
        });
    }
    let importer = world.importer();
    let mut woken = importer.wakeups(None);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running().len(), 8, "the limit on Jobs");
    let connections = world.edge.connections();
    assert!(connections <= 8, "{connections} connections for {SETS} sets of one registry");
    world.edge.clear_requests();
    for _ in 0..50 {
        world.reconcile(&importer).await.unwrap();
        world.wait(5);
    }
    assert!(
        world.edge.requests().is_empty(),
        "{} requests while nothing happens",
        world.edge.requests().len()
    );
    // From here on nothing is reconciled but for an event: a Job of the set ended, or the importer wakes it.
    let mut rounds = 0;
    while names.iter().any(|name| world.reason(name) != READY) {
        let owners = world.running().into_iter().map(|(job, _)| {
            let job = world.api.get("jobs", "shop", &job).unwrap();
            job["metadata"]["ownerReferences"][0]["name"].as_str().unwrap().to_owned()
        });
        let mut due = owners.collect::<BTreeSet<_>>();
        world.run_jobs();
        world.wait(11);
        while let Some(name) = due.pop_first() {
            reconcile(world.object(&name), Arc::clone(&importer)).await.unwrap();
            due.extend(std::iter::from_fn(|| woken.next().now_or_never().flatten()).map(|set| set.name));
        }
        rounds += 1;
        assert!(
            rounds <= 20,
            "sets were not woken: {:?}",
            names.iter().map(|name| world.reason(name)).collect::<Vec<_>>()
        );
    }
    let connections = world.edge.connections();
    assert!(connections <= 8 + 8 * 20, "{connections} connections");
}
