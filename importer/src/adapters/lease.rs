// SPDX-License-Identifier: Apache-2.0
//! Which importer is at work. An importer is named by its namespace, and holds the Lease `krs-importer` there for as long as
//! it runs: a second process in that namespace waits until the Lease is free, and an importer of another namespace sees
//! whether this one still serves a set.
//!
//! Clocks of two nodes may differ. A Lease has expired when it was not renewed for its duration by the clock of whoever
//! looks, as in client-go's leader election.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;

/// The Lease of an importer in its own namespace.
const NAME: &str = "krs-importer";
/// Which namespaces its holder serves, separated by commas; empty: all.
const NAMESPACES: &str = "kuberegistrysync.io/watch-namespaces";
/// Longest name of a namespace.
const MAX_NAME: usize = 63;
/// Most other importers that are kept in mind.
const MAX_OTHERS: usize = 100;

/// How long a Lease holds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long without being renewed.
    pub duration: Duration,
    /// How often it is renewed, and read by others.
    pub renew: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { duration: Duration::from_secs(30), renew: Duration::from_secs(10) }
    }
}

/// How a process is named as the holder of a Lease. Two Pods of one name may run at once: one on a node that cannot be
/// reached, and one that replaces it. So their UID tells them apart; the containers of one Pod run one after the other, and
/// the next one has the Lease at once. (T-224)
pub fn holder_name(pod: Option<&str>, uid: Option<&str>) -> String {
    let name = pod.map_or_else(|| format!("process {}", std::process::id()), str::to_owned);
    let uid = uid.map_or_else(|| format!("{:016x}", RandomState::new().hash_one(&name)), str::to_owned);
    format!("{name}_{uid}")
}

/// What came of an attempt to get or to renew the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// This process holds it.
    Held,
    /// Another process holds it.
    HeldBy(String),
    /// Another process wrote it at the same time.
    Contended,
}

/// The Leases of this importer and of others.
pub struct Leases {
    client: kube::Client,
    namespace: String,
    /// The process.
    holder: String,
    served: Vec<String>,
    times: Times,
    own: Mutex<LeaseObservation>,
    /// When the own Lease was last renewed.
    renewed: Mutex<Option<Instant>>,
    others: Mutex<HashMap<String, Other>>,
}

/// A version of a Lease, and since when it has been the last one.
#[derive(Debug, Default)]
struct LeaseObservation {
    version: Option<String>,
    since: Option<Instant>,
}

impl LeaseObservation {
    /// Whether the Lease of this version was not renewed for `duration`.
    fn is_expired(&mut self, version: Option<String>, duration: Duration) -> bool {
        match self.since {
            Some(since) if self.version == version => since.elapsed() >= duration,
            _ => {
                (self.version, self.since) = (version, Some(Instant::now()));
                false
            }
        }
    }
}

/// Another importer.
#[derive(Debug)]
struct Other {
    observed: LeaseObservation,
    read: Instant,
    alive: bool,
    /// Namespaces that it serves; empty: all.
    served: Vec<String>,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Leases {
    /// The Lease of `namespace` is not held yet. `served`: the namespaces whose sets the importer serves; empty: all.
    pub fn new(client: kube::Client, namespace: &str, holder: &str, served: &[String], times: Times) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            holder: holder.to_owned(),
            served: served.to_vec(),
            times,
            own: Mutex::default(),
            renewed: Mutex::new(None),
            others: Mutex::default(),
        }
    }

    /// How long a Lease holds.
    pub const fn times(&self) -> Times {
        self.times
    }

    fn api(&self, namespace: &str) -> Api<Lease> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Whether the Lease is held: no other process can have got it since it was last renewed. True where it was never asked
    /// for.
    pub fn is_held(&self) -> bool {
        self.renewed.lock().is_none_or(|at| at.elapsed() < self.times.duration)
    }

    /// Gets the Lease, or renews it.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn acquire(&self) -> Result<Attempt, kube::Error> {
        // Before the call: others count from when the API server has it, which is later.
        let at = Instant::now();
        let api = self.api(&self.namespace);
        let found = api.get_opt(NAME).await?;
        let options = PostParams::default();
        let attempt = match &found {
            None => api.create(&options, &self.lease(None, &self.holder)).await,
            Some(lease) => {
                if let Some(other) = self.held_by(lease) {
                    return Ok(Attempt::HeldBy(other));
                }
                api.replace(NAME, &options, &self.lease(Some(lease), &self.holder)).await
            }
        };
        match attempt {
            Ok(_) => {
                *self.renewed.lock() = Some(at);
                Ok(Attempt::Held)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Attempt::Contended),
            Err(error) => Err(error),
        }
    }

    /// Lets the next process of this importer have the Lease at once. Importers of other namespaces still see it as held for
    /// its duration, so that a restart is no reason for them to take over.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn release(&self) -> Result<(), kube::Error> {
        let api = self.api(&self.namespace);
        if let Some(lease) = api.get_opt(NAME).await?
            && holder(&lease) == Some(&self.holder)
        {
            api.replace(NAME, &PostParams::default(), &self.lease(Some(&lease), "")).await?;
        }
        Ok(())
    }

    /// Which other process holds it.
    fn held_by(&self, lease: &Lease) -> Option<String> {
        let other = holder(lease).filter(|holder| **holder != self.holder)?.to_owned();
        let expired = self.own.lock().is_expired(lease.metadata.resource_version.clone(), duration(lease));
        (!expired).then_some(other)
    }

    fn lease(&self, before: Option<&Lease>, holder: &str) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let old = before.and_then(|before| before.spec.clone()).unwrap_or_default();
        let same = old.holder_identity.as_deref() == Some(holder);
        let transitions = old.lease_transitions.unwrap_or_default();
        let transitions = transitions.saturating_add(i32::from(before.is_some() && !same));
        let new = || ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        };
        let mut metadata = before.map_or_else(new, |before| before.metadata.clone());
        metadata.managed_fields = None;
        let annotations = metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.insert(NAMESPACES.to_owned(), self.served.join(","));
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                acquire_time: if same { old.acquire_time } else { now.clone() },
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: i32::try_from(self.times.duration.as_secs().max(1)).ok(),
                lease_transitions: Some(transitions),
                renew_time: now,
                ..old
            }),
        }
    }

    /// Whether the importer of another namespace runs and serves sets of `namespace`. One whose Lease is seen for the first
    /// time counts as running for as long as a Lease holds.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn serves(&self, importer: &str, namespace: &str) -> Result<bool, kube::Error> {
        if !is_namespace(importer) {
            return Ok(false);
        }
        let fresh = |other: &&Other| other.read.elapsed() < self.times.renew;
        let known = self.others.lock().get(importer).filter(fresh).map(|other| other.serves(namespace));
        if let Some(known) = known {
            return Ok(known);
        }
        // One that does not exist is not kept: whoever may write a status may name any.
        let Some(lease) = self.api(importer).get_opt(NAME).await? else { return Ok(false) };
        let mut others = self.others.lock();
        if others.len() >= MAX_OTHERS && !others.contains_key(importer) {
            others.clear();
        }
        let other = others.entry(importer.to_owned()).or_insert_with(|| Other {
            observed: LeaseObservation::default(),
            read: Instant::now(),
            alive: false,
            served: Vec::new(),
        });
        other.read = Instant::now();
        let version = lease.metadata.resource_version.clone();
        other.alive = !other.observed.is_expired(version, duration(&lease));
        let annotations = lease.metadata.annotations.unwrap_or_default();
        let served = annotations.get(NAMESPACES).map(String::as_str).unwrap_or_default();
        other.served = served.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(other.serves(namespace))
    }
}

impl Other {
    fn serves(&self, namespace: &str) -> bool {
        self.alive && (self.served.is_empty() || self.served.iter().any(|served| served == namespace))
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

/// How long it says that it holds, within reason.
fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds.clamp(1, 300)).unwrap_or(1))
}

/// Whether a text can be the name of a namespace: nothing else becomes a part of a path.
fn is_namespace(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(plain)
}
