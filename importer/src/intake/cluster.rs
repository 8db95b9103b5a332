// SPDX-License-Identifier: Apache-2.0
//! ImageBundles, events and sets in the cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use krs_core::bundle::StreamName;
use krs_core::crd::{API_VERSION, EdgeImageSet, ImageBundle, ImageBundleStatus, KIND, condition, reason};
use krs_core::redact::printable;
use krs_core::set::CheckedSet;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::needed::Applied;
use super::stored;
use super::view;
use crate::events::Events;
use crate::metrics::{Metrics, ResultLabels};

/// Who owns the fields that the importer writes.
const MANAGER: &str = "krs-importer";
/// Who owns the fields of sets that come from bundles.
const BUNDLE_MANAGER: &str = "krs-bundle";
/// The stream whose bundle has applied a set. Of several streams with one set, that whose name comes first has it.
const STREAM: &str = "kuberegistrysync.io/stream";
/// How often progress alone is worth a write.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long to wait after the API server refused a write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most ImageBundles that are read at once.
const PAGE: u32 = 500;

/// Why a set of a bundle was not applied.
#[derive(Debug, thiserror::Error)]
enum NotApplied {
    #[error("it names no namespace")]
    NoNamespace,
    #[error(
        "bundles of stream `{0}` apply the same set, and its name comes first; to let this stream have it, take the set out of that one and remove the annotation {STREAM} of the set"
    )]
    OtherStream(String),
    #[error("{0}")]
    Error(#[from] kube::Error),
}

impl NotApplied {
    const fn reason(&self) -> &'static str {
        match self {
            Self::OtherStream(_) => "OtherStream",
            Self::NoNamespace | Self::Error(_) => "SetsRefused",
        }
    }
}

/// An ImageBundle as it was last written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub file: String,
    pub generation: i64,
    pub status: Option<ImageBundleStatus>,
    uid: Option<String>,
    at: Option<Instant>,
}

/// The ImageBundles of the cluster.
pub(super) struct Cluster {
    client: Client,
    events: Events,
    metrics: Metrics,
    /// By name.
    pub written: BTreeMap<String, Written>,
    /// While the API server itself cannot be written to.
    not_before: Option<Instant>,
    /// When an ImageBundle that was refused is written again: the others do not wait for it.
    refused_until: BTreeMap<String, Instant>,
}

impl Cluster {
    pub(super) const fn new(client: Client, events: Events, metrics: Metrics) -> Self {
        Self {
            client,
            events,
            metrics,
            written: BTreeMap::new(),
            not_before: None,
            refused_until: BTreeMap::new(),
        }
    }

    fn api(&self) -> Api<ImageBundle> {
        Api::all(self.client.clone())
    }

    /// Reads what earlier runs have written.
    pub(super) async fn load(&mut self) -> Result<(), kube::Error> {
        let resource = ApiResource::erase::<ImageBundle>(&());
        let all = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = all.list(&parameters).await?;
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
                let written = Written {
                    file: read.file,
                    generation: bundle.metadata.generation.unwrap_or(1),
                    uid: bundle.uid(),
                    at: None,
                    status: read.status,
                };
                self.written.insert(name, written);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// Makes the object be there and its status what it should be. Failures are logged; the next call tries again.
    pub(super) async fn write(&mut self, name: &str, file: &str, status: ImageBundleStatus) {
        let now = Instant::now();
        let refused_until = self.refused_until.get(name);
        if self.not_before.iter().chain(refused_until).any(|until| now < *until) {
            return;
        }
        if let Some(written) = self.written.get(name)
            && written.file == file
            && !worth_it(written, &status)
        {
            return;
        }
        match self.try_write(name, file, &status).await {
            Ok(()) => {
                self.not_before = None;
                self.refused_until.remove(name);
                self.announce(name, &status).await;
                if let Some(written) = self.written.get_mut(name) {
                    (written.status, written.at) = (Some(status), Some(Instant::now()));
                }
            }
            Err(kube::Error::Api(error)) if error.code == 404 => {
                // Somebody deleted it: it is made again.
                self.written.remove(name);
            }
            Err(error) => {
                tracing::warn!(bundle = name, %error, "an ImageBundle could not be written");
                let until = Instant::now() + PATIENCE;
                if concerns_all(&error) {
                    self.not_before = Some(until);
                } else {
                    self.refused_until.insert(name.to_owned(), until);
                }
            }
        }
    }

    async fn try_write(
        &mut self,
        name: &str,
        file: &str,
        status: &ImageBundleStatus,
    ) -> Result<(), kube::Error> {
        let parameters = PatchParams::apply(MANAGER).force();
        if self.written.get(name).is_none_or(|written| written.file != file) {
            let object = json!({
                "apiVersion": API_VERSION,
                "kind": "ImageBundle",
                "metadata": {"name": name},
                "spec": {"file": krs_core::redact::printable(file, 1000)},
            });
            let made = self.api().patch(name, &parameters, &Patch::Apply(&object)).await?;
            let generation = made.metadata.generation.unwrap_or(1);
            let status = self.written.remove(name).and_then(|written| written.status);
            let written = Written { file: file.to_owned(), generation, uid: made.uid(), status, at: None };
            self.written.insert(name.to_owned(), written);
            let note = format!("found {file} in the drop folder");
            self.events.normal(&self.about(name), "BundleFound", "Find", &note).await;
        }
        let object = json!({"apiVersion": API_VERSION, "kind": "ImageBundle", "status": status});
        self.api().patch_status(name, &parameters, &Patch::Apply(&object)).await?;
        Ok(())
    }

    /// Events for what changed between the status that was written before and `now`.
    async fn announce(&self, name: &str, now: &ImageBundleStatus) {
        let before = self.written.get(name).and_then(|written| written.status.as_ref());
        let about = self.about(name);
        let message = |type_: &str| {
            let condition = now.conditions.iter().find(|condition| condition.type_ == type_);
            condition.map(|condition| condition.message.clone()).unwrap_or_default()
        };
        let changed = |type_: &str| {
            let new = view::state(Some(now), type_);
            new.filter(|new| view::state(before, type_) != Some(*new))
        };
        if let Some((status, why)) = changed(condition::VERIFIED)
            && status != "Unknown"
        {
            self.metrics.verifications.get_or_create(&ResultLabels { result: why.to_owned() }).inc();
            let note = message(condition::VERIFIED);
            if status == "True" {
                self.events.normal(&about, "BundleVerified", "Verify", &note).await;
            } else {
                let note = format!("{why}: {note}");
                self.events.warning(&about, "BundleRefused", "Verify", &note).await;
            }
        }
        match changed(condition::COMPLETE) {
            Some(("False" | "Unknown", why)) if why == reason::MEDIUM_READ_ERROR => {
                self.events.warning(&about, why, "Read", &message(condition::COMPLETE)).await;
            }
            Some(("False", why)) if why == view::ABSENT && before.is_some() => {
                self.events.normal(&about, why, "Find", &message(condition::COMPLETE)).await;
            }
            _ => {}
        }
        for (type_, event) in
            [(condition::IMPORTED, "BundleImported"), (condition::SAFE_TO_REMOVE, "SafeToRemove")]
        {
            let was = view::state(before, type_).is_some_and(|(status, _)| status == "True");
            let refused =
                view::state(Some(now), condition::VERIFIED).is_some_and(|(status, _)| status != "True");
            if !was && !refused && changed(type_).is_some_and(|(status, _)| status == "True") {
                self.events.normal(&about, event, "Import", &message(type_)).await;
            }
        }
    }

    fn about(&self, name: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some("ImageBundle".to_owned()),
            name: Some(name.to_owned()),
            uid: self.written.get(name).and_then(|written| written.uid.clone()),
            ..ObjectReference::default()
        }
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
        self.refused_until.remove(name);
        true
    }

    /// Applies a set of bundle `name` of `stream` to the cluster. `before`: what became of it when that was tried last.
    pub(super) async fn apply_set(
        &mut self,
        name: &str,
        stream: &StreamName,
        set: &CheckedSet,
        before: &Applied,
    ) -> Applied {
        let applied = match self.try_apply_set(stream, set).await {
            Ok(()) => Applied::At(Instant::now()),
            Err(NotApplied::Error(error)) if concerns_all(&error) => Applied::Due,
            Err(refused) => before.refused(refused.reason(), refused.to_string(), Instant::now()),
        };
        if let Applied::Refused(refusal) = &applied
            && !matches!(before, Applied::Refused(before) if before.message == refusal.message)
        {
            let note = format!("set {} of the bundle could not be applied: {}", set.name, refusal.message);
            self.events.warning(&self.about(name), "SetNotApplied", "Apply", &note).await;
        }
        applied
    }

    async fn try_apply_set(&self, stream: &StreamName, set: &CheckedSet) -> Result<(), NotApplied> {
        let namespace = set.namespace.as_ref().ok_or(NotApplied::NoNamespace)?;
        let api = Api::<EdgeImageSet>::namespaced(self.client.clone(), namespace);
        let annotation = |metadata: ObjectMeta| metadata.annotations?.remove(STREAM);
        let owner = api.get_metadata_opt(&set.name).await?.and_then(|found| annotation(found.metadata));
        if let Some(owner) = owner.filter(|owner| owner.as_str() < stream.as_str()) {
            return Err(NotApplied::OtherStream(printable(&owner, 100)));
        }
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": set.name, "namespace": namespace, "annotations": {STREAM: stream.as_str()}},
            "spec": set.spec,
        });
        let parameters = PatchParams::apply(BUNDLE_MANAGER);
        api.patch(&set.name, &parameters, &Patch::Apply(&object)).await?;
        Ok(())
    }
}

/// Whether a call failed for a reason that other calls share: no answer, too many calls, or a server that cannot serve now.
/// Else the server has refused this one.
const fn concerns_all(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 503 | 504),
        _ => true,
    }
}

/// Whether a write is due: something changed, and if only progress did, not too soon after the last one.
fn worth_it(written: &Written, status: &ImageBundleStatus) -> bool {
    let Some(old) = &written.status else { return true };
    if old == status {
        return false;
    }
    let progress = ImageBundleStatus { bytes_verified: old.bytes_verified, ..status.clone() };
    *old != progress || written.at.is_none_or(|at| at.elapsed() >= PROGRESS)
}
