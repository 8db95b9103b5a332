// SPDX-License-Identifier: Apache-2.0
//! What failed exchanges and unwelcome answers mean, and which of them are worth another try.

use std::error::Error;
use std::io;

use http::StatusCode;
use serde::Deserialize;
use url::Url;

use crate::error::find_cause;
use crate::oci::reference::RegistryHost;
use crate::redact::printable;
use crate::registry::client::Inner;
use crate::registry::failure::denial::Denial;
use crate::registry::failure::denied_address::BarredAddress;
use crate::registry::failure::error::{CredentialUse, RegistryError};
use crate::registry::failure::hint::{Hint, PROXY_CREDENTIALS};
use crate::registry::failure::outcome::Failure;
use crate::registry::failure::redirect_refusal::OUTER_NAME;
use crate::registry::failure::storage;
use crate::registry::host::{
    HTTP_PORT, HTTPS_PORT, authority, hub_registry_for, is_listed, is_loopback, without_default_port,
};
use crate::registry::limits::hosts::Pause;
use crate::registry::transport::exchange::{Answer, Purpose, rate_limited};

/// Most bytes of an error's body that are understood.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Most characters of an error's body that are shown.
const MAX_ERROR_TEXT: usize = 300;

pub(in crate::registry) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    printable(&last.to_string(), MAX_ERROR_TEXT)
}

/// The way to a server, for messages about a failed exchange.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct Way {
    /// Which CAs are trusted.
    pub(in crate::registry) trusted: String,
    /// The proxy that connections go through, or may go through, so that it is not known who refused them.
    pub(in crate::registry) proxy: Option<String>,
    /// Whether TLS is left out because the options say so.
    pub(in crate::registry) plain_http: bool,
}

/// What a failed exchange means.
pub(in crate::registry) fn transport_failure(
    error: reqwest::Error,
    url: &Url,
    purpose: &Purpose<'_>,
    way: &Way,
) -> Failure {
    let error = error.without_url();
    let host = authority(url);
    if let Some(tls) = find_cause::<rustls::Error>(&error) {
        let (detail, hint) = tls_detail(tls, &host, &way.trusted);
        return RegistryError::Tls { host, detail, hint, source: Some(error.into()) }.into();
    }
    if let Some(barred) = find_cause::<BarredAddress>(&error) {
        let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
        return RegistryError::Barred { registry, what, host, source: barred.clone() }.into();
    }
    let cause = root_cause(&error);
    let (name, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let refused =
        find_cause::<io::Error>(&error).is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    let elsewhere = !is_at(purpose.registry, url);
    let mut hint = elsewhere.then(|| {
        Hint::Words(format!(
            "{host} has to be reachable from here too. If it is an inner name of the registry: {}",
            OUTER_NAME
        ))
    });
    let mut detail = if error.is_dns() {
        format!("cannot resolve {name}: {cause}")
    } else if error.is_connect() && cause.contains("proxy auth") {
        hint = Some(Hint::Words(PROXY_CREDENTIALS.to_owned()));
        format!("the proxy on the way to {host} wants credentials (HTTP status 407)")
    } else if let (Some(proxy), true) = (&way.proxy, error.is_connect()) {
        format!("no connection to {host} through {proxy}: {cause}")
    } else if refused {
        let forgotten = if url.port().is_none() {
            format!("was the port forgotten (for example {name}:5000)? ")
        } else {
            String::new()
        };
        let words = || format!("{forgotten}Is the registry running?").trim_start().to_owned();
        hint.get_or_insert_with(|| Hint::Words(words()));
        format!("nothing listens at {name} port {port}: {cause}")
    } else if error.is_connect() {
        format!("no connection to {host}: {cause}")
    } else {
        // Go, nginx, Apache and Tomcat answer plain HTTP with words (`wants_tls`). Envoy, HAProxy and Node.js close the
        // connection, and Jetty and rustls send a TLS alert.
        if way.plain_http {
            hint.get_or_insert(Hint::UseTls);
        }
        format!("the connection to {host} was cut: {cause}")
    };
    if elsewhere {
        detail = format!("{detail} ({} sent the client there)", purpose.registry);
    }
    let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
    let source = Some(error.into());
    Failure::again(RegistryError::Unavailable { registry, what, detail, status: None, hint, source })
}

/// Whether an address is one of the registry itself.
fn is_at(registry: &RegistryHost, url: &Url) -> bool {
    authority(url).parse::<RegistryHost>().is_ok_and(|host| {
        let usual = url.port_or_known_default().unwrap_or(HTTPS_PORT);
        let same =
            |host: &RegistryHost| without_default_port(host, usual) == without_default_port(registry, usual);
        same(&host) || hub_registry_for(&host).is_some_and(|named| same(&named))
    })
}

impl Inner {
    /// The way to the server of `url`. An address of a proxy is shown without its credentials.
    pub(in crate::registry) fn way(&self, url: &Url) -> Way {
        let variable = || {
            ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
                .into_iter()
                .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        };
        let options = &self.options;
        let proxy =
            match &options.proxy {
                // What is meant by loopback here is reached directly.
                _ if is_loopback(url) => None,
                Some(proxy) => {
                    let url = Url::parse(&proxy.url).ok();
                    Some(url.map_or_else(
                        || "the proxy".to_owned(),
                        |url| format!("the proxy {}", authority(&url)),
                    ))
                }
                None if options.proxies && options.barred.is_none() => {
                    variable().map(|name| format!("the proxy of {name}, where that is used for it"))
                }
                None => None,
            };
        let plain_http = url.scheme() == "http"
            && authority(url).parse().is_ok_and(|host| is_listed(&self.options.plain_http, &host, HTTP_PORT));
        Way { trusted: self.trusted(url), proxy, plain_http }
    }
}

/// What is wrong with a TLS connection, and what helps, where that is known.
fn tls_detail(error: &rustls::Error, host: &str, trusted: &str) -> (String, Option<Hint>) {
    use rustls::{CertificateError as Certificate, Error as Tls};
    let day = |time: rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
    };
    let words = |words: &str| Some(Hint::Words(words.to_owned()));
    match error {
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => {
            let text = format!("its certificate comes from a CA that is not trusted here ({trusted})");
            (text, Some(Hint::TrustCa))
        }
        Tls::InvalidCertificate(Certificate::NotValidYetContext { time, not_before }) => {
            let (from, now) = (day(*not_before), day(*time));
            (
                format!("its certificate is valid from {from}, and the clock of this machine says {now}"),
                words("set the clock of this machine, if it is wrong"),
            )
        }
        Tls::InvalidCertificate(Certificate::ExpiredContext { time, not_after }) => {
            let (until, now) = (day(*not_after), day(*time));
            let help =
                "the registry needs a new certificate; or set the clock of this machine, if it is wrong";
            let text =
                format!("its certificate was valid until {until}, and the clock of this machine says {now}");
            (text, words(help))
        }
        Tls::InvalidCertificate(Certificate::NotValidForNameContext { presented, .. }) => {
            let names = presented.iter().take(5).map(|name| certified(name)).collect::<Vec<_>>().join(", ");
            let help = format!(
                "write a name that the certificate is for in place of {host}, or have it issued for {host}"
            );
            (format!("its certificate is not for this name, but for {names}"), words(&help))
        }
        Tls::InvalidCertificate(error) => {
            let text = format!("its certificate is not accepted: {error}");
            (text, words("ask who runs the registry for another certificate"))
        }
        Tls::InvalidMessage(_) => ("it does not speak TLS".to_owned(), Some(Hint::LeaveOutTls)),
        other => (printable(&other.to_string(), MAX_ERROR_TEXT), None),
    }
}

/// A name in a certificate, as rustls shows it (`DnsName("a.example")`), without what surrounds it.
fn certified(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    printable(inner.trim_matches('"'), 200)
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

/// What a registry says about a failure: code and message of its first error, safe to show, after `: `. A web page is
/// named as such.
fn error_text(answer: &Answer, body: &[u8]) -> String {
    if let Some(page) = answer.page(body) {
        return format!(": {page}");
    }
    let Ok(parsed) = crate::json::parse::<ErrorBody>(body, MAX_ERROR_BODY) else { return String::new() };
    let Some(first) = parsed.errors.first() else { return String::new() };
    let message = first.message.as_deref().unwrap_or_default();
    let parts = [first.code.as_str(), message].into_iter().filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {}", printable(&text, MAX_ERROR_TEXT)) }
}

/// What servers say, with status 400, to plain HTTP where they speak TLS.
const WANTS_TLS: [&str; 5] = [
    // Go, and so Caddy, Traefik, Distribution and zot.
    "HTTP request to an HTTPS server",
    // nginx.
    "plain HTTP request was sent to HTTPS port",
    // Apache httpd.
    "speaking plain HTTP to an SSL-enabled server port",
    // Tomcat.
    "combination of host and port requires TLS",
    // Jetty, where its port tells TLS from plain HTTP.
    "HTTP request to HTTPS port",
];

/// Whether a server says that it got plain HTTP where it speaks TLS.
fn wants_tls(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    WANTS_TLS.iter().any(|words| text.contains(words))
}

/// What it means that a host refused a request for its limit.
pub(in crate::registry) fn limited(
    pause: Pause,
    purpose: &Purpose<'_>,
    url: &Url,
    detail: String,
) -> Failure {
    match pause {
        Pause::Granted { wait, asked, left, .. } => {
            let error = Box::new(rate_limited(purpose, url, detail, asked.then_some(wait), left));
            Failure::Limited { error, asked }
        }
        Pause::TooLong { asked, left } => rate_limited(purpose, url, detail, Some(asked), left).into(),
    }
}

impl Inner {
    /// What an answer means that is not the one hoped for. `home` is whether the registry itself gave it, not
    /// a server that it redirected to; `looked` says which credentials there are.
    pub(in crate::registry) async fn rejection(
        &self,
        mut answer: Answer,
        home: bool,
        looked: impl Future<Output = CredentialUse>,
        purpose: &Purpose<'_>,
    ) -> Failure {
        let status = answer.status();
        let body = answer.beginning(purpose).await;
        // A failure may come from a proxy in front of the registry, and means the same; a success may not.
        if (status.is_success() || status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED)
            && let Some(failure) = answer.intercepted(purpose, &body)
        {
            return failure;
        }
        let detail = error_text(&answer, &body);
        let (pause, url) = (answer.pause, answer.url.clone());
        drop(answer);
        if let Some(pause) = pause {
            return limited(pause, purpose, &url, detail);
        }
        let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
        if !matches!(status.as_u16(), 401 | 404 | 408 | 429)
            && let Some(words) = storage::shortage(&body)
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
            401 if home => {
                RegistryError::Unauthorized { registry, what, detail, credentials: looked.await }.into()
            }
            403 if home => {
                RegistryError::Forbidden { registry, what, detail, credentials: looked.await }.into()
            }
            // A pre-signed address may have run out; the registry makes a new one for the next try.
            401 | 403 => {
                let detail = format!(": the storage that it redirects to answers {status}");
                Failure::again(RegistryError::Refused { registry, what, status: status.as_u16(), detail })
            }
            404 => RegistryError::NotFound { what, detail }.into(),
            507 => RegistryError::Full { registry, what, detail }.into(),
            408 | 500 | 502 | 503 | 504 => {
                let detail = format!("HTTP status {status}{detail}");
                let status = Some(status.as_u16());
                let error =
                    RegistryError::Unavailable { registry, what, detail, status, hint: None, source: None };
                Failure::again(error)
            }
            status => RegistryError::Refused { registry, what, status, detail }.into(),
        }
    }
}
