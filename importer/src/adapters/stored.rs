// SPDX-License-Identifier: Apache-2.0
//! Sets as the API server holds them, perhaps written by a later version. One that cannot be read is reported, and
//! neither a list nor a watch fails for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use krs_core::crd::{EdgeImageSet, EdgeImageSetSpec, EdgeImageSetStatus, Naming, Source, default};
use krs_core::oci::digest::Digest;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::engine::status::fingerprint;
use crate::model::packed::CompressedJson;

/// Annotation in which `kubectl apply` keeps a copy of the complete object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A set of the cluster. Cheap to clone.
///
/// All sets are held for as long as the importer runs, and each may have thousands of images, so that what is not needed is
/// left out and the rest is held packed.
#[derive(Debug, Clone)]
pub struct StoredSet {
    meta: Arc<ObjectMeta>,
    content: Arc<Content>,
}

/// Spec and status of a set.
#[derive(Debug)]
struct Content {
    spec: Result<CompressedJson<EdgeImageSetSpec>, Box<str>>,
    /// The status without its list of images.
    status: Option<CompressedJson<EdgeImageSetStatus>>,
    images: Images,
    fingerprint: Option<Digest>,
}

/// The images that a status lists.
#[derive(Debug)]
enum Images {
    /// By their positions in the spec.
    Positions(Box<[u32]>),
    /// Others than the spec lists.
    Texts(Box<[String]>),
}

impl StoredSet {
    /// The set. One that is [`Self::unreadable`] has no images.
    pub fn set(&self) -> Arc<EdgeImageSet> {
        let spec = self.content.spec.as_ref().ok().and_then(|packed| packed.get().ok());
        let spec = spec.unwrap_or_else(nothing);
        let status = self.content.status.as_ref().and_then(|packed| packed.get().ok());
        let status = status.map(|status| EdgeImageSetStatus {
            synchronized_images: match &self.content.images {
                Images::Positions(positions) => {
                    let images = positions.iter().filter_map(|n| spec.images.get(*n as usize));
                    images.map(|image| image.image.clone()).collect()
                }
                Images::Texts(texts) => texts.to_vec(),
            },
            ..status
        });
        Arc::new(EdgeImageSet { metadata: (*self.meta).clone(), spec, status })
    }

    /// The set without its spec and status.
    pub fn without_content(&self) -> Arc<EdgeImageSet> {
        Arc::new(EdgeImageSet { metadata: (*self.meta).clone(), spec: nothing(), status: None })
    }

    /// See [`fingerprint`]. None: there is no status, or one that cannot be read.
    pub fn status_fingerprint(&self) -> Option<Digest> {
        self.content.fingerprint
    }

    /// Why its spec cannot be read.
    pub fn unreadable(&self) -> Option<&str> {
        self.content.spec.as_ref().err().map(|why| &**why)
    }
}

impl Content {
    fn new(spec: Result<&EdgeImageSetSpec, String>, status: Option<EdgeImageSetStatus>) -> Self {
        let pack = |spec: &EdgeImageSetSpec| {
            CompressedJson::new(spec).map_err(|error| error.to_string().into_boxed_str())
        };
        let of_spec = spec.as_ref().map(|spec| spec.images.as_slice()).unwrap_or_default();
        let positions = of_spec.iter().zip(0_u32..).map(|(image, n)| (image.image.as_str(), n));
        let positions = positions.collect::<HashMap<_, _>>();
        let mut images = Images::Positions(Box::default());
        let fingerprint = status.as_ref().map(fingerprint);
        let status = status.and_then(|mut status| {
            let texts = std::mem::take(&mut status.synchronized_images);
            let listed = texts.iter().map(|text| positions.get(text.as_str()).copied());
            images = match listed.collect::<Option<Vec<_>>>() {
                Some(positions) => Images::Positions(positions.into()),
                None => Images::Texts(texts.into()),
            };
            CompressedJson::new(&status).ok()
        });
        Self { spec: spec.map_err(String::into_boxed_str).and_then(pack), status, images, fingerprint }
    }
}

impl<'de> Deserialize<'de> for StoredSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let mut meta = ObjectMeta::deserialize(&object["metadata"]).map_err(de::Error::custom)?;
        meta.managed_fields = None;
        if let Some(annotations) = &mut meta.annotations {
            annotations.remove(LAST_APPLIED);
        }
        // A status that cannot be read is written again.
        let status = Option::deserialize(&object["status"]).unwrap_or_default();
        let spec = EdgeImageSetSpec::deserialize(&object["spec"]).map_err(|error| error.to_string());
        let content = Content::new(spec.as_ref().map_err(Clone::clone), status);
        Ok(Self { meta: Arc::new(meta), content: Arc::new(content) })
    }
}

/// A spec that asks for nothing.
fn nothing() -> EdgeImageSetSpec {
    EdgeImageSetSpec {
        destination_registry: String::new(),
        destination_client_secret_name: None,
        destination_tls: None,
        source: Source::default(),
        naming: Naming::default(),
        platforms: Vec::new(),
        parallelism: default::parallelism(),
        resync_interval: default::resync_interval(),
        verify_interval: default::verify_interval(),
        suspend: false,
        images: Vec::new(),
    }
}

impl Resource for StoredSet {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        EdgeImageSet::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        EdgeImageSet::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        EdgeImageSet::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        EdgeImageSet::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        Arc::make_mut(&mut self.meta)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn stored(spec: &Value, status: &Value) -> StoredSet {
        let object = json!({"apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
            "metadata": {"name": "x", "namespace": "shop", "uid": "u"}, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_a_later_version_added_is_ignored_and_what_it_changed_is_a_reason_not_an_error() {
        let images = json!([{"image": "example.com/app:1", "later": {"x": 1}}]);
        let read = stored(
            &json!({"destinationRegistry": "e", "images": images, "later": [1]}),
            &json!({"later": 1}),
        );
        assert!(read.unreadable().is_none());
        assert_eq!(read.set().spec.images.len(), 1);
        for spec in [
            json!({"destinationRegistry": "e", "images": images, "source": "Tape"}),
            json!({"destinationRegistry": {"host": "e"}, "images": images}),
            json!({"images": {"later": 1}}),
            Value::Null,
        ] {
            let read = stored(&spec, &json!({"conditions": "later"}));
            assert!(read.unreadable().is_some(), "{spec}");
            assert_eq!(read.meta().uid.as_deref(), Some("u"));
            assert!(read.set().spec.images.is_empty() && read.set().status.is_none());
        }
    }

    #[test]
    fn a_set_comes_back_as_it_was_without_what_only_tools_need() {
        let image = |n: usize| format!("example.com/app{n}:1@{}", krs_core::oci::digest::Digest::of(&[7; 4]));
        let images = (0..1000).map(|n| json!({"image": image(n)})).collect::<Vec<_>>();
        let spec = json!({"destinationRegistry": "edge.local", "images": images, "parallelism": 3});
        let condition = json!({"type": "Ready", "status": "True", "reason": "SyncSuccessful", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for listed in [vec![image(2), image(0)], vec![image(1), "example.com/gone:1".to_owned()], vec![]] {
            let status = json!({"synchronizedImages": listed, "conditions": [condition]});
            let mut object = json!({"apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
                "metadata": {"name": "x", "annotations": {"a": "b"}}, "spec": spec, "status": status});
            let plain = serde_json::from_value::<EdgeImageSet>(object.clone()).unwrap();
            object["metadata"]["annotations"][LAST_APPLIED] = json!("x".repeat(100_000));
            object["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
            let stored = serde_json::from_value::<StoredSet>(object).unwrap();
            let back = serde_json::to_value(&*stored.set()).unwrap();
            assert_eq!(back, serde_json::to_value(&plain).unwrap());
            assert!(stored.without_content().spec.images.is_empty());
        }
    }
}
