// SPDX-License-Identifier: Apache-2.0
//! An API server with objects by their path, and tokens.
#![allow(clippy::unwrap_used)]

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::model::task::AUDIENCE;

/// Path of the Pod in [`FakeApi::with_copy_job`].
pub(crate) const POD: &str = "/api/v1/namespaces/apps/pods/pod";
/// Path of its Job.
pub(crate) const JOB: &str = "/apis/batch/v1/namespaces/apps/jobs/job";
/// Path of the set that the Job copies for.
pub(crate) const SET: &str = "/apis/kuberegistrysync.io/v1alpha1/namespaces/apps/edgeimagesets/set";

#[derive(Debug, Default)]
pub(crate) struct State {
    /// By path: `/api/v1/namespaces/apps/pods/p`.
    pub(crate) objects: BTreeMap<String, Value>,
    /// The status of the review of each [`token`], by its name.
    pub(crate) tokens: BTreeMap<String, Value>,
    /// Calls whose method and path begin so fail with that status.
    pub(crate) failing: Option<(&'static str, u16)>,
    /// Comes into being, once, just before something is written.
    pub(crate) racing: Option<Value>,
    /// What was asked, as `METHOD path`.
    pub(crate) calls: Vec<String>,
    version: u64,
}

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock())
    }

    /// A cluster with a copy Job of a set in namespace `apps`, whose Pod may read with the token `good`.
    pub(crate) fn with_copy_job() -> Self {
        let api = Self::default();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}, "metadata":
            {"name": "pod", "namespace": "apps", "uid": "p1", "ownerReferences": owner("batch/v1", "Job", "job", "j1")}});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": "apps",
            "uid": "j1",
            "labels": {"app.kubernetes.io/managed-by": "krs-importer", "app.kubernetes.io/component": "copy"},
            "ownerReferences": owner("kuberegistrysync.io/v1alpha1", "EdgeImageSet", "set", "s1")}});
        let set = json!({"apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
            "metadata": {"name": "set", "namespace": "apps", "uid": "s1"}});
        let extra = json!({"authentication.kubernetes.io/pod-name": ["pod"],
            "authentication.kubernetes.io/pod-uid": ["p1"]});
        let status = json!({"authenticated": true, "audiences": [AUDIENCE],
            "user": {"username": "system:serviceaccount:apps:default", "extra": extra}});
        api.with(|state| {
            state.tokens.insert("good".to_owned(), status);
            state.objects.extend([(POD.to_owned(), pod), (JOB.to_owned(), job), (SET.to_owned(), set)]);
        });
        api
    }

    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let router = Router::new().fallback(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                let sent = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let (status, body) = api.with(|state| state.answer(&head.method, head.uri.path(), sent));
                let response = Response::builder().status(status).header("content-type", "application/json");
                response.body(Body::from(body.to_string())).unwrap()
            }
        });
        kube::Client::new(router, "default")
    }
}

/// A token that claims to be what a copy Job's Pod has.
pub(crate) fn token(name: &str) -> String {
    let pod = json!({"namespace": "apps", "pod": {"name": "pod", "uid": "p1"}});
    let claims = json!({"aud": [AUDIENCE], "kubernetes.io": pod, "jti": name}).to_string();
    format!("e30.{}.c2ln", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
}

/// The owner of an object, as in its metadata.
pub(crate) fn owner(group: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn failure(code: u16) -> (StatusCode, Value) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
    "message": "no", "code": code, "reason": match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    }});
    (StatusCode::from_u16(code).unwrap(), body)
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, sent: Value) -> (StatusCode, Value) {
        let call = format!("{method} {path}");
        self.calls.push(call.clone());
        if let Some((prefix, code)) = self.failing
            && call.starts_with(prefix)
        {
            return failure(code);
        }
        if path.ends_with("/tokenreviews") {
            let shown = sent["spec"]["token"].as_str().unwrap();
            let unknown = json!({"authenticated": false});
            let known = self.tokens.iter().find(|(name, _)| token(name) == shown);
            let status = known.map_or(&unknown, |(_, status)| status);
            return (StatusCode::CREATED, json!({"metadata": {}, "spec": sent["spec"], "status": status}));
        }
        if method == Method::GET {
            return match self.objects.get(path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => failure(404),
            };
        }
        let path = match sent["metadata"]["name"].as_str() {
            Some(name) if method == Method::POST => format!("{path}/{name}"),
            _ => path.to_owned(),
        };
        if let Some(racing) = self.racing.take() {
            self.store(&path, racing);
        }
        let version = self.objects.get(&path).map(|object| object["metadata"]["resourceVersion"].clone());
        match (method, version) {
            (&Method::PUT, None) => failure(404),
            (&Method::PUT, Some(version)) if version == sent["metadata"]["resourceVersion"] => {
                (StatusCode::OK, self.store(&path, sent))
            }
            (&Method::POST, None) => (StatusCode::CREATED, self.store(&path, sent)),
            _ => failure(409),
        }
    }

    pub(crate) fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}
