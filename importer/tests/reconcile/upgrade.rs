// SPDX-License-Identifier: Apache-2.0
//! `helm upgrade` from 0.1 in the middle of a copy, and back again: `cluster.json` is what 0.1 left in the API server, a set
//! of two images, of which one is present and one is being copied.

use std::collections::BTreeMap;

use krs_core::oci::reference::Destination;
use krs_testing::registry::Auth;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::{SETS, World};

const CLUSTER: &str = include_str!("../../../testdata/golden/0.1/importer/cluster.json");
/// The edge registry when it was written.
const EDGE: &str = "127.0.0.1:36039";

/// The keys of the targets of a set, as states have them.
fn keys(set: &Value, edge: &str) -> Vec<String> {
    let spec = serde_json::from_value(set["spec"].clone()).unwrap();
    let images = krs_core::set::check_spec(&spec).unwrap();
    let destination = edge.parse::<Destination>().unwrap();
    let targets =
        krs_importer::model::target::targets(&destination, &images, |_| None, |reference| reference.digest);
    targets.unwrap().into_iter().map(|target| json!(target.key).as_str().unwrap().to_owned()).collect()
}

/// What 0.1 reads of a state: these fields, each of this type; others it ignores.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateOf01 {
    proofs: BTreeMap<String, jiff::Timestamp>,
    #[expect(dead_code, reason = "read for its type")]
    attempts: BTreeMap<String, AttemptOf01>,
    bundle: Option<krs_core::crd::BundleReference>,
    #[expect(dead_code, reason = "read for its type")]
    ended: BTreeMap<String, jiff::Timestamp>,
    #[expect(dead_code, reason = "read for its type")]
    moved: BTreeMap<String, Vec<jiff::Timestamp>>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "read for their types")]
struct AttemptOf01 {
    count: u32,
    at: jiff::Timestamp,
    reason: String,
    message: String,
    job: String,
}

#[tokio::test]
async fn t82_an_upgrade_from_0_1_continues_with_its_state_and_its_running_job_and_0_1_reads_what_is_left() {
    let world = World::new(2, Auth::None);
    let golden = serde_json::from_str::<Value>(CLUSTER).unwrap();
    let (before, edge) = (&golden[SETS][0], world.edge.host().to_string());
    for n in 0..2 {
        assert_eq!(
            before["spec"]["images"][n]["image"],
            world.reference(n),
            "the images of the tests changed"
        );
    }
    // The keys of 0.1 are those of today; here the registry has another port.
    let (old, new) = (keys(before, EDGE), keys(before, &edge));
    let state = golden["configmaps"][0]["data"]["state.json"].as_str().unwrap();
    assert!(state.contains(&old[1]) && !state.contains(&old[0]), "{old:?}: {state}");
    let text = CLUSTER.replace(EDGE, &edge).replace(&old[1], &new[1]);
    let cluster = serde_json::from_str::<Value>(&text).unwrap();
    for plural in [SETS, "jobs", "configmaps"] {
        for object in cluster[plural].as_array().unwrap() {
            world.api.put(plural, object.clone());
        }
    }
    world.images[1].push_to(&world.edge, "shop/app1", Some("1"));
    world.wait(15);
    let running = world.running();
    assert_eq!(running.len(), 1);

    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running(), running, "the running Job is adopted, and no other is created");
    assert_eq!(world.api.all("jobs").len(), 1, "the one that succeeded is deleted");
    assert_eq!(world.status("x")["images"]["present"], 1, "{:#}", world.status("x"));
    assert_eq!(world.status("x")["bundle"]["name"], "prod-1");
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), "SyncSuccessful", "{:#}", world.status("x"));
    assert!(
        world
            .api
            .all("jobs")
            .iter()
            .all(|job| job["metadata"]["annotations"]["kuberegistrysync.io/attempt"] == "1")
    );

    // Back again.
    let states = world.api.all("configmaps").into_iter().filter(|map| !map["data"]["state.json"].is_null());
    let states = states.collect::<Vec<_>>();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0]["metadata"]["name"], golden["configmaps"][0]["metadata"]["name"]);
    assert_eq!(states[0]["metadata"]["labels"], golden["configmaps"][0]["metadata"]["labels"]);
    let written = states[0]["data"]["state.json"].as_str().unwrap();
    let read = serde_json::from_str::<StateOf01>(written).unwrap();
    assert_eq!(read.proofs.len(), 2, "0.1 copies nothing again");
    assert_eq!(read.bundle.unwrap().name, "prod-1");
    // Jobs of today have all by which 0.1 knows its own.
    world.set("y", &[0], |set| set["spec"]["images"][0]["destinationRepository"] = json!("elsewhere"));
    world.reconcile(&importer).await.unwrap();
    let theirs = &golden["jobs"][0];
    let jobs = world.api.all("jobs");
    let job = jobs.iter().find(|job| job["metadata"]["labels"]["kuberegistrysync.io/set"] == "y").unwrap();
    for kind in ["labels", "annotations"] {
        for key in theirs["metadata"][kind].as_object().unwrap().keys() {
            assert!(job["metadata"][kind][key].is_string(), "{kind} {key}");
        }
    }
    let args = |job: &Value| job["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    assert_eq!((&args(job)[0], &args(job)[1]), (&args(theirs)[0], &args(theirs)[1]));
    let task = |job: &Value| serde_json::from_str::<Value>(args(job)[2].as_str().unwrap()).unwrap();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&task(job)), fields(&task(theirs)));
    let mut target = task(job)["targets"][0].clone();
    target.as_object_mut().unwrap().remove("mountFrom"); // 0.1 has it, where there is something to link.
    assert_eq!(fields(&target), fields(&task(theirs)["targets"][0]));
}
