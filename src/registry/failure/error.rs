// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with a registry.

use std::time::Duration;
use std::{fmt, io};

use thiserror::Error;

use crate::error::{ErrorKind, find_cause};
use crate::oci::digest::{ContentMismatch, Digest};
use crate::oci::reference::RegistryHost;
use crate::registry::failure::denial::Denial;
use crate::registry::failure::denied_address::DeniedAddress;
use crate::registry::failure::hint::Hint;
use crate::registry::failure::keychain::KeychainError;
use crate::registry::failure::redirect_refusal::RedirectRefusal;
use crate::registry::host::hub_api_host;

/// A cause that is only shown.
pub(in crate::registry) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request to a registry failed. `what` names what was requested, for example
/// `manifest docker.io/library/nginx:1.25`; the registry's own text is truncated and escaped. (T-53, T-55, T-84)
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum RegistryError {
    /// The registry requires credentials, or refuses those that were sent.
    #[error("{}", unauthorized(.registry, .what, .detail, .credentials))]
    Unauthorized {
        /// Registry that refused.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// What the registry said, with a leading `: `, or nothing.
        detail: String,
        /// Which credentials were used.
        credentials: CredentialUse,
    },
    /// The registry authenticated the user, who has no permission for this.
    #[error("{registry} does not allow {what}{detail}; {credentials}")]
    Forbidden {
        /// Registry that refused.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// What the registry said, with a leading `: `, or nothing.
        detail: String,
        /// Which credentials were used.
        credentials: CredentialUse,
    },
    /// The registry does not have it.
    #[error("{what} does not exist{detail}")]
    NotFound {
        /// What was requested.
        what: String,
        /// What the registry said, with a leading `: `, or nothing.
        detail: String,
    },
    /// The host limits requests, and requires a longer pause than the client may wait. (T-54, T-86)
    #[error("rate limited by {host}: {what} was refused{detail}; {}", pause(*.requested, *.left, *.optional))]
    RateLimited {
        /// Registry of the request.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// Host that refused: the registry, its token server or its storage.
        host: String,
        /// What it said, with a leading `: `, or nothing.
        detail: String,
        /// How long a pause it needs, if that is known.
        requested: Option<Duration>,
        /// How much longer the client may wait for such hosts.
        left: Duration,
        /// Whether it was a request for optional content.
        optional: bool,
    },
    /// The registry cannot be reached, or fails itself, and still did so after the retries. (T-53)
    #[error("{registry} is not available: {what}: {detail}")]
    Unavailable {
        /// Registry that did not answer.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// What happened.
        detail: String,
        /// The HTTP status; absent: nothing answered.
        status: Option<u16>,
        /// Advice, if there is more than to retry later.
        hint: Option<Hint>,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// No encrypted connection could be made: a certificate or the protocol. (T-56)
    #[error("no trusted TLS connection to {host}: {detail}")]
    Tls {
        /// Host and port that was connected to.
        host: String,
        /// What is wrong with the certificate or the connection.
        detail: String,
        /// What helps, if that is known.
        hint: Option<Hint>,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// The registry delivers other content than was requested. (T-90)
    #[error("{what} is not what the registry delivers")]
    Content {
        /// What was requested.
        what: String,
        source: ContentMismatch,
    },
    /// The registry names another digest than that of the content. (T-58)
    #[error("{registry} says that {what} is {got}, but it is {expected}")]
    OtherDigest {
        /// Registry that said so.
        registry: RegistryHost,
        /// What was sent or fetched.
        what: String,
        /// The digest of the bytes.
        expected: Digest,
        /// The digest that the registry names.
        got: Digest,
    },
    /// More bytes than are accepted for it. (T-52)
    #[error("{what} is larger than the {limit} bytes that are accepted")]
    TooLarge {
        /// What was requested.
        what: String,
        /// Most bytes that are accepted.
        limit: u64,
    },
    /// The response of the registry violates the protocol.
    #[error("invalid response of {registry} to {what}: {detail}")]
    Protocol {
        /// Registry that answered.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// What is wrong with the response.
        detail: String,
    },
    /// Something between the client and the registry answered, or changed the response: a proxy, a login portal.
    #[error("{} answered {what} with {description}: a proxy or a sign-in page is in between", .host.as_deref().unwrap_or(.registry.as_str()))]
    Intercepted {
        /// Registry of the request.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// Host that answered, if it is another.
        host: Option<String>,
        /// An address to open in a browser.
        address: String,
        /// What came instead.
        description: String,
    },
    /// The registry requires TLS.
    #[error("{registry} answered {what} with 400, because it was sent plain HTTP: it requires TLS")]
    PlainHttp {
        /// Registry that refused.
        registry: RegistryHost,
        /// What was requested.
        what: String,
    },
    /// The registry refuses the request, for none of the reasons above: read-only, too large, invalid.
    #[error("{registry} refuses {what}: HTTP status {status}{detail}")]
    Refused {
        /// Registry that refused.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said, with a leading `: `, or nothing.
        detail: String,
    },
    /// The registry refuses the request for a reason that neither a retry nor other credentials change: a quota, a rule, a
    /// project that does not exist. (T-217)
    #[error("{registry} refuses {what}: {denial} (HTTP status {status}{detail})")]
    Denied {
        /// Registry that refused.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// Why.
        denial: Denial,
        /// The HTTP status.
        status: u16,
        /// What the registry said, with a leading `: `, or nothing.
        detail: String,
    },
    /// A layer that the registry does not have, and that cannot be downloaded from the addresses in its
    /// descriptor. (T-95)
    #[error("layer {digest} is not in the registry, and cannot be downloaded from outside of it: {attempts}")]
    Foreign {
        digest: Digest,
        /// Each address that was requested, and what happened there.
        attempts: String,
        /// Hosts that no request was sent to, because they are not allowed.
        hosts: Vec<String>,
        /// The class of what happened.
        kind: ErrorKind,
    },
    /// The registry has no space left. (T-59)
    #[error("{registry} has no space left for {what}{detail}")]
    Full {
        /// Registry that is full.
        registry: RegistryHost,
        /// What was sent.
        what: String,
        /// What the registry said, with a leading `: `, or nothing.
        detail: String,
    },
    /// A redirect or an upload address that is not followed. (T-57)
    #[error("{what}: {registry} sends the client to {target}, which is refused: {refusal}")]
    Redirect {
        /// Registry that sent the redirect.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// Where to, without the secret parts.
        target: String,
        /// Why not.
        refusal: RedirectRefusal,
    },
    /// The registry requests its credentials for a host that is not of its domain. (T-57)
    #[error("{registry} asks for its credentials to be sent to {realm}, which is refused: {detail}")]
    Realm {
        /// Registry that requested them.
        registry: RegistryHost,
        /// Where to, without the secret parts.
        realm: String,
        /// Why not.
        detail: &'static str,
    },
    /// A connection would go to an address that the site denies.
    #[error("{what}: {}", denied_host(.registry, .host))]
    DeniedAddress {
        /// Registry that was to be reached.
        registry: RegistryHost,
        /// What was requested.
        what: String,
        /// Host and port that the connection would have gone to.
        host: String,
        /// The address, and why it is denied.
        source: DeniedAddress,
    },
    /// Received content could not be written here.
    #[error("blob {digest} cannot be written")]
    Sink {
        /// Blob that arrived.
        digest: Digest,
        source: io::Error,
    },
    /// Content to be sent could not be read here, or does not match its digest.
    #[error("blob {digest} cannot be sent")]
    Source {
        /// Blob to send.
        digest: Digest,
        source: SourceError,
    },
    /// The credentials cannot be read.
    #[error(transparent)]
    Keychain(#[from] KeychainError),
    /// A CA or client certificate that was named cannot be used.
    #[error("the certificate {path} cannot be used: {detail}")]
    Certificate {
        path: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Marks the refusal of an upload that the registry had opened.
pub(in crate::registry) const LOST_UPLOAD: &str = "; the upload session was lost";

/// Which credentials a request was sent with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialUse {
    /// User and origin of the credentials, if there are some.
    pub used: Option<String>,
    /// Where credentials were searched.
    pub search_summary: String,
}

impl fmt::Display for CredentialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.used {
            Some(used) => write!(f, "authenticated as {used}"),
            None => f.write_str(&self.search_summary),
        }
    }
}

fn unauthorized(registry: &RegistryHost, what: &str, detail: &str, credentials: &CredentialUse) -> String {
    match &credentials.used {
        Some(used) => format!(
            "{registry} refused {used} for {what}{detail}: wrong or expired password, or no right to do this"
        ),
        None => {
            format!("{registry}: authentication required for {what}{detail}; {}", credentials.search_summary)
        }
    }
}

/// Why a host that limits its requests is not waited for.
fn pause(requested: Option<Duration>, left: Duration, optional: bool) -> String {
    let Some(requested) = requested else {
        return "it does not say for how long (no Retry-After)".to_owned();
    };
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64().ceil());
    let of = if optional { "the quarter of --max-wait for what is optional" } else { "--max-wait" };
    format!("it needs a pause of {}, and {} of {of} are left", seconds(requested), seconds(left))
}

/// Where a denied address came from: the name of the registry itself, or a redirect of the registry.
fn denied_host(registry: &RegistryHost, host: &str) -> String {
    if host == hub_api_host(registry) {
        format!("the host {host} is denied")
    } else {
        format!("redirect to denied host {host}")
    }
}

/// Why content that is to be sent cannot be.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Reading failed.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The bytes are not those of the digest. (T-37)
    #[error(transparent)]
    Corrupt(#[from] ContentMismatch),
}

impl RegistryError {
    /// Whether the registry responded, with a refusal or an invalid response, so that another request may succeed. Without a
    /// response, or if no request may be sent, it cannot.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. }
                | Self::Forbidden { .. }
                | Self::NotFound { .. }
                | Self::Protocol { .. }
                | Self::Refused { .. }
                | Self::Denied { .. }
                | Self::Redirect { .. }
        )
    }

    /// The registry that failed, if the failure is one of a registry.
    pub const fn registry(&self) -> Option<&RegistryHost> {
        match self {
            Self::Unauthorized { registry, .. }
            | Self::Forbidden { registry, .. }
            | Self::RateLimited { registry, .. }
            | Self::Unavailable { registry, .. }
            | Self::Protocol { registry, .. }
            | Self::Intercepted { registry, .. }
            | Self::PlainHttp { registry, .. }
            | Self::Refused { registry, .. }
            | Self::Denied { registry, .. }
            | Self::Full { registry, .. }
            | Self::Redirect { registry, .. } => Some(registry),
            _ => None,
        }
    }

    /// Whether the network gave no answer: connecting timed out, or there is no route. A host that refuses a connection has
    /// answered.
    pub fn is_connection_timeout(&self) -> bool {
        let Self::Unavailable { status: None, .. } = self else { return false };
        let timed_out = |error: &reqwest::Error| error.is_connect() && error.is_timeout();
        let no_route = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
        };
        find_cause::<reqwest::Error>(self).is_some_and(timed_out)
            || find_cause::<io::Error>(self).is_some_and(no_route)
    }

    /// The same failure, attributed to the registry's token server. Failures of credentials stay with the registry.
    pub(in crate::registry) fn of_token_server(mut self, server: &RegistryHost) -> Self {
        match &mut self {
            Self::Unavailable { registry, .. }
            | Self::Protocol { registry, .. }
            | Self::PlainHttp { registry, .. }
            | Self::Refused { registry, .. }
            | Self::Denied { registry, .. }
            | Self::Redirect { registry, .. } => *registry = server.clone(),
            _ => {}
        }
        self
    }

    /// The HTTP status of a refusal.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Unauthorized { .. } => Some(401),
            Self::Forbidden { .. } => Some(403),
            Self::NotFound { .. } => Some(404),
            Self::Refused { status, .. } | Self::Denied { status, .. } => Some(*status),
            _ => None,
        }
    }
}
