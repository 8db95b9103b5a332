// SPDX-License-Identifier: Apache-2.0
//! Why a target is not at the edge, in the words of a condition.

use std::net::SocketAddr;
use std::time::Duration;

use camino::Utf8Path;
use krs_core::crd::reason;
use krs_core::error::{Classify, ErrorKind, chain, find_cause};
use krs_core::oci::closure::ClosureError;
use krs_core::oci::reference::RegistryHost;
use krs_core::redact::printable;
use krs_core::registry::{Hint, RegistryError};
use krs_core::sync::fetch::FetchError;
use krs_core::sync::push::TargetError;
use krs_core::sync::verify_present::PresenceError;

use super::role::EndpointRole;
use crate::adapters::credentials::CredentialsError;
use crate::engine::advice::{Whose, about_denial, about_tls};
use crate::engine::job::SELECTOR;
use crate::engine::registry_reason::reason_of;

/// Most characters of a message.
const MAX_MESSAGE: usize = 600;

/// Why a target is not at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) kind: ErrorKind,
    /// The destination does not have what it had a moment ago: to be brought again. (T-63)
    pub(super) collected: bool,
    /// The destination does not take the credentials: no other target can succeed, and asking again locks accounts. (T-55)
    pub(super) for_all: bool,
}

/// Which targets of a task a failure concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concerns {
    /// Only the one that failed.
    One,
    /// All of them, if the destination cannot be reached: each would wait for all of its retries.
    AllIfUnreachable,
    All,
}

impl Failure {
    pub(super) fn new(reason: &'static str, kind: ErrorKind, message: &str) -> Self {
        Self { reason, message: printable(message, MAX_MESSAGE), kind, collected: false, for_all: false }
    }

    pub(super) fn registry(role: EndpointRole, error: &RegistryError) -> Self {
        use RegistryError as E;
        if let E::Unavailable { registry, .. } = error
            && error.is_connection_timeout()
        {
            return Self::no_connection(role, registry, registry.port().unwrap_or(443));
        }
        let text = chain(error);
        let by_importer = role == EndpointRole::Bundle;
        let by_medium = by_importer
            && matches!(error, E::Unavailable { detail, .. } if detail.starts_with("HTTP status"));
        // The next Pod has another token, and the next Job the importer's CA certificate of then.
        let by_credentials = by_importer && matches!(error, E::Unauthorized { .. } | E::Forbidden { .. });
        let by_tls = matches!(error, E::Tls { .. } | E::Certificate { .. });
        let reason = match error {
            _ if by_credentials || (by_importer && by_tls) => reason::BUNDLE_UNAVAILABLE,
            E::Unavailable { .. } if by_medium => reason::MEDIA_READ_ERROR,
            // It asks to be left alone while it does not serve the bundle, and is not there while it starts.
            E::Unavailable { .. } | E::RateLimited { .. } if by_importer => reason::BUNDLE_UNAVAILABLE,
            // What is pushed is not looked for by its name.
            E::NotFound { .. } if role == EndpointRole::Destination => reason::REGISTRY_REFUSED,
            _ => reason_of(error),
        };
        let advice = match (reason, role) {
            (reason::AUTH_FAILED, EndpointRole::Destination) => {
                "; check the Secret with the credentials of the destination registry"
            }
            (reason::AUTH_FAILED, EndpointRole::Source) => {
                "; check the Secret with the credentials of the source registry"
            }
            (reason::BUNDLE_UNAVAILABLE, _) if by_credentials => {
                "; the copy is retried by itself, with another token"
            }
            (reason::BUNDLE_UNAVAILABLE, _) if by_tls => {
                "; the copy is retried by itself, with the importer's CA certificate of then"
            }
            (reason::BUNDLE_UNAVAILABLE, _) => {
                "; the copy is retried by itself, once the media with the bundle are there"
            }
            (reason::REGISTRY_FULL, _) => "; free space there, or raise the quota",
            (reason::IMAGE_NOT_FOUND, _) => "; check the image's name and digest",
            _ => "",
        };
        let whose = match role {
            EndpointRole::Bundle => Whose::Importer,
            EndpointRole::Source => Whose::Source,
            // Jobs do not know the site's policy.
            EndpointRole::Destination => Whose::Destination(None),
        };
        let better = about_tls(error, whose);
        let better = better.or_else(|| about_denial(error).map(str::to_owned));
        let advice = better.map_or_else(|| advice.to_owned(), |advice| format!("; {advice}"));
        let for_all = reason == reason::AUTH_FAILED && role == EndpointRole::Destination;
        let kind = if by_credentials {
            ErrorKind::Unavailable
        } else if lasts(error) {
            ErrorKind::Trust
        } else {
            error.kind()
        };
        Self { for_all, ..Self::new(reason, kind, &format!("{}: {text}{advice}", role.name())) }
    }

    /// Nothing answers at the registry.
    pub(super) fn no_connection(role: EndpointRole, registry: &RegistryHost, port: u16) -> Self {
        let at_importer =
            if role == EndpointRole::Bundle { ", and to the importer's Pods from them" } else { "" };
        let text = format!(
            "{}: no connection to {registry}: nothing answers. A NetworkPolicy or a firewall may drop packets: allow Pods with the labels {SELECTOR} port {port}/TCP{at_importer}, and port 53 for DNS (docs/install.md, Networks)",
            role.name()
        );
        Self::new(reason::CONNECTION_TIMED_OUT, ErrorKind::Unavailable, &text)
    }

    /// Nothing is acknowledged on a connection, while new ones can be made.
    pub(super) fn blocked(names: &str, remote: SocketAddr, silent: Duration) -> Self {
        let text = format!(
            "{names}: the connection to {remote} is blocked: nothing was acknowledged for {} s, while new connections can be made. A firewall, NAT or load balancer on the way dropped it; the copy is retried with new connections",
            silent.as_secs()
        );
        Self::new(reason::CONNECTION_TIMED_OUT, ErrorKind::Unavailable, &text)
    }

    /// Which other targets of the task it concerns.
    pub(super) fn concerns(&self) -> Concerns {
        if self.for_all {
            Concerns::All
        } else if self.reason == reason::CONNECTION_TIMED_OUT {
            Concerns::AllIfUnreachable
        } else {
            Concerns::One
        }
    }

    pub(super) fn fetch(role: EndpointRole, error: &FetchError) -> Self {
        match error {
            FetchError::Absent { listed_as: Some(name), source, .. } => {
                let failure = Self::registry(role, source);
                let message = printable(&format!("{name}: {}", failure.message), MAX_MESSAGE);
                Self { message, ..failure }
            }
            FetchError::Absent { source, .. } | FetchError::Source(source) => Self::registry(role, source),
            FetchError::Closure(error) => Self::content(role, error),
        }
    }

    pub(super) fn verify_present(error: &PresenceError) -> Self {
        match error {
            PresenceError::Registry(error) => Self::registry(EndpointRole::Destination, error),
            PresenceError::Closure(error) => Self::content(EndpointRole::Destination, error),
        }
    }

    pub(super) fn target(error: &TargetError) -> Self {
        let failure = match error {
            TargetError::Registry(error) => Self::registry(EndpointRole::Destination, error),
            TargetError::ReadBack { .. } => Self::new(reason::DIGEST_MISMATCH, error.kind(), &chain(error)),
            TargetError::Missing(digest) => {
                Self::new(reason::COPY_FAILED, ErrorKind::Other, &format!("{digest} was not fetched"))
            }
            _ => Self::new(reason::REGISTRY_REFUSED, error.kind(), &chain(error)),
        };
        Self { collected: error.may_be_collected(), ..failure }
    }

    fn content(role: EndpointRole, error: &ClosureError) -> Self {
        let text = format!("{}: {}", role.name(), chain(error));
        match error {
            // Nothing is damaged: the set asks for what the image does not have.
            ClosureError::NoPlatform { .. } => {
                Self::new(reason::IMAGE_NOT_FOUND, ErrorKind::Incomplete, &text)
            }
            _ => Self::new(reason::DIGEST_MISMATCH, ErrorKind::Corrupt, &text),
        }
    }

    pub(super) fn credentials(role: EndpointRole, error: &CredentialsError) -> Self {
        let text = format!("the Secret for {}: {}", role.name(), chain(error));
        let failure = Self::new(reason::SECRET_INVALID, ErrorKind::Auth, &text);
        Self { for_all: role == EndpointRole::Destination, ..failure }
    }

    pub(super) fn files(path: &Utf8Path, error: &std::io::Error) -> Self {
        let kind = krs_core::error::io_kind(error);
        Self::new(reason::COPY_FAILED, kind, &format!("{path} cannot be written: {error}"))
    }
}

/// Whether TLS fails for what is not another one a minute later: a certificate, the versions of the protocol, or plain HTTP
/// where TLS is spoken, or the reverse. An alert, or a connection that ends amid a record, may be a server that is restarted.
fn lasts(error: &RegistryError) -> bool {
    match error {
        RegistryError::Certificate { .. }
        | RegistryError::PlainHttp { .. }
        | RegistryError::Tls { hint: Some(Hint::LeaveOutTls), .. }
        | RegistryError::Tls { source: None, .. } => true,
        RegistryError::Tls { source: Some(source), .. } => {
            find_cause(source.as_ref()).is_none_or(|error: &rustls::Error| {
                matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::PeerIncompatible(_))
            })
        }
        _ => false,
    }
}

/// The exit code for several failures: what no retry mends first, so that the Job ends at once.
pub(super) fn exit_code(failures: impl IntoIterator<Item = ErrorKind>) -> u8 {
    let code = |kind| match kind {
        ErrorKind::Trust => (0, 3),
        ErrorKind::Corrupt => (1, 4),
        ErrorKind::Rollback => (2, 5),
        ErrorKind::Auth => (3, 7),
        ErrorKind::NoSpace => (4, 9),
        ErrorKind::Incomplete => (5, 6),
        ErrorKind::Other | ErrorKind::Usage => (6, 1),
        ErrorKind::Unavailable => (7, 8),
    };
    failures.into_iter().map(code).min().map_or(0, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;

    use krs_core::registry::CredentialUse;

    use super::*;

    fn exit(role: EndpointRole, error: &RegistryError) -> (&'static str, u8) {
        let failure = Failure::registry(role, error);
        (failure.reason, exit_code([failure.kind]))
    }

    #[test]
    fn t231_only_what_is_wrong_with_a_certificate_ends_a_job_and_not_all_that_tls_says() {
        let tls = |error: rustls::Error| RegistryError::Tls {
            host: "edge.local:5000".to_owned(),
            detail: error.to_string(),
            hint: None,
            source: Some(io::Error::other(error).into()),
        };
        let unknown = || tls(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert_eq!(exit(EndpointRole::Destination, &unknown()), (reason::TLS_FAILED, 3));
        let restarted = tls(rustls::Error::AlertReceived(rustls::AlertDescription::InternalError));
        assert_eq!(exit(EndpointRole::Destination, &restarted), (reason::TLS_FAILED, 8));
        // The CA certificate of the importer is in the Job: the next one has the new one.
        assert_eq!(exit(EndpointRole::Bundle, &unknown()), (reason::BUNDLE_UNAVAILABLE, 3));
    }

    #[test]
    fn t231_a_token_that_the_importer_does_not_take_is_another_one_in_the_next_pod() {
        let refused = || RegistryError::Forbidden {
            registry: "krs-importer.krs-system.svc:5443".parse().unwrap(),
            what: "pull".to_owned(),
            detail: String::new(),
            credentials: CredentialUse { used: None, search_summary: String::new() },
        };
        assert_eq!(exit(EndpointRole::Bundle, &refused()), (reason::BUNDLE_UNAVAILABLE, 8));
        assert_eq!(exit(EndpointRole::Destination, &refused()), (reason::AUTH_FAILED, 7));
        let failure = Failure::registry(EndpointRole::Bundle, &refused());
        assert!(failure.message.ends_with("with another token"), "{}", failure.message);
    }

    #[test]
    fn t212_a_time_out_concerns_the_other_targets_only_where_the_destination_cannot_be_reached() {
        let registry = || "edge.local:5000".parse().unwrap();
        let timed_out = Failure::no_connection(EndpointRole::Source, &registry(), 5000);
        assert_eq!(timed_out.concerns(), Concerns::AllIfUnreachable);
        let silent = Duration::from_secs(60);
        let blocked = Failure::blocked("the source registry a:1", "10.0.0.1:1".parse().unwrap(), silent);
        assert_eq!(blocked.concerns(), Concerns::AllIfUnreachable);
        assert_eq!(Failure { for_all: true, ..timed_out }.concerns(), Concerns::All);
        let refused = Failure::new(reason::REGISTRY_REFUSED, ErrorKind::Other, "no");
        assert_eq!(refused.concerns(), Concerns::One);
    }

    #[test]
    fn t70_a_work_folder_without_room_is_reported_to_be_full_and_no_retry_of_the_pod_mends_it() {
        let failure = Failure::files(Utf8Path::new("/krs/work/auth.json"), &io::Error::from_raw_os_error(28));
        assert_eq!((failure.reason, exit_code([failure.kind])), (reason::COPY_FAILED, 9));
        assert!(failure.message.contains("/krs/work/auth.json"), "{}", failure.message);
        assert!(failure.message.contains("No space left"), "{}", failure.message);
    }

    #[test]
    fn the_exit_code_is_that_of_the_failure_that_no_retry_mends() {
        assert_eq!(exit_code([]), 0);
        assert_eq!(exit_code([ErrorKind::Unavailable, ErrorKind::Corrupt, ErrorKind::Auth]), 4);
        assert_eq!(exit_code([ErrorKind::Unavailable, ErrorKind::Auth]), 7);
        assert_eq!(exit_code([ErrorKind::Unavailable, ErrorKind::Other]), 1, "only 8 is retried by the Job");
    }
}
