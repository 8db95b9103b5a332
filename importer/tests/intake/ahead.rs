// SPDX-License-Identifier: Apache-2.0
//! Bundles whose sequence is too far ahead: one that was made with a wrong clock must not supersede the right ones.

use std::sync::Arc;

use axum::http::header::DATE;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use krs_core::sync::plan::PlanOptions;
use krs_importer::model::marks::Mark;
use serde_json::json;

use crate::world::{Key, Running, World, is, numbered};
use crate::{COMPLETE, SAFE, VERIFIED};

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

fn sequence(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap()
}

fn mark(world: &World) -> Option<u64> {
    let map = world.api.get("configmaps", "krs-system", "krs-streams")?;
    serde_json::from_str::<Mark>(map["data"]["prod"].as_str()?).ok().map(|mark| mark.sequence)
}

/// The command that the ImageBundle names, run as kubectl does.
fn run_command(world: &World, name: &str) {
    let bundle = world.api.get("imagebundles", "", name).unwrap();
    let message = bundle["status"]["message"].as_str().unwrap();
    let command = message.split('`').find(|part| part.starts_with("kubectl annotate ")).unwrap();
    let words = command.split(' ').collect::<Vec<_>>();
    let ["kubectl", "annotate", "--overwrite", "imagebundle", object, annotation] = words[..] else {
        panic!("{command}")
    };
    let (key, value) = annotation.split_once('=').unwrap();
    annotate(world, object, key, value);
}

fn annotate(world: &World, name: &str, key: &str, value: &str) {
    world.api.edit("kubectl", "imagebundles", "", name, &json!({"metadata": {"annotations": {key: value}}}));
}

/// Waits until a change of the folder that comes after all that happened before was taken in.
async fn next_scan(world: &World, name: &str) {
    std::fs::write(world.at(&format!("{name}.krs.tar")), "hello".repeat(1000)).unwrap();
    world.condition(name, VERIFIED, "False", "NotABundle").await;
}

async fn imported(world: &World, intake: &Running, name: &str) {
    intake.missing(&[]);
    world.condition(name, SAFE, "True", "Imported").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t215_a_bundle_dated_a_year_ahead_is_not_used_before_it_is_confirmed_with_its_digest() {
    let world = World::new();
    let now = Timestamp::now();
    let (right, later) = (sequence(now), sequence(now + YEAR));
    world.drop("ahead.krs.tar", later).await;
    let mut intake = world.start();
    let status = world.condition("ahead", VERIFIED, "False", "SequenceAhead").await;
    assert!(is(&status, "Imported", "False", "SequenceAhead"), "{status}");
    assert!(is(&status, SAFE, "False", "SequenceAhead"), "it may still be confirmed: {status}");
    assert!(is(&status, COMPLETE, "True", "FilePresent"), "{status}");
    assert_eq!((status["sequence"].as_u64(), &status["stream"]), (Some(later), &"prod".into()));
    let text = status["message"].as_str().unwrap();
    assert!(text.contains(&Timestamp::from_second(later.cast_signed()).unwrap().to_string()), "{text}");
    let stock = intake.stock(|stock| stock.refused.len() == 1).await;
    assert!(stock.bundles.is_empty(), "nothing decides and nothing is served");
    assert_eq!(stock.refused[0].reason, "SequenceAhead");
    let digest = status["digest"].as_str().unwrap().to_owned();
    assert!(intake.library.get(&digest.parse().unwrap()).is_none());

    // The right one is used as if the other were not there.
    world.drop("right.krs.tar", right).await;
    intake.stock(|stock| stock.bundles.len() == 1 && stock.bundles[0].name == "right").await;
    imported(&world, &intake, "right").await;
    assert_eq!(mark(&world), Some(right));

    // Neither another digest nor another ImageBundle counts.
    let key = "kuberegistrysync.io/accept-sequence";
    annotate(&world, "ahead", key, &format!("sha256:{}", "0".repeat(64)));
    annotate(&world, "right", key, &digest);
    next_scan(&world, "one").await;
    assert!(is(
        &world.api.get("imagebundles", "", "ahead").unwrap()["status"],
        VERIFIED,
        "False",
        "SequenceAhead"
    ));
    run_command(&world, "ahead");
    world.condition("ahead", VERIFIED, "True", "Succeeded").await;
    world.condition("ahead", SAFE, "True", "Imported").await;
    intake.stock(|stock| stock.bundles.len() == 2 && stock.bundles[0].name == "ahead").await;
    assert_eq!(mark(&world), Some(later));
    // It was used: nobody is asked again after a restart, nor for what its stream brings next.
    intake.stop().await;
    let mut intake = world.start();
    world.drop("next.krs.tar", later + 86_400).await;
    intake.stock(|stock| stock.bundles.iter().any(|bundle| bundle.name == "next")).await;
    intake.stop().await;
}

/// The procedure of docs/operate.md, after an importer that asked nobody has used such a bundle.
#[tokio::test(flavor = "multi_thread")]
async fn t215_one_stream_is_reset_after_a_bundle_that_is_dated_ahead_was_used() {
    let world = World::new();
    let now = Timestamp::now();
    world.drop("ahead.krs.tar", sequence(now + YEAR)).await;
    world.drop("right.krs.tar", sequence(now)).await;
    let old = Mark { sequence: 7, identity: krs_core::oci::digest::Digest::of(b"test"), created_at: now };
    world.api.put(
        "configmaps",
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "krs-streams", "namespace": "krs-system"},
            "data": {"test": json!(old).to_string()},
        }),
    );
    let intake = world.start();
    world.condition("ahead", VERIFIED, "False", "SequenceAhead").await;
    run_command(&world, "ahead");
    imported(&world, &intake, "ahead").await;
    world.condition("right", "Superseded", "True", "NewerUsed").await;

    // 1. The media are pulled and the confirmation is removed. 2. The entry of the stream is removed.
    let away = world.at("ahead.krs.tar.away");
    std::fs::rename(world.at("ahead.krs.tar"), &away).unwrap();
    world.condition("ahead", SAFE, "True", "MediaAbsent").await;
    annotate_none(&world, "ahead");
    let patch = json!({"data": {"prod": null}});
    world.api.edit("kubectl", "configmaps", "krs-system", "krs-streams", &patch);
    world.condition("right", "Superseded", "False", "Newest").await;
    world.condition("right", SAFE, "True", "Imported").await;
    let map = world.api.get("configmaps", "krs-system", "krs-streams").unwrap();
    assert_eq!(map["data"]["test"], json!(old).to_string(), "other streams keep their marks");
    // Who inserts the media again is told what is wrong with them.
    std::fs::rename(&away, world.at("ahead.krs.tar")).unwrap();
    world.condition("ahead", VERIFIED, "False", "SequenceAhead").await;
    world.drop("next.krs.tar", sequence(now) + 1).await;
    imported(&world, &intake, "next").await;
    assert_eq!(mark(&world), Some(sequence(now) + 1));
    intake.stop().await;
}

fn annotate_none(world: &World, name: &str) {
    let patch = json!({"metadata": {"annotations": {"kuberegistrysync.io/accept-sequence": null}}});
    world.api.edit("kubectl", "imagebundles", "", name, &patch);
}

/// The clock of the machine may stand still since years.
#[tokio::test(flavor = "multi_thread")]
async fn t215_the_time_of_the_api_server_and_of_the_last_bundle_count_as_the_clock_does() {
    let later = Timestamp::now() + YEAR;
    for by_server in [true, false] {
        let world = World::new();
        world.drop("later.krs.tar", sequence(later)).await;
        let client = if by_server {
            let date =
                jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&later).unwrap();
            let add = move |mut response: Response| {
                response.headers_mut().insert(DATE, date.parse().unwrap());
                std::future::ready(response)
            };
            kube::Client::new(world.api.service().layer(axum::middleware::map_response(add)), "default")
        } else {
            let used = Mark {
                sequence: sequence(later) - 86_400,
                identity: krs_core::oci::digest::Digest::of(b"earlier"),
                created_at: later,
            };
            world.api.put(
                "configmaps",
                json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": "krs-streams", "namespace": "krs-system"},
                    "data": {"prod": json!(used).to_string()},
                }),
            );
            world.api.client()
        };
        let intake = world.start_with(client);
        world.condition("later", VERIFIED, "True", "Succeeded").await;
        intake.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t215_the_file_of_a_bundle_that_waits_for_a_confirmation_is_closed_and_nothing_is_written_meanwhile()
{
    let world = World::new();
    world.drop("ahead.krs.tar", sequence(Timestamp::now() + YEAR)).await;
    let unsigned = world.make("other.krs.tar", "", numbered(u64::MAX), Some(&Key::new())).await;
    std::fs::copy(unsigned, world.at("other.krs.tar")).unwrap();
    let intake = world.start();
    world.condition("ahead", VERIFIED, "False", "SequenceAhead").await;
    world.condition("other", VERIFIED, "False", "UntrustedKey").await;
    let is_open = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        let mut files = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        files.any(|file| file == world.at("ahead.krs.tar").as_std_path())
    };
    let closed = async {
        while is_open() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), closed).await.unwrap();
    let version =
        || world.api.get("imagebundles", "", "ahead").unwrap()["metadata"]["resourceVersion"].clone();
    let before = version();
    next_scan(&world, "one").await;
    assert_eq!(version(), before);
    assert!(!is_open(), "it is not read again with each scan");
    intake.stop().await;
}

/// As of media that were pulled (T-167).
#[tokio::test(flavor = "multi_thread")]
async fn t215_nothing_waits_for_the_file_of_a_bundle_that_is_put_aside_again_to_be_closed() {
    let world = World::new();
    world.drop("ahead.krs.tar", sequence(Timestamp::now() + YEAR)).await;
    let intake = world.start();
    world.condition("ahead", VERIFIED, "False", "SequenceAhead").await;
    run_command(&world, "ahead");
    imported(&world, &intake, "ahead").await;
    let status = world.api.get("imagebundles", "", "ahead").unwrap()["status"].clone();
    let digest = status["digest"].as_str().unwrap().parse().unwrap();
    let held = Arc::downgrade(&intake.library.get(&digest).unwrap());
    annotate_none(&world, "ahead");
    let patch = json!({"data": {"prod": null}});
    world.api.edit("kubectl", "configmaps", "krs-system", "krs-streams", &patch);
    world.condition("ahead", VERIFIED, "False", "SequenceAhead").await;
    let alone = async {
        while held.strong_count() != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let alone = tokio::time::timeout(std::time::Duration::from_secs(20), alone).await;
    assert!(alone.is_ok(), "held {} times: by its entry, and by what else?", held.strong_count());
    intake.stop().await;
}

/// The mark is raised without the file where the importer died before it did so; whoever may write the status of an
/// ImageBundle meanwhile must not set it for years to come.
#[tokio::test(flavor = "multi_thread")]
async fn t215_what_an_image_bundle_tells_of_a_file_that_is_away_raises_no_mark_that_is_far_ahead() {
    for (ahead, is_confirmed) in [(false, false), (true, false), (true, true)] {
        let world = World::new();
        let now = Timestamp::now();
        let told = sequence(if ahead { now + YEAR } else { now });
        let digest = krs_core::oci::digest::Digest::of(b"manifest");
        let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "Imported", "message": "", "lastTransitionTime": now});
        let annotation = if is_confirmed { digest.to_string() } else { String::new() };
        world.api.put(
            "imagebundles",
            json!({
                "apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "ImageBundle",
                "metadata": {
                    "name": "gone",
                    "labels": {"kuberegistrysync.io/importer": "krs-system"},
                    "annotations": {"kuberegistrysync.io/accept-sequence": annotation},
                },
                "spec": {"file": "gone.krs.tar"},
                "status": {
                    "digest": digest, "identity": digest, "stream": "prod", "sequence": told, "createdAt": now,
                    "conditions": [condition(VERIFIED), condition("Imported")],
                },
            }),
        );
        let intake = world.start();
        intake.missing(&[]);
        let is_used = !ahead || is_confirmed;
        if is_used {
            world.condition("gone", SAFE, "True", "MediaAbsent").await;
        } else {
            world.drop("right.krs.tar", sequence(now)).await;
            world.condition("right", SAFE, "True", "Imported").await;
        }
        assert_eq!(mark(&world), Some(if is_used { told } else { sequence(now) }), "{ahead} {is_confirmed}");
        intake.stop().await;
    }
}

/// A counter says nothing about the clock that its sender has.
#[tokio::test(flavor = "multi_thread")]
async fn t30_a_bundle_of_a_sender_with_a_wrong_clock_lets_no_right_one_expire() {
    let mut world = World::new();
    world.config.enforce_expiry = true;
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let day = SignedDuration::from_hours(24);
    let drop = async |name: &str, sequence: u64, made: Timestamp, end: Option<Timestamp>| {
        let options = PlanOptions { source_date: Some(made), not_after: end, ..numbered(sequence) };
        let path = world.make(name, "", options, Some(&world.key)).await;
        std::fs::copy(path, world.at(name)).unwrap();
    };
    drop("wrong.krs.tar", 1, now + YEAR, None).await;
    let intake = world.start();
    // Its time comes into the mark, too, and decides which of two streams counts.
    let status = world.condition("wrong", VERIFIED, "False", "SequenceAhead").await;
    assert!(status["message"].as_str().unwrap().contains("it says that it was made at"), "{status}");
    assert_eq!(mark(&world), None);
    let digest = status["digest"].as_str().unwrap();
    annotate(&world, "wrong", "kuberegistrysync.io/accept-sequence", digest);
    imported(&world, &intake, "wrong").await;
    assert_eq!(mark(&world), Some(1));
    let status = &world.api.get("imagebundles", "", "wrong").unwrap()["status"];
    assert!(!status["message"].as_str().unwrap().contains("the clock of this site is behind"), "{status}");
    drop("right.krs.tar", 2, now, Some(now + day * 30)).await;
    drop("late.krs.tar", 3, now - day * 2, Some(now - day)).await;
    world.condition("right", VERIFIED, "True", "Succeeded").await;
    world.condition("late", VERIFIED, "False", "Expired").await;
    next_scan(&world, "one").await;
    imported(&world, &intake, "right").await;
    intake.stop().await;
}
