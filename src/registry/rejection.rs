// SPDX-License-Identifier: Apache-2.0
//! What failed exchanges and unwelcome answers mean, and which of them are worth another try.

use std::error::Error;
use std::io;

use bytes::BytesMut;
use serde::Deserialize;
use url::Url;

use super::address::BarredAddress;
use super::client::Inner;
use super::error::RegistryError;
use super::retry::{Failure, retry_after};
use super::transport::{Answer, Purpose, authority};
use crate::redact::printable;

/// Most bytes of an error's body that are read.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Most characters of an error's body that are shown.
const MAX_ERROR_TEXT: usize = 300;

/// The first cause of type `T`, also inside of I/O errors.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    printable(&last.to_string(), MAX_ERROR_TEXT)
}

/// What a failed exchange means; `trusted` says which CAs are trusted.
pub(super) fn transport_failure(
    error: reqwest::Error,
    url: &Url,
    purpose: &Purpose<'_>,
    trusted: &str,
) -> Failure {
    let error = error.without_url();
    let host = authority(url);
    if let Some(tls) = find::<rustls::Error>(&error) {
        let detail = tls_detail(tls, trusted);
        return RegistryError::Tls { host, detail, source: Some(error.into()) }.into();
    }
    if let Some(barred) = find::<BarredAddress>(&error) {
        let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
        return RegistryError::Barred { registry, what, host, source: barred.clone() }.into();
    }
    let cause = root_cause(&error);
    let detail = if error.is_dns() {
        format!("the name {host} cannot be resolved: {cause}")
    } else if error.is_connect() {
        format!("no connection to {host}: {cause}")
    } else {
        format!("the connection to {host} was cut: {cause}")
    };
    let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
    Failure::again(RegistryError::Unavailable { registry, what, detail, source: Some(error.into()) })
}

fn tls_detail(error: &rustls::Error, trusted: &str) -> String {
    use rustls::{CertificateError, Error as Tls};
    match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("its certificate comes from a CA that is not trusted here ({trusted})")
        }
        Tls::InvalidCertificate(error) => format!("its certificate is not accepted: {error}"),
        Tls::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => printable(&other.to_string(), MAX_ERROR_TEXT),
    }
}

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

/// What a registry says about a failure: code and message of its first error, safe to show, after `: `.
async fn error_text(answer: &mut Answer, purpose: &Purpose<'_>) -> String {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = answer.chunk(purpose).await {
        let room = MAX_ERROR_BODY.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
        if body.len() >= MAX_ERROR_BODY {
            break;
        }
    }
    let Ok(parsed) = crate::json::parse::<ErrorBody>(&body, MAX_ERROR_BODY) else { return String::new() };
    let Some(first) = parsed.errors.first() else { return String::new() };
    let message = first.message.as_deref().unwrap_or_default();
    let parts = [first.code.as_str(), message].into_iter().filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {}", printable(&text, MAX_ERROR_TEXT)) }
}

impl Inner {
    /// What an answer means that is not the one hoped for. `home` is whether the registry itself gave it, not
    /// a server that it redirected to; `looked` says where a login was looked for.
    pub(super) async fn rejection(
        &self,
        mut answer: Answer,
        home: bool,
        looked: impl Future<Output = String>,
        purpose: &Purpose<'_>,
    ) -> Failure {
        let status = answer.status();
        let wait = retry_after(answer.headers());
        let detail = error_text(&mut answer, purpose).await;
        drop(answer);
        let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
        match status.as_u16() {
            401 if home => {
                RegistryError::Unauthorized { registry, what, detail, looked: looked.await }.into()
            }
            403 if home => RegistryError::Forbidden { registry, what, detail, looked: looked.await }.into(),
            // A pre-signed address may have run out; the registry makes a new one for the next try.
            401 | 403 => {
                let detail = format!(": the storage that it redirects to answers {status}");
                Failure::again(RegistryError::Refused { registry, what, status: status.as_u16(), detail })
            }
            404 => RegistryError::NotFound { what, detail }.into(),
            429 => {
                let error = RegistryError::RateLimited { registry, what, detail, wait };
                Failure::Again(Box::new(error), wait)
            }
            507 => RegistryError::Full { registry, what, detail }.into(),
            500 if detail.to_ascii_lowercase().contains("no space left") => {
                RegistryError::Full { registry, what, detail }.into()
            }
            408 | 500 | 502 | 503 | 504 => {
                let detail = format!("HTTP status {status}{detail}");
                let error = RegistryError::Unavailable { registry, what, detail, source: None };
                Failure::Again(Box::new(error), wait)
            }
            status => RegistryError::Refused { registry, what, status, detail }.into(),
        }
    }
}
