// SPDX-License-Identifier: Apache-2.0
//! The class of each failure of a registry, and what to do next.

use crate::error::{Classify, DRIVE_FAILED, ErrorKind, io_kind, is_drive_failure};
use crate::oci::reference::RegistryHost;
use crate::registry::failure::denial::Denial;
use crate::registry::failure::error::{CredentialUse, LOST_UPLOAD, RegistryError, SourceError};
use crate::registry::failure::hint::{Hint, PROXY_CREDENTIALS};

impl Classify for RegistryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::Keychain(_) => ErrorKind::Auth,
            Self::NotFound { .. } => ErrorKind::Incomplete,
            Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Intercepted { .. }
            | Self::Tls { .. } => ErrorKind::Unavailable,
            Self::Content { .. }
            | Self::OtherDigest { .. }
            | Self::TooLarge { .. }
            | Self::Source { source: SourceError::Corrupt(_), .. } => ErrorKind::Corrupt,
            Self::Denied { denial: Denial::Quota, .. } | Self::Full { .. } => ErrorKind::NoSpace,
            Self::Protocol { .. } | Self::Refused { .. } | Self::Denied { .. } => ErrorKind::Other,
            Self::Redirect { .. } | Self::Realm { .. } | Self::DeniedAddress { .. } => ErrorKind::Trust,
            Self::Sink { source, .. } | Self::Source { source: SourceError::Read(source), .. } => {
                io_kind(source)
            }
            Self::Foreign { kind, .. } => *kind,
            Self::Certificate { .. } | Self::PlainHttp { .. } => ErrorKind::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        help(self)
    }
}

/// What to do next against an error, if that is known.
fn help(error: &RegistryError) -> Option<String> {
    let text = match error {
        RegistryError::Unauthorized { registry, credentials: CredentialUse { used: Some(_), .. }, .. } => {
            format!(
                "if the password is wrong or expired, replace it (krs login {registry}, skopeo login {registry}); \
                 otherwise ask for the permission at {registry}, where the project may not exist either"
            )
        }
        RegistryError::Unauthorized { registry, .. } => format!(
            "provide credentials (krs login {registry}, skopeo login {registry}), or name a file with credentials by REGISTRY_AUTH_FILE"
        ),
        RegistryError::Forbidden { registry, credentials: CredentialUse { used: Some(_), .. }, .. } => {
            format!("ask for the permission at {registry}, or use credentials that have it")
        }
        RegistryError::Forbidden { registry, .. } => {
            format!("use the credentials of a user who has the permission: krs login {registry}")
        }
        RegistryError::Denied { registry, denial, .. } => denial.help(registry),
        RegistryError::NotFound { .. } => {
            "check the name; some registries answer the same where authentication is required".to_owned()
        }
        RegistryError::RateLimited { registry, .. } => format!(
            "run the same command again later: it resumes. --max-wait allows a longer wait; with credentials the limits are higher (krs login {registry})"
        ),
        RegistryError::Unavailable { hint: Some(Hint::Words(words)), .. }
        | RegistryError::Tls { hint: Some(Hint::Words(words)), .. } => words.clone(),
        RegistryError::Unavailable { hint: Some(Hint::UseTls), registry, .. } => {
            format!("if the registry speaks TLS, leave out --plain-http {registry}; otherwise run the same command again later")
        }
        RegistryError::Unavailable { .. } => {
            "run the same command again later. Behind a proxy, set HTTPS_PROXY and NO_PROXY".to_owned()
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
                "open {address} from this machine to see what answers. Sign in to the portal, or keep the proxy out of the way: NO_PROXY={}",
                other.as_ref().unwrap_or(registry).host()
            )
        }
        RegistryError::Redirect { registry, refusal, .. } => refusal.help(registry),
        RegistryError::Realm { .. } => {
            "this looks like an attack or a wrong setup: ask the administrator of the registry".to_owned()
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
        RegistryError::DeniedAddress { .. } => {
            "use a registry at another address, or ask the administrator of the site".to_owned()
        }
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::oci::digest::Digest;

    /// Help for a blob of the archive that cannot be read while it is sent.
    fn help_against_read(cause: io::ErrorKind) -> Option<String> {
        let source = SourceError::Read(io::Error::from(cause));
        RegistryError::Source { digest: Digest::of(b"layer"), source }.help()
    }

    #[test]
    fn an_archive_that_disappears_while_it_is_sent_is_a_removed_drive() {
        assert_eq!(help_against_read(io::ErrorKind::NotFound).as_deref(), Some(DRIVE_FAILED));
        assert_eq!(help_against_read(io::ErrorKind::PermissionDenied), None);
    }
}
