// SPDX-License-Identifier: Apache-2.0
//! What Kubernetes does in the meantime: it runs the copy Jobs and removes those that ended long ago.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use krs_core::oci::digest::Digest;
use krs_importer::adapters::bundle_store::BundleStore;
use krs_importer::model::task::{CopyTask, TaskSource};
use krs_testing::registry::Registry;
use serde_json::{Value, json};

use crate::api::FakeApi;
use crate::sender::Sender;

/// One of so many Jobs dies when it has copied half of its images.
const DIES: usize = 20;

/// The kubelet, and the controllers of Jobs.
#[derive(Default)]
pub(crate) struct Kubelet {
    /// When each Job that runs was begun.
    running: HashMap<String, Timestamp>,
    ended: usize,
    pub(crate) completed: usize,
    pub(crate) failed: usize,
}

/// What a Job needs to come to a good end.
pub(crate) struct Surroundings<'a> {
    pub(crate) api: &'a FakeApi,
    pub(crate) edge: &'a Registry,
    pub(crate) edge_works: bool,
    pub(crate) sender: &'a Sender,
    /// None: the importer is not there.
    pub(crate) library: Option<&'a BundleStore>,
    pub(crate) now: Timestamp,
}

impl Kubelet {
    /// What happens within a minute.
    pub(crate) fn minute(&mut self, around: &Surroundings<'_>) {
        for job in around.api.all("jobs") {
            let text = |field: &str| job["metadata"][field].as_str().unwrap().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            if let Some(ended) = job["status"]["conditions"][0]["lastTransitionTime"].as_str() {
                let ended = ended.parse::<Timestamp>().unwrap();
                let ttl = job["spec"]["ttlSecondsAfterFinished"].as_i64().unwrap();
                if ended + SignedDuration::from_secs(ttl) <= around.now {
                    around.api.remove("jobs", &namespace, &name);
                }
                continue;
            }
            let begun = *self.running.entry(text("uid")).or_insert(around.now);
            // Two to five minutes.
            let takes = SignedDuration::from_mins(2 + i64::try_from(name.len() + self.ended).unwrap() % 4);
            if begun + takes <= around.now {
                self.running.remove(&text("uid"));
                self.end(job, around);
            }
        }
        let alive = |uid: &str| around.api.count("jobs", |job| job["metadata"]["uid"] == uid) > 0;
        self.running.retain(|uid, _| alive(uid));
    }

    fn end(&mut self, mut job: Value, around: &Surroundings<'_>) {
        let task = job["spec"]["template"]["spec"]["containers"][0]["args"][2].as_str().unwrap();
        let task = serde_json::from_str::<CopyTask>(task).unwrap();
        let TaskSource::Bundle { digest, .. } = &task.source else { panic!("{task:?}") };
        self.ended += 1;
        let is_served = |bundle: &Digest| around.library.is_some_and(|library| library.get(bundle).is_some());
        let fails = !around.edge_works || !is_served(digest);
        let dies = self.ended.is_multiple_of(DIES);
        let copied = match (fails, dies) {
            (true, _) => 0,
            (false, true) => task.targets.len() / 2,
            (false, false) => task.targets.len(),
        };
        for target in &task.targets[..copied] {
            let image = around.sender.content(&target.digest).unwrap();
            image.push_to(around.edge, target.repository.as_str(), None);
            for tag in &target.tags {
                image.push_to(around.edge, target.repository.as_str(), Some(tag.as_str()));
            }
        }
        let (how, why) = if fails || dies { ("Failed", "BackoffLimitExceeded") } else { ("Complete", "") };
        *(if fails || dies { &mut self.failed } else { &mut self.completed }) += 1;
        let now = around.now.to_string();
        job["status"] = json!({"conditions": [{
            "type": how, "status": "True", "reason": why, "message": "",
            "lastTransitionTime": now, "lastProbeTime": now,
        }]});
        around.api.put("jobs", job);
    }
}
