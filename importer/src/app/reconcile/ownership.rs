// SPDX-License-Identifier: Apache-2.0
//! Which Jobs the importer created. Whoever may create Jobs in a namespace can give them any label, annotation and owner:
//! only those count of which the state of the set has the name and a nonce, recorded before the Job existed, and from then
//! on its UID. Pure, but for the random numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use krs_core::oci::reference::{RegistryHost, RepositoryName};

use crate::engine::job;
use crate::model::clock::is_over;
use crate::model::state::OwnedJob;

/// How long a Job that was announced may take to appear: the answer to its creation may be lost, and the request late.
const LATE: Duration = Duration::from_secs(600);
/// How much longer than its time to live an ended Job may stay.
const OVERDUE: Duration = Duration::from_secs(600);
/// Ended Jobs of a set that one reconcile deletes.
const MAX_OVERDUE: usize = 16;
/// Random bytes of a nonce.
const NONCE_BYTES: usize = 16;

/// The Jobs of a set by their names, as its state has them.
pub(super) type OwnedJobs = BTreeMap<String, OwnedJob>;
/// Repositories of edge registries.
pub(super) type Repositories = BTreeSet<(RegistryHost, RepositoryName)>;

/// Tells the Jobs of a set that the importer created from others.
pub(super) struct Ownership<'a> {
    jobs: OwnedJobs,
    /// Of a state that version 0.1 left: it recorded no Jobs.
    is_of_0_1: bool,
    /// Repositories that the set writes to.
    repositories: &'a Repositories,
    listed: BTreeSet<String>,
    now: Timestamp,
}

impl<'a> Ownership<'a> {
    /// `recorded` is what the state has; nothing in one of version 0.1, whose Jobs are adopted once: those of before the
    /// update, that write only to the set's own `repositories`.
    pub(super) fn new(recorded: Option<&OwnedJobs>, repositories: &'a Repositories, now: Timestamp) -> Self {
        let jobs = recorded.cloned().unwrap_or_default();
        Self { jobs, is_of_0_1: recorded.is_none(), repositories, listed: BTreeSet::new(), now }
    }

    /// The Jobs to read; absent where version 0.1 recorded none. Of those whose end is accounted for only the names count.
    pub(super) fn recorded(&self) -> Option<Vec<String>> {
        let open = self.jobs.iter().filter(|(_, owned)| owned.ended.is_none());
        (!self.is_of_0_1).then(|| open.map(|(name, _)| name.clone()).collect())
    }

    /// Whether the importer created this Job; its UID is recorded when it is seen first.
    pub(super) fn owns(&mut self, job: &Job) -> bool {
        let (Some(name), Some(uid)) = (&job.metadata.name, &job.metadata.uid) else { return false };
        let owns = match self.jobs.get_mut(name) {
            Some(OwnedJob { uid: Some(recorded), .. }) => recorded == uid,
            Some(owned) => {
                let is_it = job::nonce(&job.metadata).is_some_and(|nonce| nonce == owned.nonce);
                owned.uid = is_it.then(|| uid.clone());
                is_it
            }
            None => self.is_of_0_1 && self.adopt(job, name, uid),
        };
        if owns {
            self.listed.insert(name.clone());
        }
        owns
    }

    fn adopt(&mut self, job: &Job, name: &str, uid: &str) -> bool {
        let Some(copy) = job::read(job, &[]).filter(|_| job::nonce(&job.metadata).is_none()) else {
            return false;
        };
        let registry = &copy.task.destination.registry;
        let is_own = |repository: &RepositoryName| {
            let destination = (registry.clone(), repository.clone());
            self.repositories.contains(&destination)
        };
        if !copy.task.targets.iter().all(|target| is_own(&target.repository)) {
            return false;
        }
        let owned = OwnedJob { nonce: String::new(), uid: Some(uid.to_owned()), at: self.now, ended: None };
        self.jobs.insert(name.to_owned(), owned);
        true
    }

    /// What the state keeps once all Jobs were asked about: those that exist, those that may still appear, and the names
    /// of those whose end is accounted for.
    pub(super) fn finish(self) -> OwnedJobs {
        let Self { mut jobs, listed, now, .. } = self;
        jobs.retain(|name, owned| {
            owned.ended.is_some()
                || listed.contains(name)
                || (owned.uid.is_none() && !is_over(owned.at, LATE, now))
        });
        jobs
    }
}

/// Jobs that ended so early that Kubernetes should have deleted them, by name and UID, some at a time.
pub(super) fn overdue(jobs: &OwnedJobs, now: Timestamp) -> Vec<(String, String)> {
    let limit = Duration::from_secs(job::TTL.unsigned_abs().into()).saturating_add(OVERDUE);
    let ended = jobs.iter().filter(|(_, owned)| owned.ended.is_some_and(|at| is_over(at, limit, now)));
    let named = ended.map(|(name, owned)| (name.clone(), owned.uid.clone().unwrap_or_default()));
    named.take(MAX_OVERDUE).collect()
}

/// Records that a Job of this name is about to be created, and answers its nonce: that of an earlier attempt to create it,
/// where it is not known what became of that.
///
/// # Errors
/// There are no random numbers.
pub(super) fn announce(
    jobs: &mut OwnedJobs,
    name: &str,
    now: Timestamp,
) -> Result<String, rustls::crypto::GetRandomFailed> {
    if let Some(owned) = jobs.get_mut(name).filter(|owned| owned.uid.is_none()) {
        owned.at = now;
        return Ok(owned.nonce.clone());
    }
    let mut bytes = [0; NONCE_BYTES];
    rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes)?;
    let nonce = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    jobs.insert(name.to_owned(), OwnedJob { nonce: nonce.clone(), uid: None, at: now, ended: None });
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn job(name: &str, uid: &str, nonce: Option<&str>) -> Job {
        let task = include_str!("../../../../testdata/golden/0.1/importer/task-bundle.json");
        let (batch, attempt) = name.rsplit_once('-').unwrap();
        let batch = batch.rsplit_once('-').unwrap().1;
        let mut job = json!({
            "metadata": {"name": name, "uid": uid,
                "labels": {"app.kubernetes.io/managed-by": "krs-importer", "app.kubernetes.io/component": "copy",
                    "kuberegistrysync.io/set-uid": "set"},
                "annotations": {"kuberegistrysync.io/batch": batch, "kuberegistrysync.io/attempt": attempt}},
            "spec": {"template": {"spec": {"containers": [{"name": "copy", "args": ["copy", "--task", task]}]}}},
        });
        if let Some(nonce) = nonce {
            job["metadata"]["annotations"]["kuberegistrysync.io/nonce"] = json!(nonce);
        }
        serde_json::from_value(job).unwrap()
    }

    const NAME: &str = "krs-x-0123456789-1";

    fn owns(recorded: Option<&OwnedJobs>, job: &Job) -> (bool, OwnedJobs) {
        let own =
            Repositories::from([("edge.local:5000".parse().unwrap(), "mirror/team/web".parse().unwrap())]);
        let mut ownership = Ownership::new(recorded, &own, now());
        (ownership.owns(job), ownership.finish())
    }

    #[test]
    fn t151_a_job_is_the_importers_by_its_nonce_and_from_then_on_by_its_uid() {
        let mut jobs = OwnedJobs::new();
        let nonce = announce(&mut jobs, NAME, now()).unwrap();
        assert_eq!(announce(&mut jobs, NAME, now()).unwrap(), nonce, "the answer to a creation may be lost");
        for forged in
            [job(NAME, "1", None), job(NAME, "1", Some("00")), job("krs-y-0123456789-1", "1", Some(&nonce))]
        {
            let (is_own, kept) = owns(Some(&jobs), &forged);
            assert!(!is_own && kept == jobs);
        }
        let (is_own, adopted) = owns(Some(&jobs), &job(NAME, "1", Some(&nonce)));
        assert!(is_own && adopted[NAME].uid.as_deref() == Some("1"));
        // Its nonce can be read by now.
        assert!(!owns(Some(&adopted), &job(NAME, "2", Some(&nonce))).0);
        assert!(owns(Some(&adopted), &job(NAME, "1", None)).0, "whoever may write to it cannot disown it");
        let fresh = announce(&mut adopted.clone(), NAME, now()).unwrap();
        assert_ne!(fresh, nonce);
    }

    #[test]
    fn t151_what_never_appears_is_forgotten_in_the_end() {
        let mut jobs = OwnedJobs::new();
        announce(&mut jobs, NAME, now()).unwrap();
        let finish = |seconds: i64| {
            let later = now().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
            Ownership::new(Some(&jobs), &Repositories::new(), later).finish().len()
        };
        assert_eq!((finish(599), finish(600)), (1, 0));
    }

    #[test]
    fn t82_t151_running_jobs_of_0_1_are_adopted_once_where_they_write_to_repositories_of_the_set() {
        let own = |repository: &str| {
            Repositories::from([("edge.local:5000".parse().unwrap(), repository.parse().unwrap())])
        };
        let running = job(NAME, "1", None);
        let (mine, theirs) = (own("mirror/team/web"), own("mirror/team/other"));
        assert!(!Ownership::new(None, &theirs, now()).owns(&running));
        let mut ownership = Ownership::new(None, &mine, now());
        assert!(ownership.owns(&running));
        let adopted = ownership.finish();
        assert!(owns(Some(&adopted), &running).0);
        assert!(!owns(Some(&adopted), &job("krs-x-0123456789-2", "9", None)).0, "only once");
        assert!(!owns(Some(&OwnedJobs::new()), &running).0, "not for a set that 0.1 did not know");
    }
}
