// SPDX-License-Identifier: Apache-2.0
//! Sets as the API server holds them, perhaps written by a later version. One that cannot be read is reported, and
//! neither a list nor a watch fails for it.

use std::borrow::Cow;
use std::sync::Arc;

use krs_core::crd::{EdgeImageSet, EdgeImageSetSpec, Naming, Source, default};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// A set of the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoredSet {
    set: Arc<EdgeImageSet>,
    unreadable: Option<Arc<str>>,
}

impl StoredSet {
    /// The set. One that is [`Self::unreadable`] has no images.
    pub fn set(&self) -> Arc<EdgeImageSet> {
        Arc::clone(&self.set)
    }

    /// Why its spec cannot be read.
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }
}

impl<'de> Deserialize<'de> for StoredSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let metadata = ObjectMeta::deserialize(&object["metadata"]).map_err(de::Error::custom)?;
        // A status that cannot be read is written again.
        let status = Option::deserialize(&object["status"]).unwrap_or_default();
        let (spec, unreadable) = match EdgeImageSetSpec::deserialize(&object["spec"]) {
            Ok(spec) => (spec, None),
            Err(error) => (nothing(), Some(error.to_string().into())),
        };
        Ok(Self { set: Arc::new(EdgeImageSet { metadata, spec, status }), unreadable })
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
        self.set.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        Arc::make_mut(&mut self.set).meta_mut()
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
}
