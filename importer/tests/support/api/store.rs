// SPDX-License-Identifier: Apache-2.0
//! The objects, and every version of them that was not compacted.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fields::{self, By, Managers};
use super::request::ApiRequest;
use super::{Answer, ObjectKey, failure};

/// Resources of which `status` is written through a subresource only.
const WITH_STATUS: [&str; 4] = ["edgeimagesets", "imagebundles", "jobs", "pods"];

/// Objects at one version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    objects: BTreeMap<ObjectKey, Value>,
    managers: Managers,
    version: u64,
}

/// A change.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: ObjectKey,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

#[derive(Default)]
pub(super) struct Store {
    now: Snapshot,
    history: Vec<Change>,
    /// How many UIDs were given: none of them twice, whatever is restored.
    uids: u64,
    /// When objects are created; absent: on the first day of 2026.
    pub(super) time: Option<String>,
    /// Changes up to this version are forgotten.
    pub(super) compacted: u64,
}

impl Store {
    pub(super) const fn version(&self) -> u64 {
        self.now.version
    }

    pub(super) const fn objects(&self) -> &BTreeMap<ObjectKey, Value> {
        &self.now.objects
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Value> {
        self.now.objects.get(key)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.now.clone()
    }

    /// As etcd does it: the version goes back, too.
    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        self.compacted = snapshot.version;
        self.now = snapshot;
        self.history.clear();
    }

    pub(super) fn compact(&mut self) {
        self.compacted = self.now.version;
        self.history.clear();
    }

    /// The objects as they were.
    pub(super) fn at(&self, version: u64) -> BTreeMap<ObjectKey, Value> {
        let mut objects = self.now.objects.clone();
        for change in self.history.iter().rev().take_while(|change| change.version > version) {
            match &change.before {
                Some(before) => drop(objects.insert(change.key.clone(), before.clone())),
                None => drop(objects.remove(&change.key)),
            }
        }
        objects
    }

    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = &Change> {
        let first = self.history.partition_point(|change| change.version <= version);
        self.history[first..].iter()
    }

    fn change(&mut self, key: ObjectKey, after: Option<Value>) {
        let before = match &after {
            Some(after) => self.now.objects.insert(key.clone(), after.clone()),
            None => self.now.objects.remove(&key),
        };
        self.history.push(Change { version: self.now.version, key, before, after });
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Value> {
        let object = self.get(key).cloned()?;
        self.now.version += 1;
        self.now.managers.remove(key);
        self.change(key.clone(), None);
        Some(object)
    }

    /// Stores an object as `by` wrote it. One that is as it was gets no new version.
    pub(super) fn write(&mut self, key: ObjectKey, mut object: Value, by: By<'_>) -> Value {
        let before = self.get(&key).cloned();
        let mut managers = self.now.managers.remove(&key).unwrap_or_default();
        fields::update(before.as_ref().unwrap_or(&Value::Null), &object, &mut managers, by);
        object["metadata"]["managedFields"] = fields::managed_fields(&managers, &object["apiVersion"]);
        self.now.managers.insert(key.clone(), managers);
        self.finish(key, object)
    }

    fn finish(&mut self, key: ObjectKey, mut object: Value) -> Value {
        let before = self.get(&key).cloned();
        let version = self.now.version + 1;
        let meta = &mut object["metadata"];
        meta["name"] = json!(key.2);
        if !key.1.is_empty() {
            meta["namespace"] = json!(key.1);
        }
        if meta["uid"].is_null() {
            self.uids += 1;
            meta["uid"] = json!(format!("uid-{}", self.uids));
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!(self.time.as_deref().unwrap_or("2026-01-01T00:00:00Z"));
        }
        if let Some(before) = &before {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if *before == object {
                return object;
            }
        }
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        self.now.version = version;
        self.change(key, Some(object.clone()));
        object
    }

    /// Answers a request that writes.
    pub(super) fn answer(&mut self, request: &ApiRequest, sent: &Value) -> Answer {
        let name = request.name.clone().or_else(|| sent["metadata"]["name"].as_str().map(str::to_owned));
        let key = (request.plural.clone(), request.namespace.clone(), name.unwrap_or_default());
        let manager = request.parameter("fieldManager").unwrap_or("unknown").to_owned();
        let by = By { manager: &manager, status: request.status };
        let current = self.get(&key).cloned();
        let wanted = if request.method == "DELETE" { &sent["preconditions"] } else { &sent["metadata"] };
        if let Some(current) = &current
            && request.method != "POST"
        {
            for field in ["uid", "resourceVersion"] {
                if wanted[field].is_string() && wanted[field] != current["metadata"][field] {
                    return failure(StatusCode::CONFLICT, "Conflict", "the object has been modified");
                }
            }
        }
        match (request.method.as_str(), current) {
            ("DELETE", Some(_)) => (StatusCode::OK, self.remove(&key).unwrap_or_default()),
            ("POST", Some(_)) => failure(StatusCode::CONFLICT, "AlreadyExists", "the object exists"),
            ("POST", None) => {
                let mut object = sent.clone();
                object["metadata"]["generation"] = json!(1);
                (StatusCode::CREATED, self.write(key, object, by))
            }
            ("PATCH", current) if request.applies => self.apply(request, key, current.as_ref(), sent, by),
            (_, None) => failure(StatusCode::NOT_FOUND, "NotFound", "there is no such object"),
            ("PUT", Some(current)) => {
                let mut object = sent.clone();
                object["metadata"]["uid"] = current["metadata"]["uid"].clone();
                let next = written(request, &current, &object);
                (StatusCode::OK, self.write(key, next, by))
            }
            ("PATCH", Some(current)) => {
                let mut object = current.clone();
                fields::merge_patch(&mut object, sent);
                let next = written(request, &current, &object);
                (StatusCode::OK, self.write(key, next, by))
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "it is not known here"),
        }
    }

    fn apply(
        &mut self,
        request: &ApiRequest,
        key: ObjectKey,
        current: Option<&Value>,
        sent: &Value,
        by: By<'_>,
    ) -> Answer {
        if current.is_none() && (request.status || sent["metadata"]["uid"].is_string()) {
            return failure(StatusCode::NOT_FOUND, "NotFound", "there is no such object");
        }
        let created = current.is_none();
        let empty = || json!({"apiVersion": sent["apiVersion"], "kind": sent["kind"], "metadata": {}});
        let current = current.cloned().unwrap_or_else(empty);
        let mut sent = sent.clone();
        if request.status {
            sent = json!({"status": sent["status"]});
        } else if WITH_STATUS.contains(&request.plural.as_str())
            && let Some(sent) = sent.as_object_mut()
        {
            sent.remove("status");
        }
        let mut managers = self.now.managers.get(&key).cloned().unwrap_or_default();
        let next = match fields::apply(&current, &mut managers, &sent, by, request.is("force")) {
            Ok(next) => next,
            Err(fields) => {
                let message = format!("Apply failed with {} conflicts: {}", fields.len(), fields.join(", "));
                return failure(StatusCode::CONFLICT, "Conflict", &message);
            }
        };
        let mut next = written(request, &current, &next);
        if created {
            next["metadata"]["generation"] = json!(1);
        }
        next["metadata"]["managedFields"] = fields::managed_fields(&managers, &next["apiVersion"]);
        self.now.managers.insert(key.clone(), managers);
        (if created { StatusCode::CREATED } else { StatusCode::OK }, self.finish(key, next))
    }
}

/// What becomes of `current` when `object` is written: only the status through its subresource, all but the status else,
/// and another spec is another generation.
fn written(request: &ApiRequest, current: &Value, object: &Value) -> Value {
    if request.status {
        let mut next = current.clone();
        next["status"] = object["status"].clone();
        return next;
    }
    let mut next = object.clone();
    if WITH_STATUS.contains(&request.plural.as_str()) && !current["status"].is_null() {
        next["status"] = current["status"].clone();
    }
    next["metadata"]["generation"] = current["metadata"]["generation"].clone();
    if next["spec"] != current["spec"]
        && let Some(generation) = current["metadata"]["generation"].as_i64()
    {
        next["metadata"]["generation"] = json!(generation + 1);
    }
    next
}
