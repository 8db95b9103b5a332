// SPDX-License-Identifier: Apache-2.0
//! An API server that holds objects in memory and can die after any of its answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use krs_testing::merge;
use serde_json::{Value, json};

/// Where an object lies: plural, namespace, name.
type Place = (String, String, String);

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call does not arrive.
    Before(usize),
    /// The call takes effect, and its answer does not arrive.
    After(usize),
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Place, Value>,
    version: u64,
    calls: Vec<String>,
    fault: Option<Fault>,
    refused: Option<(&'static str, &'static str)>,
}

/// The API server. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client that talks to it.
    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let answer = move |request: Request<Body>| async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            api.answer(&head.method, &head.uri.to_string(), &body)
        };
        kube::Client::new(axum::Router::new().fallback(answer), "default")
    }

    /// Refuses to create objects of a kind with this message.
    pub(crate) fn refuse(&self, plural: &'static str, message: Option<&'static str>) {
        self.state().refused = message.map(|message| (plural, message));
    }

    /// Stores an object as a user would.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let place = (plural.to_owned(), text("namespace"), text("name"));
        self.state().store(place, object);
    }

    /// An object as it is now.
    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&(plural.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.state();
        state
            .objects
            .iter()
            .filter(|((kind, ..), _)| kind == plural)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        self.state().objects.remove(&(plural.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// The calls so far, as `METHOD plural`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Begins to count calls anew, and fails one of them.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.calls.clear();
        state.fault = fault;
    }

    fn answer(&self, method: &Method, uri: &str, body: &[u8]) -> Response<Body> {
        let mut state = self.state();
        let number = state.calls.len();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let asked = Asked::parse(path).unwrap_or_else(|| panic!("{method} {uri} is not known here"));
        state.calls.push(format!("{method} {}{}", asked.plural, asked.suffix()));
        let broken = || {
            respond(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({"kind": "Status", "status": "Failure", "message": "the connection broke", "reason": "InternalError", "code": 500}),
            )
        };
        if state.fault == Some(Fault::Before(number)) {
            return broken();
        }
        let answer = state.answer(method, &asked, query, body);
        if state.fault == Some(Fault::After(number)) { broken() } else { answer }
    }
}

struct Asked {
    plural: String,
    namespace: String,
    name: Option<String>,
    status: bool,
}

impl Asked {
    fn parse(path: &str) -> Option<Self> {
        let path = path.split_once("://").map_or(path, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
        let (["api", "v1", rest @ ..] | ["apis", _, _, rest @ ..]) = parts.as_slice() else { return None };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, status) = match rest {
            [plural] => (plural, None, false),
            [plural, name] => (plural, Some((*name).to_owned()), false),
            [plural, name, "status"] => (plural, Some((*name).to_owned()), true),
            _ => return None,
        };
        // There are two resources of this name, in two groups.
        let core_event = *plural == "events" && parts.first() == Some(&"api");
        let plural = if core_event { "coreevents" } else { plural };
        Some(Self { plural: plural.to_owned(), namespace: namespace.to_owned(), name, status })
    }

    const fn suffix(&self) -> &'static str {
        if self.status { "/status" } else { "" }
    }
}

impl State {
    fn store(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        let version = self.version;
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(version.to_string());
        meta["name"] = json!(place.2);
        if !place.1.is_empty() {
            meta["namespace"] = json!(place.1);
        }
        if meta["uid"].is_null() {
            meta["uid"] = json!(format!("uid-{version}"));
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.objects.insert(place, object.clone());
        object
    }

    fn answer(&mut self, method: &Method, asked: &Asked, query: &str, body: &[u8]) -> Response<Body> {
        let sent = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
        let name = asked.name.clone().or_else(|| sent["metadata"]["name"].as_str().map(str::to_owned));
        let place = (asked.plural.clone(), asked.namespace.clone(), name.unwrap_or_default());
        let current = self.objects.get(&place).cloned();
        match (method.as_str(), &asked.name, current) {
            ("GET", None, _) => respond(StatusCode::OK, &self.list(asked, query)),
            ("GET" | "DELETE", Some(_), None) => failure(StatusCode::NOT_FOUND, "NotFound"),
            ("GET", Some(_), Some(object)) => respond(StatusCode::OK, &object),
            ("DELETE", Some(_), Some(object)) => {
                self.objects.remove(&place);
                respond(StatusCode::OK, &object)
            }
            ("POST", _, Some(_)) => failure(StatusCode::CONFLICT, "AlreadyExists"),
            ("POST", ..) if self.refused.is_some_and(|(plural, _)| plural == asked.plural) => {
                failure(StatusCode::FORBIDDEN, self.refused.map_or("", |(_, message)| message))
            }
            ("POST", _, None) => respond(StatusCode::CREATED, &self.store(place, sent)),
            ("PATCH", _, current) => {
                let mut object = current.unwrap_or_else(|| json!({"metadata": {}}));
                if asked.status {
                    object["status"] = sent["status"].clone();
                } else {
                    merge(&mut object, &sent);
                }
                respond(StatusCode::OK, &self.store(place, object))
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn list(&self, asked: &Asked, query: &str) -> Value {
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
        let selector =
            selector.unwrap_or_default().replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let matches = |object: &&Value| {
            selector.split(',').filter(|term| !term.is_empty()).all(|term| {
                let (key, value) = term.split_once('=').unwrap();
                object["metadata"]["labels"][key] == json!(value)
            })
        };
        let here = self.objects.iter().filter(|((plural, namespace, _), _)| {
            *plural == asked.plural && (asked.namespace.is_empty() || *namespace == asked.namespace)
        });
        let items = here.map(|(_, object)| object).filter(matches).cloned().collect::<Vec<_>>();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }
}

fn failure(status: StatusCode, reason: &str) -> Response<Body> {
    let code = status.as_u16();
    respond(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code}),
    )
}

fn respond(status: StatusCode, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}
