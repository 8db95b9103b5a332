// SPDX-License-Identifier: Apache-2.0
//! Which registries a Secret is for. The author of a set may name Secrets that they cannot read: a password must not be
//! sent to a host that only the set names. Pure.

use krs_core::oci::reference::RegistryHost;
use krs_core::redact::printable;

/// Annotation of a Secret: the registries, `host[:port]`, that its credentials may be sent to, with commas between them.
pub(super) const ANNOTATION: &str = "kuberegistrysync.io/registry-hosts";
/// Most registries of one Secret.
const MAX_HOSTS: usize = 64;

/// What credentials are used for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// Reading from the image's own registry, which the set's author chooses among those that the site allows.
    Source(&'a RegistryHost),
    /// Writing to the destination registry, which the site allows this namespace by name.
    Destination(&'a RegistryHost),
}

/// Whether a Secret with this annotation may be used. `names_hosts`: its content says by itself which registries it is
/// for, as that of a dockerconfigjson does.
///
/// # Errors
/// Why not, and what to do, as part of a sentence.
pub(super) fn check(purpose: Purpose<'_>, annotation: Option<&str>, names_hosts: bool) -> Result<(), String> {
    let (Purpose::Source(registry) | Purpose::Destination(registry)) = purpose;
    let Some(annotation) = annotation else {
        return match purpose {
            Purpose::Source(_) if !names_hosts => Err(format!(
                "it does not say which registry its password is for: annotate it with {ANNOTATION}: \"{registry}\", or use a Secret of type kubernetes.io/dockerconfigjson"
            )),
            Purpose::Source(_) | Purpose::Destination(_) => Ok(()),
        };
    };
    if parse(annotation)?.contains(registry) {
        return Ok(());
    }
    let shown = printable(annotation, 200);
    Err(format!("its annotation {ANNOTATION} names {shown}, not {registry}: add it there if it is meant"))
}

fn parse(annotation: &str) -> Result<Vec<RegistryHost>, String> {
    let words = annotation.split(',').map(str::trim).filter(|word| !word.is_empty());
    let hosts = words.take(MAX_HOSTS + 1).map(|word| {
        let bad = |_| {
            let shown = printable(word, 120);
            format!("its annotation {ANNOTATION} has an entry that is not host[:port]: `{shown}`")
        };
        word.parse::<RegistryHost>().map_err(bad)
    });
    let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
    if hosts.len() > MAX_HOSTS {
        return Err(format!("its annotation {ANNOTATION} names more than {MAX_HOSTS} registries"));
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t145_a_password_is_for_the_registries_that_its_secret_names() {
        let registry = "quay.io".parse().unwrap();
        let (source, destination) = (Purpose::Source(&registry), Purpose::Destination(&registry));
        let unnamed = check(source, None, false).unwrap_err();
        assert!(unnamed.contains(ANNOTATION) && unnamed.contains("quay.io"), "{unnamed}");
        // The registry is not the author's choice, or the content names it.
        assert!(check(destination, None, false).is_ok() && check(source, None, true).is_ok());
        for purpose in [source, destination] {
            for names_hosts in [false, true] {
                assert!(check(purpose, Some("a.example:5000, quay.io"), names_hosts).is_ok());
                for other in ["a.example", "quay.io:443", "quay.io.evil.example", ""] {
                    let error = check(purpose, Some(other), names_hosts).unwrap_err();
                    assert!(error.contains("not quay.io"), "{error}");
                }
                let scheme = check(purpose, Some("https://quay.io"), names_hosts).unwrap_err();
                assert!(scheme.contains("not host[:port]"), "{scheme}");
            }
        }
        let many = vec!["quay.io"; MAX_HOSTS + 1].join(",");
        assert!(check(source, Some(&many), false).is_err());
    }
}
