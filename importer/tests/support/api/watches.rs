// SPDX-License-Identifier: Apache-2.0
//! Watches: one line of JSON for each change.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use futures::stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::request::ApiRequest;
use super::store::Change;
use super::{FakeApi, State, failure, json_response, selects, shown};

/// How long a watch runs that asks for nothing else.
const DEFAULT_TIMEOUT: u64 = 1800;

struct Watch {
    api: FakeApi,
    request: ApiRequest,
    /// Changes up to this version were told.
    version: u64,
    broken: u64,
    expired: u64,
    bookmarks: u64,
    lines: VecDeque<Value>,
    ended: bool,
    until: Instant,
    changed: tokio::sync::watch::Receiver<u64>,
}

pub(super) fn begin(api: &FakeApi, request: &ApiRequest) -> Response<Body> {
    let changed = api.0.changed.subscribe();
    let state = api.state();
    let from = request.parameter("resourceVersion").map_or(0, |version| version.parse().unwrap());
    if from != 0 && from < state.store.compacted {
        // The API server has answered 200 by the time that it knows.
        let (_, status) = failure(StatusCode::GONE, "Expired", "too old resource version");
        return json_response(StatusCode::OK, Body::from(format!("{}\n", event("ERROR", &status))));
    }
    let mut lines = VecDeque::new();
    if from == 0 {
        let here = state.store.objects().iter().filter(|(key, object)| selects(request, key, object));
        lines.extend(here.map(|(_, object)| event("ADDED", &shown(request, object))));
    }
    let seconds = request.parameter("timeoutSeconds").map_or(DEFAULT_TIMEOUT, |text| text.parse().unwrap());
    let watch = Watch {
        api: api.clone(),
        request: request.clone(),
        // A version that is yet to come is waited for: nothing up to it is told.
        version: if from == 0 { state.store.version() } else { from },
        broken: state.broken,
        expired: state.expired,
        bookmarks: state.bookmarks,
        lines,
        ended: false,
        until: Instant::now() + Duration::from_secs(seconds),
        changed,
    };
    drop(state);
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(bytes::Bytes::from(format!("{line}\n"))), watch))
    });
    json_response(StatusCode::OK, Body::from_stream(lines))
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

impl Watch {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.changed.borrow_and_update();
            let api = self.api.clone();
            self.take(&api.state());
            if !self.lines.is_empty() || self.ended {
                continue;
            }
            match tokio::time::timeout_at(self.until, self.changed.changed()).await {
                Ok(Ok(())) => {}
                _ => self.ended = true,
            }
        }
    }

    /// Takes over what there is to tell.
    fn take(&mut self, state: &State) {
        if state.broken != self.broken {
            self.ended = true;
            return;
        }
        if state.expired != self.expired {
            let (_, status) = failure(StatusCode::GONE, "Expired", "too old resource version");
            self.lines.push_back(event("ERROR", &status));
            self.ended = true;
            return;
        }
        for change in state.store.since(self.version) {
            self.lines.extend(told(&self.request, change));
            self.version = change.version;
        }
        if state.bookmarks != self.bookmarks {
            self.bookmarks = state.bookmarks;
            if self.request.is("allowWatchBookmarks") && state.store.version() >= self.version {
                let kind = self.request.plural.clone();
                let version = state.store.version().to_string();
                let bookmark =
                    json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": version}});
                self.lines.push_back(event("BOOKMARK", &bookmark));
            }
        }
    }
}

/// A change as a watch tells it: what is not selected any more is gone for it.
fn told(request: &ApiRequest, change: &Change) -> Option<Value> {
    let selected = |object: &Option<Value>| {
        object
            .as_ref()
            .filter(|object| selects(request, &change.key, object))
            .map(|object| shown(request, object))
    };
    match (selected(&change.before), selected(&change.after)) {
        (None, None) => None,
        (None, Some(after)) => Some(event("ADDED", &after)),
        (Some(_), Some(after)) => Some(event("MODIFIED", &after)),
        (Some(mut before), None) => {
            before["metadata"]["resourceVersion"] = json!(change.version.to_string());
            Some(event("DELETED", &before))
        }
    }
}
