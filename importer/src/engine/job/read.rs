// SPDX-License-Identifier: Apache-2.0
//! Jobs read back from the cluster. Nothing in them is trusted: somebody may have written to them.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use krs_core::redact::printable;

use super::labels::{ATTEMPT, BATCH, CONTAINER, HASH_DIGITS, SET_LABEL, is_selected};
use crate::model::job::{CopyJob, FailedPod, JobPhase};
use crate::model::task::{CopyReport, CopyTask, MAX_REPORT, MAX_TARGETS, MAX_TASK, STOPPED};

/// Longest message of a Job, a Pod or a failure that is kept, in characters.
const MAX_MESSAGE: usize = 1000;
/// What stands between the words of Kubernetes on a Job and those on its last Pod.
const LAST_POD: &str = "; its last Pod: ";
/// Most failures of a report that are kept: one for each target.
const MAX_FAILURES: usize = MAX_TARGETS;

/// Reads a Job of ours back, with its Pods for the report and for why they wait. `None`: it is not one of ours.
pub fn read(job: &Job, pods: &[Pod]) -> Option<CopyJob> {
    let labels = job.metadata.labels.as_ref()?;
    if !is_selected(&job.metadata) {
        return None;
    }
    labels.get(SET_LABEL)?;
    let name = job.metadata.name.clone()?;
    let annotations = job.metadata.annotations.as_ref()?;
    let batch = annotations.get(BATCH)?.clone();
    let attempt = annotations.get(ATTEMPT)?.parse::<u32>().ok()?;
    let own_name = batch.len() == HASH_DIGITS && name.ends_with(&format!("-{batch}-{attempt}"));
    let task = own_name.then(|| task(job)).flatten()?;
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or_default();
    let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut copy = CopyJob { name, batch, attempt, task, created, suspended, phase: phase(job) };
    add_pods(&mut copy, job.metadata.uid.as_deref().unwrap_or_default(), pods);
    Some(copy)
}

/// Adds what the Pods of a Job with this UID say, the newest first: its report, or why it waits and which of them failed.
/// What is known already, of Pods that are newer, stays.
pub(crate) fn add_pods(job: &mut CopyJob, uid: &str, pods: &[Pod]) {
    let pods = pods_of(uid, pods);
    match &mut job.phase {
        JobPhase::Running { waiting, .. } if job.suspended => {
            *waiting = Some("it is suspended; resume it, or delete it".to_owned());
        }
        JobPhase::Running { waiting, failed } => {
            if waiting.is_none() && failed.is_none() {
                *waiting = pods.first().and_then(|pod| self::waiting(pod));
            }
            *failed = failed.take().or_else(|| pods.iter().find_map(|pod| self::failed(pod)));
        }
        JobPhase::Succeeded { report, .. } => *report = report.take().or_else(|| self::report(&pods)),
        // The newest Pod that failed decides: what an older one reported is not why the Job failed.
        JobPhase::Failed { report, why, .. } if report.is_none() && !why.contains(LAST_POD) => {
            if let Some(pod) = pods.iter().find_map(|pod| self::failed(pod)) {
                if pod.report.is_none() {
                    *why = printable(&format!("{why}{LAST_POD}{}", pod.why), MAX_MESSAGE);
                }
                *report = pod.report;
            }
        }
        JobPhase::Failed { .. } => {}
    }
}

fn task(job: &Job) -> Option<CopyTask> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let container = pod.containers.iter().find(|container| container.name == CONTAINER)?;
    let [copy, flag, task, ..] = container.args.as_deref()? else { return None };
    if copy != "copy" || flag != "--task" || task.len() > 2 * MAX_TASK {
        return None;
    }
    let task = serde_json::from_str::<CopyTask>(task).ok()?;
    (1..=MAX_TARGETS).contains(&task.targets.len()).then_some(task)
}

/// Whether an object says that the Job with this UID owns it.
pub(crate) fn is_of_job(object: &ObjectMeta, uid: &str) -> bool {
    let owners = object.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.kind == "Job" && owner.uid == uid)
}

/// The Pods that the Job with this UID owns, the newest first.
fn pods_of<'a>(uid: &str, pods: &'a [Pod]) -> Vec<&'a Pod> {
    let mut pods = pods.iter().filter(|pod| is_of_job(&pod.metadata, uid)).collect::<Vec<_>>();
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    pods.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| b.metadata.name.cmp(&a.metadata.name)));
    pods
}

/// How far the Job is, without what its Pods say.
fn phase(job: &Job) -> JobPhase {
    let status = job.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let at = |condition: &JobCondition| {
        let completed = status.and_then(|status| status.completion_time.as_ref());
        let times =
            [condition.last_transition_time.as_ref(), completed, job.metadata.creation_timestamp.as_ref()];
        times.into_iter().flatten().next().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    if let Some(condition) = is("Complete") {
        return JobPhase::Succeeded { at: at(condition), report: None };
    }
    if let Some(condition) = is("Failed") {
        let parts = [condition.reason.as_deref(), condition.message.as_deref()];
        let why = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        return JobPhase::Failed { at: at(condition), why: printable(&why, MAX_MESSAGE), report: None };
    }
    JobPhase::Running { waiting: None, failed: None }
}

/// What the newest container that ended has said.
fn report(pods: &[&Pod]) -> Option<CopyReport> {
    let termination_message = |pod: &&Pod| state(pod)?.terminated.as_ref()?.message.clone();
    let message = pods.iter().find_map(termination_message).filter(|message| message.len() <= MAX_REPORT)?;
    let mut report = serde_json::from_str::<CopyReport>(&message).ok()?;
    report.failures.truncate(MAX_FAILURES);
    for failure in &mut report.failures {
        failure.reason = printable(&failure.reason, 64);
        failure.message = printable(&failure.message, MAX_MESSAGE);
    }
    Some(report)
}

/// Why a Pod does not start. Any of its containers may be what it waits for: admission adds others to it. (T-210)
fn waiting(pod: &Pod) -> Option<String> {
    for (name, state) in containers(pod) {
        let Some(waiting) = &state.waiting else { continue };
        // Every Pod goes through these.
        if matches!(waiting.reason.as_deref(), None | Some("ContainerCreating" | "PodInitializing")) {
            continue;
        }
        let text = reason_and_message(waiting.reason.as_deref(), waiting.message.as_deref())?;
        return Some(printable(&of_container(name, text), MAX_MESSAGE));
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unscheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let text = reason_and_message(unscheduled.reason.as_deref(), unscheduled.message.as_deref())?;
    Some(printable(&text, MAX_MESSAGE))
}

/// What a Pod that failed says: that of the runner comes first, since a container that admission added may have failed in
/// consequence. A runner that was told to stop did not fail.
fn failed(pod: &Pod) -> Option<FailedPod> {
    let ends = containers(pod).filter_map(|(name, state)| Some((name, state.terminated.as_ref()?)));
    let failed = ends.filter(|(_, end)| end.exit_code != 0).collect::<Vec<_>>();
    let end = failed.iter().find(|(name, _)| *name == CONTAINER).or_else(|| failed.first());
    if end.is_some_and(|(name, end)| *name == CONTAINER && end.exit_code == i32::from(STOPPED)) {
        return None;
    }
    let status = pod.status.as_ref()?;
    if let Some((name, end)) = end {
        let message = end.message.as_deref().filter(|_| *name != CONTAINER);
        let reason = reason_and_message(end.reason.as_deref(), message).unwrap_or_default();
        let why = of_container(name, format!("{reason} (exit code {})", end.exit_code));
        let why = printable(why.trim_start(), MAX_MESSAGE);
        return Some(FailedPod { why, report: report(&[pod]) });
    }
    // Evicted, for example: no container says so.
    let is_failed = status.phase.as_deref() == Some("Failed");
    let why = reason_and_message(status.reason.as_deref(), status.message.as_deref());
    let why = printable(&why.unwrap_or_else(|| "it failed".to_owned()), MAX_MESSAGE);
    is_failed.then_some(FailedPod { why, report: None })
}

fn reason_and_message(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let parts = [reason, message].into_iter().flatten().filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(": ");
    (!text.is_empty()).then_some(text)
}

/// Names the container, where it is not the importer's.
fn of_container(name: &str, text: String) -> String {
    if name == CONTAINER { text } else { format!("container {name}: {text}") }
}

/// The containers of a Pod and their states, those first that start first.
fn containers(pod: &Pod) -> impl Iterator<Item = (&str, &ContainerState)> {
    let status = pod.status.iter();
    let statuses = status.flat_map(|status| [&status.init_container_statuses, &status.container_statuses]);
    let statuses = statuses.flatten().flatten();
    statuses.filter_map(|status| Some((status.name.as_str(), status.state.as_ref()?)))
}

fn state(pod: &Pod) -> Option<&ContainerState> {
    containers(pod).find(|(name, _)| *name == CONTAINER).map(|(_, state)| state)
}
