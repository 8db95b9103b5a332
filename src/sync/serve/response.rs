// SPDX-License-Identifier: Apache-2.0
//! Responses as the distribution-spec requires them.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LINK};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use bytes::Bytes;

use super::request::query;
use crate::oci::digest::Digest;

/// Most names in one response.
const PAGE: usize = 1000;

const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION_HEADER: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Refuses requests that would change something.
///
/// # Errors
/// The response to any method except GET and HEAD.
// The error is returned as the response and not stored, so its size does not matter.
#[allow(clippy::result_large_err)]
pub fn read_only(method: &Method) -> Result<(), Response<Body>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Err(response)
}

/// Completes a response: adds the header with the protocol version, and removes the body of a response to HEAD.
pub fn finish(mut response: Response<Body>, method: &Method) -> Response<Body> {
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static("registry/2.0"));
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

/// A list of names in pages: `n` names after `last`, with a link to the next page.
pub(super) fn page<'a>(
    key: &str,
    name: Option<&str>,
    names: impl Iterator<Item = &'a str>,
    path: &str,
    text: Option<&str>,
) -> Response<Body> {
    let last = query(text, "last");
    let most = query(text, "n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(PAGE).min(PAGE);
    let mut rest = names.filter(|name| last.as_deref().is_none_or(|last| *name > last));
    let listed = rest.by_ref().take(most).collect::<Vec<_>>();
    let more = rest.next().is_some();
    let mut body = serde_json::Map::new();
    body.extend(name.map(|name| ("name".to_owned(), name.into())));
    body.insert(key.to_owned(), listed.clone().into());
    let mut response = json(serde_json::Value::from(body).to_string().into());
    let next = listed.last().filter(|_| more).and_then(|last| {
        let last = url::form_urlencoded::byte_serialize(last.as_bytes()).collect::<String>();
        HeaderValue::from_str(&format!("<{path}?n={most}&last={last}>; rel=\"next\"")).ok()
    });
    if let Some(next) = next {
        response.headers_mut().insert(LINK, next);
    }
    response
}

pub(super) fn name_content(headers: &mut HeaderMap, digest: &Digest) {
    let (name, tag) = (digest.to_string(), format!("\"{digest}\""));
    if let (Ok(name), Ok(tag)) = (HeaderValue::from_str(&name), HeaderValue::from_str(&tag)) {
        headers.insert(DIGEST_HEADER, name);
        headers.insert(ETAG, tag);
    }
}

/// A JSON response.
pub fn json(body: Bytes) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// The response for a repository that does not exist, or that the client must not know about.
pub fn unknown_name() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "the bundle holds no such repository")
}

/// An error as the specification writes it.
pub fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let mut response = json(body.to_string().into());
    *response.status_mut() = status;
    response
}
