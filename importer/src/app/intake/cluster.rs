// SPDX-License-Identifier: Apache-2.0
//! The ImageBundles of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use krs_core::crd::{API_VERSION, ImageBundle, ImageBundleStatus};
use krs_core::oci::digest::Digest;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::stored;
use super::written::{WrittenBundle, shown_file};
use crate::adapters::events::Events;
use crate::adapters::metrics::Metrics;
use crate::adapters::writes::{FIELD_MANAGER, Restores, merging};
use crate::engine::status::{fingerprint, replacement};

/// Label of an ImageBundle: namespace of the importer that it is of.
const IMPORTER: &str = "kuberegistrysync.io/importer";
/// How often it is worth a write what is still to be copied, which changes with nearly each copy Job.
const DETAILS: Duration = Duration::from_secs(30);
/// How long to wait after the API server refused a write.
const WRITE_PAUSE: Duration = Duration::from_secs(5);
/// Most ImageBundles that are read at once.
const PAGE: u32 = 500;

/// The ImageBundles of the cluster.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
    /// By name.
    pub written: BTreeMap<String, WrittenBundle>,
    /// Namespace of the importer.
    importer: String,
    /// Names of the ImageBundles of other importers.
    foreign: BTreeSet<String>,
    /// What was there before a list began that is not complete yet, and was not in it so far.
    unlisted: BTreeSet<String>,
    /// While the API server itself cannot be written to.
    not_before: Option<Instant>,
    /// When an ImageBundle was created last: one that somebody deletes again and again is created at a bounded rate. (T-221)
    created: BTreeMap<String, Restores<Instant>>,
    /// How often it is worth a write what is still to be copied.
    pub(super) details: Duration,
    /// When an ImageBundle that was refused is written again: the others do not wait for it.
    refused_until: BTreeMap<String, Instant>,
}

impl Cluster {
    pub(super) fn new(client: Client, events: Events, metrics: Metrics, importer: &str) -> Self {
        Self {
            client,
            events,
            metrics,
            written: BTreeMap::new(),
            importer: importer.to_owned(),
            foreign: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            not_before: None,
            created: BTreeMap::new(),
            details: DETAILS,
            refused_until: BTreeMap::new(),
        }
    }

    /// ImageBundles in any shape: one that cannot be read keeps nothing else from being read.
    pub(super) fn api(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<ImageBundle>(&()))
    }

    /// Whether an ImageBundle is of another importer; `None`: of nobody, as 0.1 left it.
    fn is_foreign(&self, bundle: &DynamicObject) -> Option<bool> {
        bundle.labels().get(IMPORTER).map(|importer| *importer != self.importer)
    }

    /// Whether a person has confirmed the sequence of the bundle with this digest.
    pub(super) fn is_confirmed(&self, name: &str, digest: &Digest) -> bool {
        self.written.get(name).is_some_and(|written| written.is_confirmed(digest))
    }

    /// The names that ImageBundles of other importers have.
    pub(super) const fn foreign(&self) -> &BTreeSet<String> {
        &self.foreign
    }

    /// Adopts an ImageBundle of nobody. Of two importers that do so, one succeeds. Answers whether it was this one.
    async fn adopt(&self, bundle: &DynamicObject) -> Result<bool, kube::Error> {
        let patch = json!({"metadata": {
            "resourceVersion": bundle.resource_version(), "labels": {IMPORTER: self.importer},
        }});
        match self.api().patch(&bundle.name_any(), &merging(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads what earlier runs have written.
    pub(super) async fn load(&mut self) -> Result<(), kube::Error> {
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = self.api().list(&parameters).await?;
            for bundle in page.items {
                let name = bundle.name_any();
                // Without a file it is none of ours; where it gets the name of one, it is written again.
                let Some(read) = stored::read(&bundle) else {
                    tracing::warn!(bundle = name, "an ImageBundle names no file: it is left alone");
                    continue;
                };
                if !read.unreadable.is_empty() {
                    let fields = read.unreadable.join(", ");
                    tracing::warn!(
                        bundle = name,
                        fields,
                        "fields of an ImageBundle cannot be read: they count as absent"
                    );
                }
                let is_foreign = match self.is_foreign(&bundle) {
                    Some(is_foreign) => is_foreign,
                    None => !self.adopt(&bundle).await?,
                };
                if is_foreign {
                    self.foreign.insert(name);
                } else {
                    self.written.insert(name, WrittenBundle::new(&bundle, &read.file, read.status));
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// Makes the object be there and its status what it should be. Failures are logged; the next call retries.
    pub(super) async fn write(&mut self, name: &str, file: &str, status: ImageBundleStatus) {
        let now = Instant::now();
        let refused_until = self.refused_until.get(name);
        if self.not_before.iter().chain(refused_until).any(|until| now < *until) {
            return;
        }
        if self.written.get(name).is_some_and(|written| !written.is_due(file, &status, self.details)) {
            return;
        }
        let created = self.created.get(name).filter(|_| !self.written.contains_key(name));
        if created.is_some_and(|created| !created.wait(created.last.elapsed()).is_zero()) {
            return;
        }
        let outcome = match self.read_again(name).await {
            Ok(())
                if self
                    .written
                    .get(name)
                    .is_some_and(|written| !written.is_due(file, &status, self.details)) =>
            {
                return;
            }
            Ok(()) => self.try_write(name, file, &status).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                self.not_before = None;
                self.refused_until.remove(name);
                self.announce(name, &status).await;
                self.arrived(name, status).await;
            }
            Err(kube::Error::Api(error)) if error.code == 404 => {
                // Somebody deleted it: it is made again.
                self.written.remove(name);
            }
            Err(error) => {
                tracing::warn!(bundle = name, %error, "an ImageBundle could not be written");
                let until = Instant::now() + WRITE_PAUSE;
                if concerns_all(&error) {
                    self.not_before = Some(until);
                } else {
                    self.refused_until.insert(name.to_owned(), until);
                }
            }
        }
    }

    async fn arrived(&mut self, name: &str, status: ImageBundleStatus) {
        let Some(written) = self.written.get_mut(name) else { return };
        if written.arrived(status) {
            let note =
                "somebody else changed the ImageBundle, which only the importer writes: it is written again";
            self.events.warning(&self.about(name), "StatusOverwritten", "Apply", note).await;
        }
    }

    /// Takes note of an ImageBundle that the API server holds. Answers whether somebody else changed one of ours, or a person
    /// confirmed its sequence.
    pub(super) fn observe(&mut self, event: Event<DynamicObject>) -> bool {
        match event {
            // What is written while the list is on its way need not be in it.
            Event::Init => self.unlisted = self.written.keys().chain(&self.foreign).cloned().collect(),
            Event::InitApply(bundle) => {
                self.unlisted.remove(&bundle.name_any());
                return self.found(&bundle);
            }
            Event::Apply(bundle) => return self.found(&bundle),
            Event::Delete(bundle) => {
                self.foreign.remove(&bundle.name_any());
                // It is made again.
                return self.written.remove(&bundle.name_any()).is_some();
            }
            Event::InitDone => {
                let before = self.written.len();
                let gone = std::mem::take(&mut self.unlisted);
                self.written.retain(|name, _| !gone.contains(name));
                self.foreign.retain(|name| !gone.contains(name));
                return self.written.len() < before;
            }
        }
        false
    }

    /// What the watch tells may be from before the last write: somebody else changed an ImageBundle only if it still differs.
    async fn read_again(&mut self, name: &str) -> Result<(), kube::Error> {
        if self.written.get(name).is_some_and(WrittenBundle::is_overwritten) {
            let bundle = self.api().get(name).await?;
            self.found(&bundle);
        }
        Ok(())
    }

    fn found(&mut self, bundle: &DynamicObject) -> bool {
        let is_foreign = self.is_foreign(bundle);
        let Some(written) = self.written.get_mut(&bundle.name_any()) else {
            if is_foreign == Some(true) {
                self.foreign.insert(bundle.name_any());
            }
            return false;
        };
        written.observe(bundle, is_foreign == Some(false))
    }

    async fn try_write(
        &mut self,
        name: &str,
        file: &str,
        status: &ImageBundleStatus,
    ) -> Result<(), kube::Error> {
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        if self.written.get(name).is_none_or(|written| written.file != file || written.is_overwritten()) {
            let object = json!({
                "apiVersion": API_VERSION,
                "kind": "ImageBundle",
                "metadata": {"name": name, "labels": {IMPORTER: self.importer}},
                "spec": {"file": shown_file(file)},
            });
            let made = if self.written.contains_key(name) {
                self.api().patch(name, &parameters, &Patch::Apply(&object)).await?
            } else {
                let made = self.create(name, object).await?;
                let before = self.created.remove(name);
                let created = Restores::one_more(before, Instant::elapsed, Instant::now());
                self.created.insert(name.to_owned(), created);
                made
            };
            let is_new = self.written.get(name).is_none_or(|before| before.file != file);
            match self.written.get_mut(name) {
                Some(written) => written.applied(&made, file),
                None => drop(self.written.insert(name.to_owned(), WrittenBundle::new(&made, file, None))),
            }
            if is_new {
                let note = format!("found {file} in the drop folder");
                self.events.normal(&self.about(name), "BundleFound", "Find", &note).await;
            }
        }
        let object = json!({"apiVersion": API_VERSION, "kind": "ImageBundle", "status": status});
        let made = self.api().patch_status(name, &parameters, &Patch::Apply(&object)).await?;
        // Server-side apply leaves what others added.
        let is_right = |read: &stored::ImageBundleRecord| {
            read.unreadable.is_empty() && read.status.as_ref().map(fingerprint) == Some(fingerprint(status))
        };
        if !stored::read(&made).as_ref().is_some_and(is_right) {
            let current = made.data["status"].clone();
            let patch = replacement(current, status, made.metadata.resource_version.as_deref());
            self.api().patch_status(name, &merging(), &Patch::Merge(&patch)).await?;
        }
        Ok(())
    }

    /// Creates an ImageBundle. The name may be that of another importer's: that one is left alone, and the next call finds
    /// another name.
    async fn create(&mut self, name: &str, object: Value) -> Result<DynamicObject, kube::Error> {
        let bundle = serde_json::from_value::<DynamicObject>(object).map_err(kube::Error::SerdeError)?;
        let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let refusal = match self.api().create(&how, &bundle).await {
            Err(kube::Error::Api(status)) if status.code == 409 => kube::Error::Api(status),
            outcome => return outcome,
        };
        let found = self.api().get(name).await?;
        match self.is_foreign(&found) {
            Some(true) => drop(self.foreign.insert(name.to_owned())),
            Some(false) => return Ok(found),
            None => drop(self.adopt(&found).await?),
        }
        Err(refusal)
    }

    /// Deletes an ImageBundle. Answers whether it is gone.
    pub(super) async fn delete(&mut self, name: &str) -> bool {
        match self.api().delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(error)) if error.code == 404 => {}
            Err(error) => {
                tracing::warn!(bundle = name, %error, "an ImageBundle could not be deleted");
                return false;
            }
        }
        self.written.remove(name);
        self.created.remove(name);
        self.refused_until.remove(name);
        true
    }
}

/// Whether a call failed for a reason that other calls share: no answer, too many calls, or a server that cannot serve now.
/// Else the server has refused this one.
pub(super) const fn concerns_all(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 503 | 504),
        _ => true,
    }
}
