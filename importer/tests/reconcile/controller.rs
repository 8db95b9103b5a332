// SPDX-License-Identifier: Apache-2.0
//! The controller as it runs: what wakes a set, and what happens when the API server refuses, hangs, forgets or is restored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use krs_importer::adapters::api_client::{Limits, limited};
use krs_importer::adapters::heartbeat::Watches;
use krs_importer::adapters::metrics::{Metrics, encode};
use krs_importer::app::controller::{self, Pace};
use krs_importer::app::reconcile::Reconciler;
use krs_testing::registry::Auth;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{FakeApi, Snapshot, Trouble};
use crate::world::{SETS, World};

/// Longest time that anything here takes.
const TIMEOUT: Duration = Duration::from_secs(120);
/// An API server that does not answer is noticed soon.
const LIMITS: Limits = Limits { call: Duration::from_millis(300), silence: Duration::from_millis(600) };

/// Watches are not looked after while a test runs.
const SLOW: Pace = Pace {
    compare: Duration::from_secs(3600),
    max_age: Duration::from_secs(3600),
    limit: Duration::from_secs(7200),
    sweep: Duration::from_secs(2),
};

pub(crate) struct Running {
    importer: Arc<Reconciler>,
    is_primed: Arc<AtomicBool>,
    measured: prometheus_client::registry::Registry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) fn start(world: &World) -> Running {
    start_at(world, SLOW)
}

fn start_at(world: &World, pace: Pace) -> Running {
    let (metrics, measured) = Metrics::new();
    let watches = Watches::new(world.heartbeats.clone(), metrics);
    let importer = world.importer_with(limited(world.api.client(), LIMITS, Arc::clone(&watches)));
    let (stop, stopped) = oneshot::channel();
    let is_primed = Arc::new(AtomicBool::new(false));
    let stopped = async move {
        let _ = stopped.await;
    };
    let running = controller::run(
        Arc::clone(&importer),
        watches,
        world.stocked(),
        Arc::clone(&is_primed),
        pace,
        futures::FutureExt::shared(stopped),
    );
    Running { importer, is_primed, measured, stop, task: tokio::spawn(running) }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(TIMEOUT, self.task).await.unwrap().unwrap();
    }
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

fn observed(world: &World, name: &str) -> i64 {
    world.status(name)["observedGeneration"].as_i64().unwrap_or_default()
}

pub(crate) fn reconciles(world: &World) -> u64 {
    world.metrics.reconciliations.get()
}

pub(crate) async fn until_quiescent(world: &World) -> u64 {
    let mut before = u64::MAX;
    while before != reconciles(world) {
        before = reconciles(world);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_reconciled_when_its_spec_an_annotation_a_job_or_the_folder_changes_and_not_for_its_own_status()
 {
    let world = World::new(2, Auth::None);
    world.set("x", &[0], |_| {});
    let running = start(&world);
    until("a Job", || world.running().len() == 1).await;
    assert!(running.is_primed.load(Ordering::Acquire));
    world.run_jobs();
    until("the end of the Job", || world.reason("x") == "SyncSuccessful").await;
    // Its status was written: that wakes nobody.
    let before = until_quiescent(&world).await;
    let request = json!({"metadata": {"annotations": {"kuberegistrysync.io/reconcile-at": "1"}}});
    world.api.edit("kubectl", SETS, "shop", "x", &request);
    until("an annotation", || reconciles(&world) > before).await;
    let before = until_quiescent(&world).await;
    world.plug_in();
    until("the folder", || reconciles(&world) > before).await;
    world.set("x", &[0, 1], |_| {});
    until("the spec", || observed(&world, "x") == 2 && world.running().len() == 1).await;
    world.set("y", &[1], |_| {});
    until("a new set", || observed(&world, "y") == 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_or_is_too_old_is_begun_again_and_no_change_is_lost() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let running = start(&world);
    until("the first reconcile", || observed(&world, "x") == 1).await;
    for (generation, what) in ["410 at once", "410 when it continues", "a restart"].into_iter().enumerate() {
        let lists = || world.api.calls().iter().filter(|call| *call == "GET edgeimagesets").count();
        let before = lists();
        match generation {
            0 => world.api.expire(),
            1 => {
                world.api.trouble("WATCH", SETS, Trouble::Status(410, "Expired", "too old"), Some(1));
                world.api.disconnect();
            }
            _ => world.api.disconnect(),
        }
        world.set("x", &[0], |_| {});
        if generation == 0 {
            // What changed is not in the history any more.
            world.api.compact();
        }
        let wanted = i64::try_from(generation).unwrap() + 2;
        until(what, || observed(&world, "x") == wanted).await;
        assert_eq!(lists() > before, generation < 2, "{what}: listed again");
    }
    running.stop().await;
}

/// The first answers of one kind of call never come, one before and one after its effect.
async fn without_answers_to(verb: &'static str, plural: &'static str) {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    for trouble in [Trouble::Hang, Trouble::HangAfter] {
        world.api.trouble(verb, plural, trouble, Some(1));
    }
    let running = start(&world);
    until(&format!("{verb} {plural}: a Job"), || world.running().len() == 1).await;
    until(&format!("{verb} {plural}: the status"), || world.reason("x") == "Copying").await;
    world.run_jobs();
    world.wait(11);
    until(&format!("{verb} {plural}: the end"), || world.reason("x") == "SyncSuccessful").await;
    assert_eq!(world.api.all("jobs").len(), 0, "{verb} {plural}: no Job twice");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t147_an_api_server_that_never_answers_stops_nothing_for_longer_than_its_time_limit() {
    let calls = [
        ("GET", SETS),
        ("GET", "jobs"),
        ("GET", "configmaps"),
        ("POST", "jobs"),
        ("PATCH", "configmaps"),
        ("PATCH", SETS),
        ("POST", "events"),
        ("WATCH", SETS),
        ("WATCH", "jobs"),
    ];
    futures::future::join_all(calls.map(|(verb, plural)| without_answers_to(verb, plural))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t147_a_silent_watch_is_begun_again_and_health_shows_every_loop() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let running = start(&world);
    until("the first reconcile", || observed(&world, "x") == 1).await;
    // The connection is dead, and nobody says so.
    world.api.trouble("WATCH", SETS, Trouble::HangAfter, Some(1));
    world.api.disconnect();
    let begun = || world.api.calls().iter().filter(|call| *call == "WATCH edgeimagesets").count();
    until("the watch", || begun() == 2).await;
    world.set("x", &[0], |_| {});
    until("a change behind a silent watch", || observed(&world, "x") == 2).await;
    assert_eq!(world.heartbeats.check(), Ok(()));
    let loops = world.heartbeats.list().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    for name in ["the controller", "the watch of edgeimagesets", "the watch of jobs"] {
        assert!(loops.iter().any(|found| found == name), "{loops:?}");
    }
    let text = encode(&running.measured);
    assert!(
        text.contains(r#"krs_watch_last_success_timestamp_seconds{resource="jobs",namespace=""}"#),
        "{text}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t148_a_namespace_that_cannot_be_watched_and_a_set_of_a_later_version_stop_nobody_else() {
    let mut world = World::new(1, Auth::None);
    world.namespaces = ["shop", "closed"].map(str::to_owned).to_vec();
    for plural in [SETS, "jobs"] {
        world.api.trouble_in("closed", "", plural, Trouble::Status(403, "Forbidden", "no Role"));
    }
    world.set("x", &[0], |_| {});
    world.set("later", &[0], |set| set["spec"]["source"] = json!("Tape"));
    world.set("other", &[0], |set| {
        set["metadata"]["namespace"] = json!("closed");
        set["spec"]["images"][0]["destinationRepository"] = json!("other");
    });
    let running = start(&world);
    until("the set that can be read", || world.running().len() == 1).await;
    assert!(running.is_primed.load(Ordering::Acquire), "ready");
    until("the set of a later version", || observed(&world, "later") == 1).await;
    let (_, reason, message) = world.condition("later", "Stalled").unwrap();
    assert_eq!(reason, "InvalidSpec");
    assert!(message.contains("Tape") && message.contains("update the importer"), "{message}");
    // A sweep after all sets that can be read were reconciled: the namespace that cannot may have more.
    world.set("deleted", &[], |_| {});
    until("every set that can be read", || world.demand().sets.len() == 3).await;
    world.api.remove(SETS, "shop", "deleted");
    until("the sweep", || world.demand().sets.len() == 2).await;
    assert!(!world.demand().complete, "media would be declared safe to remove");
    // The Role is made, and the set is corrected.
    world.api.mend();
    world.set("later", &[0], |_| {});
    until("the namespace", || {
        world.api.get(SETS, "closed", "other").unwrap()["status"]["observedGeneration"] == 1
    })
    .await;
    until("the corrected set", || observed(&world, "later") == 2).await;
    assert!(world.condition("later", "Stalled").is_none());
    until("the demand of all", || world.demand().complete).await;
    assert!(running.importer.heartbeats().check().is_ok());
    running.stop().await;
}

/// Changes that have nothing to do with the importer.
fn pass_versions(world: &World, count: usize) {
    for n in 0..count {
        let map = json!({"metadata": {"name": "other", "namespace": "shop"}, "data": {"n": n.to_string()}});
        world.api.put("configmaps", map);
    }
}

/// What a set asks for, as the intake sees it.
fn wants(world: &World, name: &str, image: usize) -> bool {
    let demand = world.demand();
    let set = demand.sets.iter().find(|(set, _)| set.name == name);
    set.is_some_and(|(_, set)| set.images.contains_digest(&world.images[image].digest))
}

/// etcd is restored from a backup, and the API server counts from there. A watch from later is accepted, and silent.
async fn restored(restore: impl Fn(&FakeApi, Snapshot)) {
    let world = World::new(5, Auth::None);
    world.set("x", &[0], |_| {});
    world.set("untouched", &[4], |_| {});
    let pace = Pace { compare: Duration::from_millis(100), ..SLOW };
    let running = start_at(&world, pace);
    until("the Jobs", || world.running().len() == 2).await;
    until_quiescent(&world).await;
    let backup = world.api.snapshot();
    assert_eq!(world.reason("untouched"), "Copying");
    world.run_jobs();
    until("the end of the Jobs", || world.reason("untouched") == "SyncSuccessful").await;
    world.set("x", &[0, 1], |_| {});
    world.set("lost", &[2], |_| {});
    until("what will be lost", || observed(&world, "x") == 2 && observed(&world, "lost") == 1).await;
    pass_versions(&world, 1000);
    world.set("x", &[0, 2], |_| {});
    until("a watch that is far ahead", || observed(&world, "x") == 3).await;

    restore(&world.api, backup);
    // Of the same generation as what was lost.
    world.set("x", &[0, 3], |_| {});
    world.set("new", &[1], |_| {});
    let set_of = |name: &str| world.api.get(SETS, "shop", name);
    until("a new set", || set_of("new").is_some_and(|set| set["status"]["observedGeneration"] == 1)).await;
    until("a changed set", || wants(&world, "x", 3) && !wants(&world, "x", 2)).await;
    until("the status of the changed set", || observed(&world, "x") == 2).await;
    until("a status that went back", || world.reason("untouched") == "SyncSuccessful").await;
    until("the set that is gone", || world.demand().sets.keys().all(|set| set.name != "lost")).await;
    let copied = || {
        world.run_jobs();
        world.wait(1);
        world.reason("x") == "SyncSuccessful" && world.reason("new") == "SyncSuccessful"
    };
    until("the end of all Jobs", copied).await;
    assert_eq!(world.heartbeats.check(), Ok(()));
    let overwritten =
        world.api.all("events").into_iter().filter(|event| event["reason"] == "StatusOverwritten");
    assert_eq!(overwritten.count(), 0, "nobody else wrote a status");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t182_sets_are_seen_after_etcd_was_restored_and_the_api_server_restarted() {
    restored(FakeApi::restore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t182_sets_are_seen_after_etcd_was_restored_below_watches_that_run() {
    restored(FakeApi::restore_below).await;
}

/// What was lost may have had the same generation and the same status.
#[tokio::test(flavor = "multi_thread")]
async fn t182_a_set_of_which_nothing_seems_to_have_changed_is_reconciled_after_etcd_was_restored() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let running = start_at(&world, Pace { compare: Duration::from_millis(100), ..SLOW });
    until("a Job", || world.running().len() == 1).await;
    world.run_jobs();
    until("the end of the Job", || world.reason("x") == "SyncSuccessful").await;
    let before = until_quiescent(&world).await;
    let backup = world.api.snapshot();
    pass_versions(&world, 1000);
    // Seen by the watch, and no reason to reconcile.
    world.api.edit("x", SETS, "shop", "x", &json!({"metadata": {"labels": {"a": "b"}}}));
    assert_eq!(until_quiescent(&world).await, before);
    world.api.restore(backup);
    until("a reconcile", || reconciles(&world) > before).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t182_health_shows_a_watch_that_is_ahead_of_the_api_server_until_everything_was_listed_again() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let pace = Pace { compare: Duration::from_millis(50), limit: Duration::from_millis(1500), ..SLOW };
    let running = start_at(&world, pace);
    until("the first reconcile", || observed(&world, "x") == 1).await;
    until_quiescent(&world).await;
    let backup = world.api.snapshot();
    pass_versions(&world, 1000);
    world.set("x", &[0], |_| {});
    until("a watch that is ahead", || observed(&world, "x") == 2).await;
    assert_eq!(world.heartbeats.check(), Ok(()));
    // Complete lists get no answer, and comparisons do.
    world.api.trouble("LIST", SETS, Trouble::Hang, None);
    world.api.restore(backup);
    let failing =
        || world.heartbeats.check().is_err_and(|why| why.contains("the comparison of edgeimagesets"));
    until("health", failing).await;
    world.api.mend();
    until("everything listed again", || world.heartbeats.check() == Ok(())).await;
    world.set("x", &[0], |_| {});
    until("a change", || observed(&world, "x") == 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t182_everything_is_listed_again_from_time_to_time_and_no_set_is_reconciled_for_that() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let running = start_at(&world, Pace { max_age: Duration::from_millis(200), ..SLOW });
    until("a Job", || world.running().len() == 1).await;
    world.run_jobs();
    until("the end of the Job", || world.reason("x") == "SyncSuccessful").await;
    for job in world.api.all("jobs") {
        world.api.remove("jobs", "shop", job["metadata"]["name"].as_str().unwrap());
    }
    let before = until_quiescent(&world).await;
    let lists = || world.api.calls().iter().filter(|call| *call == "GET edgeimagesets").count();
    let listed = lists();
    until("three more lists", || lists() >= listed + 3).await;
    assert_eq!(reconciles(&world), before);
    running.stop().await;
}

#[tokio::test]
async fn t211_annotations_of_others_start_no_reconcile_and_own_ones_do() {
    let world = World::new(2, Auth::None);
    world.set("idle", &[0], |_| {});
    world.settle(&world.importer()).await;
    world.set("busy", &[1], |_| {});
    let running = start(&world);
    until("its Job runs", || world.reason("busy") == "Copying").await;
    let annotate = |set: &str, key: &str, value: &str| {
        world.api.edit("x", SETS, "shop", set, &json!({"metadata": {"annotations": {key: value}}}));
    };
    // Only a reconcile of the set whose Job runs reads a Job.
    let reads = || world.api.calls().iter().filter(|call| *call == "GET jobs").count();
    let handled = |value: &str| world.status("idle")["lastHandledReconcileAt"] == value;
    annotate("idle", "kuberegistrysync.io/reconcile-at", "1");
    until("what came before is over", || handled("1")).await;
    let before = reads();
    for n in 0..24 {
        annotate("busy", "argocd.argoproj.io/refresh", &n.to_string());
    }
    world.api.edit("x", SETS, "shop", "busy", &json!({"metadata": {"labels": {"a": "b"}}}));
    annotate("idle", "kuberegistrysync.io/reconcile-at", "2");
    until("what came later is handled", || handled("2")).await;
    assert_eq!(reads(), before);
    annotate("busy", "kuberegistrysync.io/reconcile-at", "1");
    until("it is reconciled", || reads() > before).await;
    running.stop().await;
}
