// SPDX-License-Identifier: Apache-2.0
//! Refusals that neither the credentials nor the network cause: quotas, immutable tags, missing projects, policies. There
//! are no error codes for them, so that the messages of the registries are matched.

use std::fmt;

use crate::oci::reference::RegistryHost;

/// Why a registry denies a request that it understood, from a user with permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The project, or its owner, may not store more.
    Quota,
    /// The tag exists and may not be changed or deleted.
    ImmutableTag,
    /// There is no such project, owner or repository.
    NoProject,
    /// The registry is read-only at present.
    ReadOnly,
    /// The project is a pull-through cache.
    ProxyCache,
    /// A rule of the project, for example on vulnerabilities or signatures.
    Policy,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "quota exceeded",
            Self::ImmutableTag => "the tag is immutable",
            Self::NoProject => "it has no such project or repository",
            Self::ReadOnly => "it is read-only",
            Self::ProxyCache => "the project is a proxy cache",
            Self::Policy => "a policy of the project forbids it",
        })
    }
}

impl Denial {
    /// Recognises a refusal by its status and message. Pure.
    pub(in crate::registry) fn of(status: u16, message: &str) -> Option<Self> {
        let text = message.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
        // Harbor, Quay, GitLab, Artifactory, Gitea. A rate limit is not a quota.
        let quota = has(&[
            "exceed the configured upper limit",
            "storage limit",
            "package type size exceeded",
            "package count exceeded",
        ]) || (has(&["quota"])
            && has(&["exceed", "reached", "full"])
            && !has(&["requests", "per minute"]));
        match status {
            400..=500 | 507 if quota => Some(Self::Quota),
            // Neither is about the requested content.
            401 | 407 => None,
            400..=499 if has(&["immutable", "cannot be overwritten"]) => Some(Self::ImmutableTag),
            403..=412 if has(&["proxy cache", "proxy project", "pull-through", "pull through cache"]) => {
                Some(Self::ProxyCache)
            }
            400 | 403..=412 | 423 | 503 if has(&["read only", "read-only", "readonly"]) => {
                Some(Self::ReadOnly)
            }
            403 | 412 | 451 if has(&["policy", "vulnerab", "not signed", "content trust"]) => {
                Some(Self::Policy)
            }
            // A 404 to a read is about the requested content.
            400 | 403
                if has(&["project", "namespace", "repository"]) && has(&["not found", "does not exist"]) =>
            {
                Some(Self::NoProject)
            }
            _ => None,
        }
    }

    /// What a 404 to something that is sent means: it is the project for it that is missing, unless the registry names a
    /// blob or a manifest.
    pub(in crate::registry) fn for_missing(message: &str) -> Option<Self> {
        let of_content = ["BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "BLOB_UPLOAD"];
        (!of_content.iter().any(|code| message.contains(code))).then_some(Self::NoProject)
    }

    /// What status 405 to something that is sent means: Distribution answers so, without a body, while it is read-only, with
    /// `UNSUPPORTED` where it is a pull-through cache, and Quay while pushes are disabled. Others answer so to a manifest of
    /// a kind that they do not take, which they name.
    pub(in crate::registry) fn for_method(message: &str) -> Option<Self> {
        let text = message.to_ascii_lowercase();
        let of_content = ["parameter", "manifest", "media type", "mediatype", "artifact"];
        (!of_content.iter().any(|words| text.contains(words))).then_some(Self::ReadOnly)
    }

    /// What to do next.
    pub(in crate::registry) fn help(self, registry: &RegistryHost) -> String {
        match self {
            Self::Quota => format!(
                "raise the quota of the project at {registry}, or delete images there and collect garbage; then run the same \
                 command again: it resumes"
            ),
            Self::ImmutableTag => {
                format!("give the image a new tag, or change the rule for immutable tags at {registry}")
            }
            Self::NoProject => format!(
                "the registry has no such project or owner: create it there, or name one that exists ({registry}/NAME \
                 puts NAME in front of every repository)"
            ),
            Self::ReadOnly => {
                format!(
                    "wait until maintenance or garbage collection of {registry} ends, or switch its read-only mode off; a \
                     pull-through cache takes nothing at all"
                )
            }
            Self::ProxyCache => format!(
                "name another project ({registry}/NAME): a proxy cache takes images from its own source alone"
            ),
            Self::Policy => format!(
                "ask the administrator of {registry} which rule of the project forbids it, on vulnerabilities or signatures for example"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t217_what_registries_say_of_quotas_tags_projects_and_policies_is_told_apart() {
        let harbor = "DENIED adding 151.7 MiB of storage resource, which when updated to current usage of 100.0 GiB \
                      will exceed the configured upper limit of 100.0 GiB.";
        for (status, message, expected) in [
            (403, harbor, Some(Denial::Quota)),
            (412, "DENIED Quota exceeded when processing the request of adding 1.3 MiB", Some(Denial::Quota)),
            (400, "Quota has been exceeded on namespace", Some(Denial::Quota)),
            (403, "DENIED maximum allowed package storage quota exceeded", Some(Denial::Quota)),
            (403, "DENIED maximum allowed package type size exceeded", Some(Denial::Quota)),
            (500, "UNKNOWN Quota exceeded when processing the request", Some(Denial::Quota)),
            (500, "UNKNOWN read-only file system", None),
            (403, "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'", None),
            (403, "DENIED", None),
            (401, "project mirror not found", None),
            (412, "PRECONDITION configured as immutable, cannot be updated", Some(Denial::ImmutableTag)),
            (
                400,
                "TAG_INVALID The image tag '1' already exists and is immutable",
                Some(Denial::ImmutableTag),
            ),
            (403, "FORBIDDEN project mirror not found", Some(Denial::NoProject)),
            (404, "MANIFEST_UNKNOWN", None),
            (405, "UNSUPPORTED project mirror is a proxy cache project", Some(Denial::ProxyCache)),
            (405, "UNSUPPORTED", None),
            (
                403,
                "DENIED The system is in read only mode. Any modification is prohibited.",
                Some(Denial::ReadOnly),
            ),
            (412, "PROJECTPOLICYVIOLATION current image with 3 vulnerabilities", Some(Denial::Policy)),
            (413, "", None),
        ] {
            assert_eq!(Denial::of(status, message), expected, "{status} {message}");
        }
        assert_eq!(Denial::for_missing(": NAME_UNKNOWN project mirror not found"), Some(Denial::NoProject));
        assert_eq!(Denial::for_missing(": MANIFEST_BLOB_UNKNOWN"), None);
    }

    #[test]
    fn t241_a_method_that_is_not_allowed_is_read_only_unless_the_manifest_is_to_blame() {
        for (message, expected) in [
            ("", Some(Denial::ReadOnly)),
            (": UNSUPPORTED The operation is unsupported.", Some(Denial::ReadOnly)),
            (": METHOD NOT ALLOWED Pushes to the registry are currently disabled.", Some(Denial::ReadOnly)),
            (": UNSUPPORTED Invalid parameter at 'ImageManifest' failed to satisfy constraint", None),
            (": UNSUPPORTED media type application/vnd.oci.image.index.v1+json", None),
        ] {
            assert_eq!(Denial::for_method(message), expected, "{message}");
        }
        for (status, message) in [
            (
                405,
                "DENIED System is currently read-only. Pulls will succeed but all write operations are suspended",
            ),
            (503, "UNAVAILABLE Nexus Repository Manager is in read-only mode"),
            (403, "DENIED The system is in read only mode. Any modification is prohibited."),
            (400, "BAD_REQUEST docker-hosted is read-only"),
        ] {
            assert_eq!(Denial::of(status, message), Some(Denial::ReadOnly), "{status} {message}");
        }
    }
}
