// SPDX-License-Identifier: Apache-2.0
//! Copy Jobs in the API server: listed, with what their Pods say; created; deleted.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use krs_core::crd::EdgeImageSet;
use krs_core::redact::printable;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Resource as _, ResourceExt as _};

use super::quiet::until;
use super::{FIELD_MANAGER, Parts, selector};
use crate::decide::{CopyJob, JobPhase};
use crate::job;

/// What Jobs that ended said, by their UIDs: neither changes any more.
pub(super) type Reports = HashMap<String, CopyJob>;

/// Label that Kubernetes gives the Pods of a Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// How long a Job may be without a Pod before it is asked why.
const NO_POD: Duration = Duration::from_secs(5);
/// How long a Pod may take to start before it is asked why. What the kubelet waits for, it says in events only.
const SLOW_POD: Duration = Duration::from_secs(20);
/// Reasons of events that say why a Pod does not start. (T-143)
const NOT_STARTED: [&str; 3] = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"];
/// Reason of the event that says why a Job's Pod could not be created.
const FAILED_CREATE: &str = "FailedCreate";
/// Most events of one object that are read.
const MAX_EVENTS: u32 = 500;
/// Longest message of the API server that is shown.
const MAX_MESSAGE: usize = 800;

/// The Jobs of one set.
#[derive(Default)]
pub(super) struct Jobs {
    /// They.
    pub(super) list: Vec<CopyJob>,
    /// Their UIDs by name.
    pub(super) uids: BTreeMap<String, String>,
    /// Why the API server refuses their Pods, by name.
    pub(super) refused: BTreeMap<String, String>,
    /// Ended ones, for the next look.
    pub(super) reports: Reports,
}

/// Jobs that say that they are of sets of a namespace, or of all, by namespace and UID of the set.
pub(super) async fn all(
    parts: &Parts,
    namespace: Option<&str>,
) -> Result<BTreeMap<(String, String), Vec<Job>>, kube::Error> {
    let api = match namespace {
        Some(namespace) => Api::<Job>::namespaced(parts.client.clone(), namespace),
        None => Api::all(parts.client.clone()),
    };
    let mut sets = BTreeMap::<_, Vec<Job>>::new();
    for listed in api.list(&ListParams::default().labels(job::SELECTOR)).await? {
        let (Some(owner), Some(namespace)) = (owner(&listed), listed.namespace()) else { continue };
        sets.entry((namespace, owner)).or_default().push(listed);
    }
    Ok(sets)
}

/// UID of the set that owns a Job.
fn owner(job: &Job) -> Option<String> {
    let owners = job.metadata.owner_references.as_ref()?;
    let set = |kind: &str| kind == EdgeImageSet::kind(&());
    owners.iter().find(|owner| set(&owner.kind)).map(|owner| owner.uid.clone())
}

/// The Jobs of a set that it `owns`. `ended` are those that had ended at the last look.
pub(super) async fn list(
    client: &kube::Client,
    namespace: &str,
    uid: &str,
    ended: &Reports,
    mut owns: impl FnMut(&Job) -> bool,
    now: Timestamp,
) -> Result<Jobs, kube::Error> {
    let which = ListParams::default().labels(&selector(uid));
    let jobs = Api::<Job>::namespaced(client.clone(), namespace).list(&which).await?.items;
    // Whoever may create Jobs in the namespace can give them our labels and this owner.
    let own = jobs.into_iter().filter(|job| owner(job).as_deref() == Some(uid) && owns(job));
    let own = own.collect::<Vec<_>>();
    let unclear =
        |job: &Job| !ended.contains_key(&job.uid().unwrap_or_default()) && (has_ended(job) || !is_ready(job));
    let pods = if own.iter().any(unclear) {
        Api::<Pod>::namespaced(client.clone(), namespace).list(&which).await?.items
    } else {
        Vec::new()
    };
    let mut found = Jobs::default();
    for job in own {
        let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
        let of_job = |pod: &&Pod| pod.labels().get(JOB_NAME) == Some(&name);
        let pods = pods.iter().filter(of_job).cloned().collect::<Vec<_>>();
        let Some(mut read) = ended.get(&uid).cloned().or_else(|| job::read(&job, &pods)) else { continue };
        if has_ended(&job) {
            found.reports.insert(uid.clone(), read.clone());
        } else if pods.is_empty() && !is_ready(&job) && since_creation(&job, now) >= NO_POD {
            let refused = refusal(client, namespace, &uid).await?;
            found.refused.extend(refused.map(|message| (name.clone(), message)));
        } else if let JobPhase::Running { waiting: waiting @ None } = &mut read.phase
            && let Some(pod) = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone())
            && !is_ready(&job)
            && since_creation(&job, now) >= SLOW_POD
        {
            *waiting = not_started(client, namespace, &pod.uid().unwrap_or_default()).await?;
        }
        found.uids.insert(name, uid);
        found.list.push(read);
    }
    Ok(found)
}

fn has_ended(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.status == "True" && matches!(c.type_.as_str(), "Complete" | "Failed"))
}

fn is_ready(job: &Job) -> bool {
    job.status.as_ref().and_then(|status| status.ready).is_some_and(|ready| ready > 0)
}

fn since_creation(job: &Job, now: Timestamp) -> Duration {
    job.metadata.creation_timestamp.as_ref().map_or(Duration::ZERO, |created| until(created.0, now))
}

/// What the API server last said against a Pod of this Job. (T-83)
async fn refusal(client: &kube::Client, namespace: &str, uid: &str) -> Result<Option<String>, kube::Error> {
    let last = last_event(client, namespace, uid, &[FAILED_CREATE]).await?;
    Ok(last.map(|(_, message)| format!("the API server refuses the Pod of the copy Job: {message}")))
}

/// Why the kubelet does not start a Pod.
async fn not_started(
    client: &kube::Client,
    namespace: &str,
    uid: &str,
) -> Result<Option<String>, kube::Error> {
    let last = last_event(client, namespace, uid, &NOT_STARTED).await?;
    Ok(last.map(|(reason, message)| format!("{reason}: {message}")))
}

/// Reason and message of the last event about an object that has one of `reasons`.
async fn last_event(
    client: &kube::Client,
    namespace: &str,
    uid: &str,
    reasons: &[&str],
) -> Result<Option<(String, String)>, kube::Error> {
    let fields = match reasons {
        [reason] => format!("involvedObject.uid={uid},reason={reason}"),
        _ => format!("involvedObject.uid={uid}"),
    };
    let which = ListParams::default().fields(&fields).limit(MAX_EVENTS);
    let events = match Api::<Event>::namespaced(client.clone(), namespace).list(&which).await {
        Ok(events) => events.items,
        // Where events may not be read, Kubernetes' own tools still show them.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = |event: &&Event| {
        event.involved_object.uid.as_deref() == Some(uid)
            && event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
    };
    let last = events
        .into_iter()
        .filter(|event| about(&event))
        .max_by_key(|event| (event.last_timestamp.clone(), event.metadata.resource_version.clone()));
    let text = |text: String| printable(&text, MAX_MESSAGE);
    Ok(last.and_then(|event| Some((event.reason?, text(event.message?)))))
}

/// What became of a Job that was to be created.
pub(super) enum Created {
    /// It exists, with this UID.
    Exists(String),
    /// The API server does not take it: why.
    Rejected(String),
}

/// Creates a Job. One that is there already was created by an earlier look whose answer was lost.
pub(super) async fn create(
    client: &kube::Client,
    namespace: &str,
    job: &Job,
) -> Result<Created, kube::Error> {
    let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match Api::<Job>::namespaced(client.clone(), namespace).create(&how, job).await {
        Ok(created) => Ok(Created::Exists(created.uid().unwrap_or_default())),
        Err(kube::Error::Api(status)) if status.code == 409 && status.is_already_exists() => {
            let name = job.name_any();
            let there = Api::<Job>::namespaced(client.clone(), namespace).get_opt(&name).await?;
            match there {
                Some(there) if job::nonce(&there).is_some() && job::nonce(&there) == job::nonce(job) => {
                    Ok(Created::Exists(there.uid().unwrap_or_default()))
                }
                _ => Ok(Created::Rejected(format!(
                    "there is a Job {name} that the importer did not create: delete it, or the images wait for the next attempt"
                ))),
            }
        }
        Err(kube::Error::Api(status)) if is_rejection(&status) => {
            let message = printable(&status.message, MAX_MESSAGE);
            Ok(Created::Rejected(format!("the API server refuses the copy Job: {message}")))
        }
        Err(error) => Err(error),
    }
}

/// Whether the API server answers that it does not take the object. A webhook may refuse with any code; one that does not
/// answer itself is a code 500 that names it.
fn is_rejection(status: &kube::core::Status) -> bool {
    match status.code {
        // The importer's own token, its namespace, the speed of its requests.
        401 | 404 | 408 | 409 | 410 | 429 => false,
        400..=499 => true,
        500 => status.message.contains("webhook"),
        _ => false,
    }
}

/// Deletes a Job and its Pods, if it is still the same one.
pub(super) async fn delete(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<(), kube::Error> {
    let how = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match Api::<Job>::namespaced(client.clone(), namespace).delete(name, &how).await {
        // Gone, or another one by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_webhook_that_is_down_refuses_and_a_busy_api_server_does_not() {
        let status = |code: u16, message: &str| {
            let status = serde_json::json!({"status": "Failure", "code": code, "message": message});
            serde_json::from_value::<kube::core::Status>(status).unwrap()
        };
        for (code, message, rejected) in [
            (403, "exceeded quota: team", true),
            (418, "admission webhook \"x\" denied the request", true),
            (500, "Internal error occurred: failed calling webhook \"x\": context deadline exceeded", true),
            (500, "etcdserver: request timed out", false),
            (429, "too many requests", false),
            (404, "namespaces \"shop\" not found", false),
        ] {
            assert_eq!(is_rejection(&status(code, message)), rejected, "{code} {message}");
        }
    }
}
