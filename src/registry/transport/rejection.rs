// SPDX-License-Identifier: Apache-2.0
//! Errors for responses that are not a success, and whether a retry can help.

use http::StatusCode;
use serde::Deserialize;
use url::Url;

use crate::redact::printable;
use crate::registry::failure::denial::Denial;
use crate::registry::failure::error::{CredentialUse, RegistryError};
use crate::registry::failure::outcome::Failure;
use crate::registry::failure::storage;
use crate::registry::limits::hosts::Pause;
use crate::registry::transport::operation::Operation;
use crate::registry::transport::response::Response;

/// Most bytes of an error's body that are parsed.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Most characters of an error's body that are shown.
const MAX_ERROR_TEXT: usize = 300;

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// What a registry says about a failure: code and message of its first error, safe to show, after `: `. A web page is
/// named as such.
fn error_text(response: &Response, body: &[u8]) -> String {
    if let Some(page) = response.page(body) {
        return format!(": {page}");
    }
    let Ok(parsed) = crate::json::parse::<ErrorBody>(body, MAX_ERROR_BODY) else { return String::new() };
    let Some(first) = parsed.errors.first() else { return String::new() };
    let message = first.message.as_deref().unwrap_or_default();
    let parts = [first.code.as_str(), message].into_iter().filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {}", printable(&text, MAX_ERROR_TEXT)) }
}

/// The messages, with status 400, of TLS servers that receive plain HTTP.
const WANTS_TLS: [&str; 5] = [
    // Go, and so Caddy, Traefik, Distribution and zot.
    "HTTP request to an HTTPS server",
    // nginx.
    "plain HTTP request was sent to HTTPS port",
    // Apache httpd.
    "speaking plain HTTP to an SSL-enabled server port",
    // Tomcat.
    "combination of host and port requires TLS",
    // Jetty, if its port detects TLS and plain HTTP.
    "HTTP request to HTTPS port",
];

/// Whether a server reports plain HTTP on its TLS port.
fn wants_tls(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    WANTS_TLS.iter().any(|words| text.contains(words))
}

/// The failure of a rate-limited request.
pub(in crate::registry) fn rate_limit_failure(
    pause: Pause,
    operation: &Operation<'_>,
    url: &Url,
    detail: String,
) -> Failure {
    match pause {
        Pause::Granted { wait, requested, left, .. } => {
            let error = Box::new(operation.rate_limited(url, detail, requested.then_some(wait), left));
            Failure::RateLimited { error, requested }
        }
        Pause::TooLong { requested, left } => {
            operation.rate_limited(url, detail, Some(requested), left).into()
        }
    }
}

/// The error for a response that is not a success. `is_registry` is whether the registry itself sent it, and not the target
/// of a redirect; `credential_use` tells which credentials there are.
pub(in crate::registry) async fn rejection(
    mut response: Response,
    is_registry: bool,
    credential_use: impl Future<Output = CredentialUse>,
    operation: &Operation<'_>,
) -> Failure {
    let status = response.status();
    let body = response.beginning(operation).await;
    // A failure may come from a proxy in front of the registry and is treated alike; a success must come from the registry.
    if (status.is_success() || status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED)
        && let Some(failure) = response.intercepted(operation, &body)
    {
        return failure;
    }
    let detail = error_text(&response, &body);
    let (pause, url) = (response.pause, response.url.clone());
    drop(response);
    if let Some(pause) = pause {
        return rate_limit_failure(pause, operation, &url, detail);
    }
    let (registry, what) = (operation.registry.clone(), operation.what.clone());
    if !matches!(status.as_u16(), 401 | 404 | 408 | 429)
        && let Some(words) = storage::find_shortage(&body)
    {
        let is_said = detail.to_ascii_lowercase().contains(words);
        let detail = if is_said { detail } else { format!("{detail} ({words})") };
        return RegistryError::Full { registry, what, detail }.into();
    }
    if let Some(denial) = Denial::of(status.as_u16(), &detail) {
        return RegistryError::Denied { registry, what, denial, status: status.as_u16(), detail }.into();
    }
    match status.as_u16() {
        400 if url.scheme() == "http" && wants_tls(&body) => {
            RegistryError::PlainHttp { registry, what }.into()
        }
        401 if is_registry => {
            RegistryError::Unauthorized { registry, what, detail, credentials: credential_use.await }.into()
        }
        403 if is_registry => {
            RegistryError::Forbidden { registry, what, detail, credentials: credential_use.await }.into()
        }
        // A pre-signed address may have expired; the registry makes a new one for the next attempt.
        401 | 403 => {
            let detail = format!(": the storage that it redirects to answers {status}");
            Failure::retryable(RegistryError::Refused { registry, what, status: status.as_u16(), detail })
        }
        404 => RegistryError::NotFound { what, detail }.into(),
        507 => RegistryError::Full { registry, what, detail }.into(),
        408 | 500 | 502 | 503 | 504 => {
            let detail = format!("HTTP status {status}{detail}");
            let status = Some(status.as_u16());
            let error =
                RegistryError::Unavailable { registry, what, detail, status, hint: None, source: None };
            Failure::retryable(error)
        }
        status => RegistryError::Refused { registry, what, status, detail }.into(),
    }
}
