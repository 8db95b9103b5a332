// SPDX-License-Identifier: Apache-2.0
//! The copy Jobs of a set, as the API server has them, with what their Pods and events say.
//!
//! Whoever may write to the namespace of a set can give any number of objects of any size our labels, our owner, and the
//! names of our Jobs. So nothing is listed with its content: Jobs are read by the names that the state of the set has, Pods
//! by the names that a list of metadata has, and over all sets only a few at a time. (T-173)

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use krs_core::crd::EdgeImageSet;
use krs_core::redact::printable;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ownership::Ownership;
use crate::engine::job;
use crate::model::clock::time_left;
use crate::model::job::{CopyJob, JobPhase};

/// Label that Kubernetes gives the Pods of a Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// How long a Job may be without a Pod before it is asked why.
const NO_POD: Duration = Duration::from_secs(5);
/// How long a Pod may take to start before it is asked why. What the kubelet waits for, it says in events only.
const SLOW_POD: Duration = Duration::from_secs(20);
/// Reasons of events that say why a Pod does not start. (T-143)
const NOT_STARTED: [&str; 3] = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"];
/// Reasons of the events that say why a Job's Pod could not be created, and that one was.
const FAILED_CREATE: &str = "FailedCreate";
const SUCCESSFUL_CREATE: &str = "SuccessfulCreate";
/// Longest message of the API server that is shown.
pub(super) const MAX_MESSAGE: usize = 800;

/// Requests for objects of tenants that are under way at once, over all sets. Each answer may have ten megabytes.
const MAX_READS: usize = 4;
/// Jobs of one set that are read at once.
const CONCURRENT_JOBS: usize = 4;
/// Objects in one page of a list: each may have a megabyte of metadata.
const PAGE: u32 = 10;
/// Most pages of one list. What is beyond them is not seen: a set has fewer objects, unless somebody else made them.
const MAX_PAGES: usize = 20;
/// Events in one page of a list, and most pages that are read of one object and one reason. Refusals of one hour, for which
/// events are kept, are fewer.
const EVENTS: u32 = 5;
const MAX_EVENT_PAGES: usize = 20;
/// Pods of a Job that are read for their reports, the newest first.
const MAX_PODS: usize = 4;

/// The Jobs of one set.
#[derive(Default)]
pub(super) struct Jobs {
    /// Those that run, and those that ended and whose end is not accounted for.
    pub(super) list: Vec<CopyJob>,
    /// Their UIDs by name.
    pub(super) uids: BTreeMap<String, String>,
    /// Why the API server refuses their Pods, by name.
    pub(super) refused: BTreeMap<String, String>,
    /// Names of those that have a Pod that runs.
    pub(super) started: BTreeSet<String>,
}

/// Bounds the memory that answers of the API server take whose size others decide.
pub(super) struct ReadLimit(Semaphore);

impl Default for ReadLimit {
    fn default() -> Self {
        Self(Semaphore::new(MAX_READS))
    }
}

impl ReadLimit {
    /// Waits for its turn. The answer to the one request that this is for is dropped before the permit is.
    async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.acquire().await.ok()
    }
}

/// Reads the Jobs of one set.
pub(super) struct JobReader<'a> {
    pub(super) client: &'a kube::Client,
    pub(super) limit: &'a ReadLimit,
    pub(super) namespace: &'a str,
    /// UID of the set.
    pub(super) set: &'a str,
    pub(super) now: Timestamp,
}

/// What a Job says of itself.
struct JobRead {
    copy: CopyJob,
    uid: String,
    has_ended: bool,
    is_ready: bool,
    /// Whether a Pod of it failed.
    has_failed_pods: bool,
    age: Duration,
}

impl JobReader<'_> {
    /// The Jobs of the set that the importer created, as `ownership` knows them.
    pub(super) async fn read(&self, ownership: &mut Ownership<'_>) -> Result<Jobs, kube::Error> {
        let mut jobs = Jobs::default();
        for mut job in self.jobs(ownership).await? {
            if job.has_ended || !job.is_ready || job.has_failed_pods {
                self.add_pods(&mut job, &mut jobs.refused).await?;
            }
            if job.is_ready {
                jobs.started.insert(job.copy.name.clone());
            }
            jobs.uids.insert(job.copy.name.clone(), job.uid);
            jobs.list.push(job.copy);
        }
        Ok(jobs)
    }

    /// As [`Self::read`], without what Pods say.
    pub(super) async fn copies(&self, ownership: &mut Ownership<'_>) -> Result<Vec<CopyJob>, kube::Error> {
        let jobs = self.jobs(ownership).await?;
        Ok(jobs.into_iter().map(|job| job.copy).collect())
    }

    async fn jobs(&self, ownership: &mut Ownership<'_>) -> Result<Vec<JobRead>, kube::Error> {
        let names = match ownership.recorded() {
            Some(names) => names,
            None => self.of_0_1().await?,
        };
        let api = Api::<Job>::namespaced(self.client.clone(), self.namespace);
        let get = |name: String| {
            let api = &api;
            async move {
                let permit = self.limit.acquire().await;
                Ok::<_, kube::Error>((permit, api.get_opt(&name).await?))
            }
        };
        // Each is dropped as soon as it is there, so that none waits with a permit for another one.
        let mut answers = stream::iter(names.into_iter().map(get)).buffer_unordered(CONCURRENT_JOBS);
        let mut found = Vec::new();
        while let Some(answer) = answers.next().await {
            let (_permit, job) = answer?;
            found.extend(job.filter(|job| ownership.owns(job)).and_then(|job| self.read_job(&job)));
        }
        found.sort_by(|a, b| a.copy.name.cmp(&b.copy.name));
        Ok(found)
    }

    fn read_job(&self, job: &Job) -> Option<JobRead> {
        let created = job.metadata.creation_timestamp.as_ref();
        Some(JobRead {
            copy: job::read(job, &[])?,
            uid: job.uid().unwrap_or_default(),
            has_ended: has_ended(job),
            is_ready: is_ready(job),
            has_failed_pods: has_failed_pods(job),
            age: created.map_or(Duration::ZERO, |created| time_left(created.0, self.now)),
        })
    }

    /// Names of the Jobs that say that the set owns them: version 0.1 recorded none.
    async fn of_0_1(&self) -> Result<Vec<String>, kube::Error> {
        let is_owned = |meta: &ObjectMeta| {
            let owners = meta.owner_references.as_deref().unwrap_or_default();
            owners.iter().any(|owner| owner.kind == EdgeImageSet::kind(&()) && owner.uid == self.set)
        };
        let name = |meta: ObjectMeta| is_owned(&meta).then_some(meta.name).flatten();
        self.list::<Job, _>(&selector(self.set), name).await
    }

    /// What `pick` takes of the metadata of what `labels` selects, page by page.
    async fn list<K, T>(
        &self,
        labels: &str,
        pick: impl Fn(ObjectMeta) -> Option<T>,
    ) -> Result<Vec<T>, kube::Error>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let mut params = ListParams::default().labels(labels).limit(PAGE);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let _permit = self.limit.acquire().await;
            let page = api.list_metadata(&params).await?;
            let next = page.metadata.continue_;
            let picked = page.items.into_iter().map(|item: PartialObjectMeta<K>| item.metadata);
            found.extend(picked.filter_map(&pick));
            match next.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => break,
            }
        }
        Ok(found)
    }

    /// Adds what the Pods of a Job say to it: its report where it ended, else why it does not start, and why the last one
    /// failed that did. (T-206)
    async fn add_pods(
        &self,
        job: &mut JobRead,
        refused: &mut BTreeMap<String, String>,
    ) -> Result<(), kube::Error> {
        let JobRead { copy, uid, has_ended, is_ready, has_failed_pods, age } = job;
        let labels = format!("{},{JOB_NAME}={}", selector(self.set), copy.name);
        let mut pods = self
            .list::<Pod, _>(&labels, |meta| {
                let is_own = job::is_of_job(&meta, uid);
                let created = meta.creation_timestamp.as_ref().map(|time| time.0);
                is_own.then_some((created, meta.name?, meta.uid.unwrap_or_default()))
            })
            .await?;
        pods.sort_by(|a, b| b.cmp(a));
        for (_, name, _) in pods.iter().take(if *has_ended || *has_failed_pods { MAX_PODS } else { 1 }) {
            let _permit = self.limit.acquire().await;
            let pod = Api::<Pod>::namespaced(self.client.clone(), self.namespace).get_opt(name).await?;
            job::add_pods(copy, uid, pod.as_slice());
            if matches!(
                copy.phase,
                JobPhase::Succeeded { report: Some(_), .. }
                    | JobPhase::Failed { report: Some(_), .. }
                    | JobPhase::Running { failed: Some(_), .. }
            ) {
                break;
            }
        }
        if *has_ended || *is_ready {
            return Ok(());
        }
        let Some((_, _, newest)) = pods.first() else {
            // One that was created since, and is gone, says that Pods are not refused any more. (T-83)
            if *age >= NO_POD
                && let Some((reason, message)) =
                    self.last_event(uid, &[FAILED_CREATE, SUCCESSFUL_CREATE]).await?
                && reason == FAILED_CREATE
            {
                let why = format!("the API server refuses the Pod of the copy Job: {message}");
                refused.insert(copy.name.clone(), why);
            }
            return Ok(());
        };
        if let JobPhase::Running { waiting: waiting @ None, .. } = &mut copy.phase
            && *age >= SLOW_POD
        {
            let last = self.last_event(newest, &NOT_STARTED).await?;
            *waiting = last.map(|(reason, message)| format!("{reason}: {message}"));
        }
        Ok(())
    }

    /// Reason and message of the last event about an object that has one of `reasons`. (T-83, T-143)
    async fn last_event(&self, uid: &str, reasons: &[&str]) -> Result<Option<(String, String)>, kube::Error> {
        let api = Api::<Event>::namespaced(self.client.clone(), self.namespace);
        let mut last = None;
        for reason in reasons {
            let fields = format!("involvedObject.uid={uid},reason={reason}");
            let mut params = ListParams::default().fields(&fields).limit(EVENTS);
            for _ in 0..MAX_EVENT_PAGES {
                let _permit = self.limit.acquire().await;
                let page = match api.list(&params).await {
                    Ok(page) => page,
                    // Where events may not be read, Kubernetes' own tools still show them.
                    Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
                    Err(error) => return Err(error),
                };
                let is_about = |event: &Event| {
                    event.involved_object.uid.as_deref() == Some(uid)
                        && event.reason.as_deref() == Some(*reason)
                };
                // They come in the order of their names.
                let of_page = page.items.into_iter().filter(is_about).filter_map(|event| {
                    Some((order(&event), *reason, printable(&event.message?, MAX_MESSAGE)))
                });
                last = last.into_iter().chain(of_page).max_by_key(|(order, ..)| *order);
                match page.metadata.continue_.filter(|next| !next.is_empty()) {
                    Some(next) => params = params.continue_token(&next),
                    None => break,
                }
            }
        }
        Ok(last.map(|(_, reason, message)| (reason.to_owned(), message)))
    }
}

/// Events in the order in which they happened: their times have full seconds.
fn order(event: &Event) -> (Option<Timestamp>, Option<u64>) {
    let created = event.metadata.creation_timestamp.as_ref();
    let time = event.last_timestamp.as_ref().or(created).map(|time| time.0);
    let version = event.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
    (event.event_time.as_ref().map(|time| time.0).max(time), version)
}

fn has_ended(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.status == "True" && matches!(c.type_.as_str(), "Complete" | "Failed"))
}

fn has_failed_pods(job: &Job) -> bool {
    let Some(status) = &job.status else { return false };
    let uncounted = status.uncounted_terminated_pods.as_ref().and_then(|pods| pods.failed.as_ref());
    status.failed.is_some_and(|failed| failed > 0) || uncounted.is_some_and(|pods| !pods.is_empty())
}

fn is_ready(job: &Job) -> bool {
    job.status.as_ref().and_then(|status| status.ready).is_some_and(|ready| ready > 0)
}

/// Selector of the Jobs and Pods of one set.
fn selector(uid: &str) -> String {
    format!("{},{}={uid}", job::SELECTOR, job::SET_LABEL)
}
