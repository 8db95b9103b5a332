// SPDX-License-Identifier: Apache-2.0
//! What is asked of the API server.

use axum::http::{HeaderMap, Method, Uri, header};

#[derive(Clone)]
/// A request, taken apart.
pub(super) struct ApiRequest {
    pub(super) method: Method,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) status: bool,
    pub(super) metadata_only: bool,
    pub(super) applies: bool,
    parameters: Vec<(String, String)>,
}

impl ApiRequest {
    pub(super) fn parse(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let parts = uri.path().trim_matches('/').split('/').collect::<Vec<_>>();
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
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        Some(Self {
            method: method.clone(),
            plural: if core_event { "coreevents" } else { plural }.to_owned(),
            namespace: namespace.to_owned(),
            name,
            status,
            metadata_only: text(header::ACCEPT)
                .is_some_and(|accept| accept.contains("PartialObjectMetadata")),
            applies: text(header::CONTENT_TYPE).is_some_and(|kind| kind.contains("apply-patch")),
            parameters: parameters(uri.query().unwrap_or_default()),
        })
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.parameter(name) == Some("true")
    }

    /// `GET`, `POST` ..., or `WATCH`.
    pub(super) fn verb(&self) -> &str {
        if self.is("watch") { "WATCH" } else { self.method.as_str() }
    }

    /// Whether a rule for `verb` is about it; `LIST` stands for lists of complete objects.
    pub(super) fn is_called(&self, verb: &str) -> bool {
        let is_list = self.method == Method::GET && self.name.is_none() && !self.is("watch");
        verb.is_empty() || verb == self.verb() || (verb == "LIST" && is_list && !self.metadata_only)
    }

    /// As [`super::FakeApi::calls`] shows it.
    pub(super) fn call(&self) -> String {
        format!("{} {}{}", self.verb(), self.plural, if self.status { "/status" } else { "" })
    }
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}
