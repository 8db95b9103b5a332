// SPDX-License-Identifier: Apache-2.0
//! What helps against the errors of a registry.

use crate::error::{Classify as _, DRIVE_FAILED, ErrorKind, is_drive_failure};
use crate::oci::reference::RegistryHost;
use crate::registry::failure::error::{CredentialUse, LOST_UPLOAD, RegistryError, SourceError};

/// What helps against an exchange that failed. Who tells it to people names the flag or the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// What these words say.
    Words(String),
    /// To trust the CA that issued the registry's certificate.
    TrustCa,
    /// To correct the port, or to leave TLS out: the server does not speak TLS.
    LeaveOutTls,
    /// Perhaps to use TLS: the server took a connection, and what came back for plain HTTP was no HTTP.
    UseTls,
}

/// What helps where a proxy wants credentials.
pub(in crate::registry) const PROXY_CREDENTIALS: &str =
    "put user and password for the proxy into HTTPS_PROXY: http://USER:PASSWORD@PROXY:PORT";

/// What to do next against an error, where that is known.
pub(in crate::registry) fn against(error: &RegistryError) -> Option<String> {
    let text = match error {
        RegistryError::Unauthorized { registry, credentials: CredentialUse { used: Some(_), .. }, .. } => {
            format!(
                "if the password is wrong or expired, log in again (skopeo login {registry}, docker login {registry}); \
                 otherwise ask for the permission at {registry}, where the project may not exist either"
            )
        }
        RegistryError::Unauthorized { registry, .. } => format!(
            "log in first (skopeo login {registry}, docker login {registry}), or name a file with credentials by REGISTRY_AUTH_FILE"
        ),
        RegistryError::Forbidden { registry, credentials: CredentialUse { used: Some(_), .. }, .. } => {
            format!("ask for the permission at {registry}, or use credentials that have it")
        }
        RegistryError::Forbidden { registry, .. } => {
            format!("log in as a user who has the permission: skopeo login {registry}")
        }
        RegistryError::Denied { registry, denial, .. } => denial.help(registry),
        RegistryError::NotFound { .. } => {
            "check the name; some registries answer the same where authentication is required".to_owned()
        }
        RegistryError::RateLimited { registry, .. } => format!(
            "run the same command again later: it resumes. --max-wait allows a longer wait; with credentials the limits are higher (skopeo login {registry})"
        ),
        RegistryError::Unavailable { hint: Some(Hint::Words(words)), .. }
        | RegistryError::Tls { hint: Some(Hint::Words(words)), .. } => words.clone(),
        RegistryError::Unavailable { hint: Some(Hint::UseTls), registry, .. } => {
            format!("if the registry speaks TLS, leave out --plain-http {registry}; otherwise try again later")
        }
        RegistryError::Unavailable { .. } => {
            "try again later. Behind a proxy, set HTTPS_PROXY and NO_PROXY".to_owned()
        }
        RegistryError::PlainHttp { registry, .. } => format!("leave out --plain-http {registry}"),
        RegistryError::Refused { status: 407, .. } => PROXY_CREDENTIALS.to_owned(),
        RegistryError::Tls { hint: Some(Hint::LeaveOutTls), host, .. } => {
            format!("correct the port, or use --plain-http {host} if the registry has no TLS")
        }
        RegistryError::Tls { hint: Some(Hint::TrustCa), host, .. } => format!(
            "name the registry's CA with --ca-file, or put it as a *.crt file into /etc/containers/certs.d/{host}/"
        ),
        RegistryError::Content { .. } | RegistryError::OtherDigest { .. } => {
            "the registry, or a proxy before it, holds damaged content: it must be removed there and pushed again".to_owned()
        }
        RegistryError::Full { registry, .. } => {
            format!("free space at {registry} (delete images, collect garbage)")
        }
        RegistryError::Refused { status: 405, .. } => {
            "the registry may be read-only, or set up as a pull-through cache".to_owned()
        }
        RegistryError::Refused { status: 404, detail, .. } if detail.ends_with(LOST_UPLOAD) => {
            "the registry may consist of several instances that do not share their uploads: they need the same storage and secret (Distribution: http.secret), or each client has to stay with one instance".to_owned()
        }
        RegistryError::Refused { status: 413, .. } => {
            "a proxy in front of the registry limits the size of a request's body: raise it or remove it \
             (nginx: client_max_body_size, ingress-nginx: nginx.ingress.kubernetes.io/proxy-body-size)".to_owned()
        }
        RegistryError::Intercepted { registry, host, address, .. } => {
            let other = host.as_deref().and_then(|host| host.parse::<RegistryHost>().ok());
            format!(
                "open {address} from this machine to see what answers. Log in to the portal, or keep the proxy out of the way: NO_PROXY={}",
                other.as_ref().unwrap_or(registry).host()
            )
        }
        RegistryError::Redirect { registry, refusal, .. } => refusal.help(registry),
        RegistryError::Realm { .. } => {
            "this looks like an attack or a wrong setup: ask who runs the registry".to_owned()
        }
        RegistryError::Source { source: SourceError::Corrupt(_), .. } => {
            "the media is damaged: copy the bundle again, and check it with krs verify".to_owned()
        }
        RegistryError::Source { source: SourceError::Read(source), .. }
            if is_drive_failure(source) || source.kind() == std::io::ErrorKind::NotFound =>
        {
            DRIVE_FAILED.to_owned()
        }
        RegistryError::Keychain(error) => return error.help(),
        RegistryError::Foreign { hosts, .. } if !hosts.is_empty() => {
            let flags = hosts.iter().map(|host| format!("--foreign-layer-host {host}"));
            format!(
                "if you know the host and want krs to download from it: {}; or push the image with all of its layers to the registry",
                flags.collect::<Vec<_>>().join(" ")
            )
        }
        RegistryError::Foreign { kind: ErrorKind::Unavailable, .. } => {
            "run the same command again later: it resumes. Or push the image with all of its layers to the registry".to_owned()
        }
        RegistryError::Foreign { .. } => "push the image with all of its layers to the registry, or choose the platforms that are needed with `platforms`".to_owned(),
        RegistryError::Barred { .. } => "use a registry at another address, or ask who runs the site".to_owned(),
        RegistryError::TooLarge { .. }
        | RegistryError::Protocol { .. }
        | RegistryError::Refused { .. }
        | RegistryError::Tls { .. }
        | RegistryError::Sink { .. }
        | RegistryError::Source { .. }
        | RegistryError::Certificate { .. } => return None,
    };
    Some(text)
}
