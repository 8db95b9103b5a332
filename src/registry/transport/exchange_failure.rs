// SPDX-License-Identifier: Apache-2.0
//! Errors of failed exchanges: no response, or a connection that is not trusted.

use std::error::Error;
use std::io;

use url::Url;

use crate::error::find_cause;
use crate::oci::reference::RegistryHost;
use crate::redact::printable;
use crate::registry::failure::denied_address::DeniedAddress;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::hint::{Hint, PROXY_CREDENTIALS};
use crate::registry::failure::outcome::Failure;
use crate::registry::failure::redirect_refusal::OUTER_NAME;
use crate::registry::host::{HTTPS_PORT, authority, hub_registry_for, without_default_port};
use crate::registry::transport::operation::Operation;

/// Most characters that are shown of a cause.
const MAX_CAUSE: usize = 300;

/// The innermost cause of an error, safe to show.
pub(in crate::registry) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    printable(&last.to_string(), MAX_CAUSE)
}

/// The route to a server, for messages about a failed exchange.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct Route {
    /// Which CA certificates are trusted.
    pub(in crate::registry) trusted: String,
    /// The proxy that connections go through, or may go through, so that it is not known which host refused them.
    pub(in crate::registry) proxy: Option<String>,
    /// Whether the options disable TLS.
    pub(in crate::registry) plain_http: bool,
}

/// The error for a failed exchange.
pub(in crate::registry) fn exchange_failure(
    error: reqwest::Error,
    url: &Url,
    operation: &Operation<'_>,
    route: &Route,
) -> Failure {
    let error = error.without_url();
    let host = authority(url);
    if let Some(tls) = find_cause::<rustls::Error>(&error) {
        let (detail, hint) = tls_detail(tls, &host, &route.trusted);
        return RegistryError::Tls { host, detail, hint, source: Some(error.into()) }.into();
    }
    if let Some(denied) = find_cause::<DeniedAddress>(&error) {
        let (registry, what) = (operation.registry.clone(), operation.what.clone());
        return RegistryError::DeniedAddress { registry, what, host, source: denied.clone() }.into();
    }
    let cause = root_cause(&error);
    let (name, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let refused =
        find_cause::<io::Error>(&error).is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    let elsewhere = !is_of_registry(operation.registry, url);
    let mut hint = elsewhere.then(|| {
        Hint::Words(format!(
            "{host} has to be reachable from here too. If it is an inner name of the registry: {OUTER_NAME}"
        ))
    });
    let mut detail = if error.is_dns() {
        format!("cannot resolve {name}: {cause}")
    } else if error.is_connect() && cause.contains("proxy auth") {
        hint = Some(Hint::Words(PROXY_CREDENTIALS.to_owned()));
        format!("the proxy on the way to {host} requires authentication (HTTP status 407)")
    } else if let (Some(proxy), true) = (&route.proxy, error.is_connect()) {
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
        // Go, nginx, Apache and Tomcat answer plain HTTP with a message (`wants_tls`). Envoy, HAProxy and Node.js close the
        // connection, and Jetty and rustls send a TLS alert.
        if route.plain_http {
            hint.get_or_insert(Hint::UseTls);
        }
        format!("the connection to {host} was cut: {cause}")
    };
    if elsewhere {
        detail = format!("{detail} ({} sent the client there)", operation.registry);
    }
    let (registry, what) = (operation.registry.clone(), operation.what.clone());
    let source = Some(error.into());
    Failure::retryable(RegistryError::Unavailable { registry, what, detail, status: None, hint, source })
}

/// Whether an address is one of the registry itself.
fn is_of_registry(registry: &RegistryHost, url: &Url) -> bool {
    authority(url).parse::<RegistryHost>().is_ok_and(|host| {
        let default_port = url.port_or_known_default().unwrap_or(HTTPS_PORT);
        let same = |host: &RegistryHost| {
            without_default_port(host, default_port) == without_default_port(registry, default_port)
        };
        same(&host) || hub_registry_for(&host).is_some_and(|hub| same(&hub))
    })
}

/// What is wrong with a TLS connection, and what helps, if that is known.
fn tls_detail(error: &rustls::Error, host: &str, trusted: &str) -> (String, Option<Hint>) {
    use rustls::{CertificateError as Certificate, Error as Tls};
    let day = |time: rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
    };
    let hint = |words: &str| Some(Hint::Words(words.to_owned()));
    match error {
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => {
            let text = format!("its certificate comes from a CA that is not trusted here ({trusted})");
            (text, Some(Hint::TrustCa))
        }
        Tls::InvalidCertificate(Certificate::NotValidYetContext { time, not_before }) => {
            let (from, now) = (day(*not_before), day(*time));
            (
                format!("its certificate is valid from {from}, and the clock of this machine says {now}"),
                hint("set the clock of this machine, if it is wrong"),
            )
        }
        Tls::InvalidCertificate(Certificate::ExpiredContext { time, not_after }) => {
            let (until, now) = (day(*not_after), day(*time));
            let help =
                "the registry needs a new certificate; or set the clock of this machine, if it is wrong";
            let text =
                format!("its certificate was valid until {until}, and the clock of this machine says {now}");
            (text, hint(help))
        }
        Tls::InvalidCertificate(Certificate::NotValidForNameContext { presented, .. }) => {
            let names =
                presented.iter().take(5).map(|name| certified_name(name)).collect::<Vec<_>>().join(", ");
            let help = format!(
                "write a name that the certificate is for in place of {host}, or have it issued for {host}"
            );
            (format!("its certificate is not for this name, but for {names}"), hint(&help))
        }
        Tls::InvalidCertificate(error) => {
            let text = format!("its certificate is not accepted: {error}");
            (text, hint("ask the administrator of the registry for another certificate"))
        }
        Tls::InvalidMessage(_) => ("it does not speak TLS".to_owned(), Some(Hint::LeaveOutTls)),
        other => (printable(&other.to_string(), MAX_CAUSE), None),
    }
}

/// A name in a certificate, as rustls shows it (`DnsName("a.example")`), without what surrounds it.
fn certified_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    printable(inner.trim_matches('"'), 200)
}
