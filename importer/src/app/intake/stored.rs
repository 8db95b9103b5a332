// SPDX-License-Identifier: Apache-2.0
//! ImageBundles as they lie in the cluster, written by any version or by hand: what cannot be read counts as absent, and
//! keeps nothing else from being read. Pure. (T-195)

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use krs_core::crd::ImageBundleStatus;
use krs_core::redact::printable;
use kube::api::DynamicObject;
use serde_json::{Map, Value};

/// Longest name of a field in the log, in characters.
const MAX_FIELD: usize = 100;

/// What could be read of an ImageBundle.
#[derive(Debug, PartialEq)]
pub(super) struct ImageBundleRecord {
    pub file: String,
    pub status: Option<ImageBundleStatus>,
    /// Fields of the status that could not be read.
    pub unreadable: Vec<String>,
}

/// `None`: it names no file.
pub(super) fn read(bundle: &DynamicObject) -> Option<ImageBundleRecord> {
    let file = bundle.data["spec"]["file"].as_str()?.to_owned();
    let (status, unreadable) = match &bundle.data["status"] {
        Value::Null => (None, Vec::new()),
        Value::Object(fields) => status(fields),
        _ => (None, vec!["status".to_owned()]),
    };
    Some(ImageBundleRecord { file, status, unreadable })
}

fn status(fields: &Map<String, Value>) -> (Option<ImageBundleStatus>, Vec<String>) {
    let mut fields = fields.clone();
    let mut unreadable = Vec::new();
    // Each condition for itself: one of them says that the mark was raised.
    if let Some(Value::Array(conditions)) = fields.get_mut("conditions") {
        let before = conditions.len();
        conditions.retain(|condition| serde_json::from_value::<Condition>(condition.clone()).is_ok());
        if conditions.len() < before {
            unreadable.push("conditions".to_owned());
        }
    }
    fields.retain(|name, value| {
        let one = Map::from_iter([(name.clone(), value.clone())]);
        let is_readable = serde_json::from_value::<ImageBundleStatus>(Value::Object(one)).is_ok();
        if !is_readable {
            unreadable.push(printable(name, MAX_FIELD));
        }
        is_readable
    });
    (serde_json::from_value(Value::Object(fields)).ok(), unreadable)
}
