// SPDX-License-Identifier: Apache-2.0
//! An API server that holds objects in memory: lists in pages, watches with bookmarks, server-side apply with managed
//! fields. It can refuse, answer late, never or from an older state, forget its history, be restored from a backup, and
//! die after any of its answers.

mod fields;
mod request;
mod store;
mod watches;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};

use fields::By;
use request::ApiRequest;
pub(crate) use store::Snapshot;
use store::Store;

/// Where an object lies: plural, namespace, name.
type ObjectKey = (String, String, String);
type Answer = (StatusCode, Value);

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call does not arrive.
    Before(usize),
    /// The call takes effect, and its answer does not arrive.
    After(usize),
}

/// What happens to all calls of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// They are answered with this status, reason and message.
    Status(u16, &'static str, &'static str),
    /// They do not arrive, and no answer comes.
    Hang,
    /// They take effect, and no answer comes. A watch begins, and nothing comes of it.
    HangAfter,
    /// Lists answer as of this version.
    Stale(u64),
}

/// Calls that something happens to.
#[derive(Debug, Clone)]
struct Rule {
    /// `GET`, `WATCH` ..., or `LIST` of complete objects; empty: all.
    verb: &'static str,
    plural: &'static str,
    /// `None`: all.
    namespace: Option<String>,
    trouble: Trouble,
    /// How many more calls; `None`: all.
    times: Option<usize>,
}

#[derive(Default)]
struct State {
    store: Store,
    calls: Vec<String>,
    /// Bytes of the objects that were stored for calls: what etcd writes.
    written: usize,
    served: BTreeMap<String, Served>,
    fault: Option<Fault>,
    refused: Option<(&'static str, &'static str)>,
    rules: Vec<Rule>,
    /// Watches that began before the last such event end.
    broken: u64,
    /// Watches that began before the last such event end with 410.
    expired: u64,
    bookmarks: u64,
}

/// Bytes of answers to calls for objects of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Served {
    pub(crate) total: usize,
    pub(crate) largest: usize,
}

/// The API server. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes watches and calls without an answer.
    changed: tokio::sync::watch::Sender<u64>,
}

impl FakeApi {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Changes something that watches may have to tell.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.0.changed.send_modify(|count| *count += 1);
        result
    }

    /// What a client talks to, for those that put something in between.
    pub(crate) fn service(&self) -> axum::Router {
        let api = self.clone();
        axum::Router::new().fallback(move |request: Request<Body>| async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let request = ApiRequest::parse(&head.method, &head.uri, &head.headers);
            let request = request.unwrap_or_else(|| panic!("{} {} is not known here", head.method, head.uri));
            api.answer(request, &body).await
        })
    }

    /// A client that talks to it.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// Refuses to create objects of a kind with this message.
    pub(crate) fn refuse(&self, plural: &'static str, message: Option<&'static str>) {
        self.state().refused = message.map(|message| (plural, message));
    }

    /// Something happens to all calls of a kind from now, or to the next few. An empty `verb` stands for all.
    pub(crate) fn trouble(
        &self,
        verb: &'static str,
        plural: &'static str,
        trouble: Trouble,
        times: Option<usize>,
    ) {
        self.rule(Rule { verb, plural, namespace: None, trouble, times });
    }

    /// As [`Self::trouble`], in one namespace.
    pub(crate) fn trouble_in(
        &self,
        namespace: &str,
        verb: &'static str,
        plural: &'static str,
        trouble: Trouble,
    ) {
        self.rule(Rule { verb, plural, namespace: Some(namespace.to_owned()), trouble, times: None });
    }

    fn rule(&self, rule: Rule) {
        self.change(|state| state.rules.push(rule));
    }

    /// Nothing happens to calls any more. Those without an answer stay without.
    pub(crate) fn mend(&self) {
        self.change(|state| state.rules.clear());
    }

    /// Stores an object as a user would.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        self.put_by("kubectl", plural, object);
    }

    /// Stores an object as somebody would, status and all.
    pub(crate) fn put_by(&self, manager: &str, plural: &str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text("namespace"), text("name"));
        self.change(|state| state.store.write(key, object, By { manager, status: false }));
    }

    /// Changes fields of an object as somebody would; `null` removes one.
    pub(crate) fn edit(&self, manager: &str, plural: &str, namespace: &str, name: &str, patch: &Value) {
        let mut object = self.get(plural, namespace, name).unwrap();
        fields::merge_patch(&mut object, patch);
        self.put_by(manager, plural, object);
    }

    /// An object as it is now.
    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.state().store.get(&key).cloned()
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.state();
        let all = state.store.objects().iter().filter(|((kind, ..), _)| kind == plural);
        all.map(|(_, object)| object.clone()).collect()
    }

    /// How many objects of a kind are as `is` says.
    pub(crate) fn count(&self, plural: &str, is: impl Fn(&Value) -> bool) -> usize {
        let state = self.state();
        let all = state.store.objects().iter().filter(|((kind, ..), _)| kind == plural);
        all.filter(|(_, object)| is(object)).count()
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.change(|state| state.store.remove(&key));
    }

    /// What was answered about objects of a kind, watches left out.
    pub(crate) fn served(&self, plural: &str) -> Served {
        self.state().served.get(plural).copied().unwrap_or_default()
    }

    /// The calls so far, as `METHOD plural`; watches as `WATCH plural`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Bytes of the objects that were stored for calls so far.
    pub(crate) fn written(&self) -> usize {
        self.state().written
    }

    /// Begins to count calls again, and fails one of them.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.calls.clear();
        state.written = 0;
        state.fault = fault;
    }

    /// Says when what is created from now is created.
    pub(crate) fn set_time(&self, now: jiff::Timestamp) {
        self.state().store.time = Some(now.to_string());
    }

    /// The version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.state().store.version()
    }

    /// Everything as it is now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.state().store.snapshot()
    }

    /// Everything is as it was, resource versions too, and all connections are broken.
    pub(crate) fn restore(&self, snapshot: Snapshot) {
        self.change(|state| {
            state.store.restore(snapshot);
            state.broken += 1;
        });
    }

    /// As [`Self::restore`], and connections continue: a watch waits for versions that were there before.
    pub(crate) fn restore_below(&self, snapshot: Snapshot) {
        self.change(|state| state.store.restore(snapshot));
    }

    /// Forgets what changed so far: watches that run end with 410, and none can begin from before.
    pub(crate) fn expire(&self) {
        self.change(|state| {
            state.store.compact();
            state.expired += 1;
        });
    }

    /// Forgets what changed so far, as compaction does: watches that run continue.
    pub(crate) fn compact(&self) {
        self.change(|state| state.store.compact());
    }

    /// Ends all watches, as a restart does.
    pub(crate) fn disconnect(&self) {
        self.change(|state| state.broken += 1);
    }

    /// Sends a bookmark to every watch that wants some.
    pub(crate) fn bookmark(&self) {
        self.change(|state| state.bookmarks += 1);
    }

    async fn answer(&self, request: ApiRequest, body: &[u8]) -> Response<Body> {
        let (fault, trouble) = self.state().arrives(&request);
        let broken = || failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "the connection broke");
        match &trouble {
            Some(Trouble::Hang) => return std::future::pending().await,
            Some(Trouble::Status(code, reason, message)) => {
                return respond(&failure(StatusCode::from_u16(*code).unwrap(), reason, message));
            }
            _ if fault == Some(true) => return respond(&broken()),
            _ => {}
        }
        if request.is("watch") {
            if trouble == Some(Trouble::HangAfter) {
                let nothing = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
                return json_response(StatusCode::OK, Body::from_stream(nothing));
            }
            return watches::begin(self, &request);
        }
        let stale = match &trouble {
            Some(Trouble::Stale(version)) => Some(*version),
            _ => None,
        };
        let answer = match (request.method.as_str(), &request.name) {
            ("GET", None) => self.state().list(&request, stale),
            ("GET", Some(_)) => self.state().read(&request),
            _ => {
                let sent = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
                self.change(|state| state.write_and_count(&request, &sent))
            }
        };
        if trouble == Some(Trouble::HangAfter) {
            return std::future::pending().await;
        }
        if request.method == "GET" {
            let bytes = answer.1.to_string().len();
            let mut state = self.state();
            let served = state.served.entry(request.plural.clone()).or_default();
            served.total += bytes;
            served.largest = served.largest.max(bytes);
        }
        respond(&if fault == Some(false) { broken() } else { answer })
    }
}

impl State {
    /// Takes note of a call, and answers what is to happen to it: whether it fails before or after its effect.
    fn arrives(&mut self, request: &ApiRequest) -> (Option<bool>, Option<Trouble>) {
        let number = self.calls.len();
        self.calls.push(request.call());
        let fault = match self.fault {
            Some(Fault::Before(n)) if n == number => Some(true),
            Some(Fault::After(n)) if n == number => Some(false),
            _ => None,
        };
        let fits = |rule: &&mut Rule| {
            request.is_called(rule.verb)
                && rule.plural == request.plural
                && rule.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
                && rule.times != Some(0)
        };
        let rule = self.rules.iter_mut().find(fits);
        let trouble = rule.map(|rule| {
            rule.times = rule.times.map(|times| times - 1);
            rule.trouble.clone()
        });
        (fault, trouble)
    }

    fn read(&self, request: &ApiRequest) -> Answer {
        let name = request.name.clone().unwrap_or_default();
        match self.store.get(&(request.plural.clone(), request.namespace.clone(), name)) {
            Some(object) => (StatusCode::OK, shown(request, object)),
            None => failure(StatusCode::NOT_FOUND, "NotFound", "there is no such object"),
        }
    }

    fn write_and_count(&mut self, request: &ApiRequest, sent: &Value) -> Answer {
        let before = self.store.version();
        let answer = self.write(request, sent);
        if self.store.version() != before && request.method != "DELETE" {
            self.written += answer.1.to_string().len();
        }
        answer
    }

    fn write(&mut self, request: &ApiRequest, sent: &Value) -> Answer {
        match self.refused {
            Some((plural, message)) if request.method == "POST" && plural == request.plural => {
                failure(StatusCode::FORBIDDEN, message, message)
            }
            _ => self.store.answer(request, sent),
        }
    }

    /// A list, or a page of it: the following ones are of the same version.
    fn list(&self, request: &ApiRequest, stale: Option<u64>) -> Answer {
        let (version, from) = match request.parameter("continue").and_then(|token| token.split_once(':')) {
            Some((version, from)) => (version.parse::<u64>().unwrap(), from.parse::<usize>().unwrap()),
            None => (stale.unwrap_or_else(|| self.store.version()), 0),
        };
        if version < self.store.compacted {
            return failure(StatusCode::GONE, "Expired", "the provided continue parameter is too old");
        }
        let objects = if version == self.store.version() {
            Cow::Borrowed(self.store.objects())
        } else {
            Cow::Owned(self.store.at(version))
        };
        let first = (request.plural.clone(), request.namespace.clone(), String::new());
        let here = objects.range(first..).take_while(|((plural, ..), _)| *plural == request.plural);
        let all = here.filter(|(key, object)| selects(request, key, object)).collect::<Vec<_>>();
        let limit = request.parameter("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let page = all.iter().skip(from).take(limit).map(|(_, object)| shown(request, object));
        let page = page.collect::<Vec<_>>();
        let mut meta = json!({"resourceVersion": version.to_string()});
        let next = from + page.len();
        if next < all.len() {
            meta["continue"] = json!(format!("{version}:{next}"));
        }
        (StatusCode::OK, json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": page}))
    }
}

/// Whether a request for many objects is about this one.
fn selects(request: &ApiRequest, key: &ObjectKey, object: &Value) -> bool {
    let terms =
        |name: &str| request.parameter(name).unwrap_or_default().split(',').filter(|term| !term.is_empty());
    let labelled = |term: &str| {
        let (key, value) = term.split_once('=').unwrap();
        object["metadata"]["labels"][key] == json!(value)
    };
    let named = |term: &str| match term.split_once('=') {
        Some(("metadata.name", name)) => key.2 == name,
        _ => true,
    };
    key.0 == request.plural
        && (request.namespace.is_empty() || key.1 == request.namespace)
        && terms("labelSelector").all(labelled)
        && terms("fieldSelector").all(named)
}

/// An object as it was asked for.
fn shown(request: &ApiRequest, object: &Value) -> Value {
    if !request.metadata_only {
        return object.clone();
    }
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}

fn failure(status: StatusCode, reason: &str, message: &str) -> Answer {
    let code = status.as_u16();
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code,
    });
    (status, body)
}

fn respond((status, body): &Answer) -> Response<Body> {
    let mut response = json_response(*status, Body::from(body.to_string()));
    if *status == StatusCode::TOO_MANY_REQUESTS {
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert("retry-after", "1".parse().unwrap());
    }
    response
}

fn json_response(status: StatusCode, body: Body) -> Response<Body> {
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}
