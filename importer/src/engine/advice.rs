// SPDX-License-Identifier: Apache-2.0
//! What helps where a registry and TLS do not fit together, in the fields of a set and the values of the chart. Checks and
//! copy Jobs say the same. Pure.

use krs_core::registry::{Denial, Hint, RegistryError};

/// Whose registry failed, and so where it is said how to reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The destination of a set. Whether the site's policy lets sets leave TLS out; `None`: it is not known here.
    Destination(Option<bool>),
    /// The images' own registry.
    Source,
    /// The importer itself, which nobody configures by hand.
    Importer,
}

/// What helps against a failure that is about TLS, beyond what its message says.
pub(crate) fn about_tls(error: &RegistryError, whose: Whose) -> Option<String> {
    use RegistryError as E;
    let text = match (error, whose) {
        (_, Whose::Importer) => return None,
        (E::PlainHttp { .. }, Whose::Destination(_)) => {
            "the registry speaks TLS: remove destinationTLS.plainHTTP"
        }
        (E::PlainHttp { .. }, Whose::Source) => {
            "the registry speaks TLS: the administrator of the importer can remove it from online.plainHTTP"
        }
        (E::Unavailable { hint: Some(Hint::UseTls), .. }, Whose::Destination(_)) => {
            "if the registry speaks TLS, remove destinationTLS.plainHTTP"
        }
        (E::Unavailable { hint: Some(Hint::UseTls), .. }, Whose::Source) => {
            "if the registry speaks TLS, the administrator of the importer can remove it from online.plainHTTP"
        }
        (E::Tls { hint: Some(Hint::Words(words)), .. }, _) => words.as_str(),
        (E::Tls { hint: Some(Hint::TrustCa), .. }, Whose::Destination(_)) => {
            "put the registry's CA certificate as ca.crt into a Secret or ConfigMap and name that in destinationTLS"
        }
        (E::Tls { hint: Some(Hint::LeaveOutTls), .. }, Whose::Destination(Some(true))) => {
            "correct the port in destinationRegistry, or set destinationTLS.plainHTTP if the registry has no TLS"
        }
        (E::Tls { hint: Some(Hint::LeaveOutTls), .. }, Whose::Destination(None)) => {
            "correct the port in destinationRegistry, or set destinationTLS.plainHTTP if the registry has no TLS and the \
             site's policy allows it"
        }
        (E::Tls { hint: Some(Hint::LeaveOutTls), .. }, Whose::Destination(Some(false))) => {
            "correct the port in destinationRegistry, or have the registry use TLS: the site's policy forbids \
             destinationTLS.plainHTTP; the administrator of the importer can set destinationTLS.allowPlainHTTP"
        }
        (E::Tls { hint: Some(Hint::LeaveOutTls), .. }, Whose::Source) => {
            "correct the port in the image's name; if the registry has no TLS, the administrator of the importer can add it to \
             online.plainHTTP"
        }
        (E::Certificate { .. }, Whose::Destination(_)) => {
            "correct it in the Secret or ConfigMap that the set names"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// What helps where a registry refuses what it understood, and credentials are not to blame.
pub(crate) const fn about_denial(error: &RegistryError) -> Option<&'static str> {
    let RegistryError::Denied { denial, .. } = error else { return None };
    Some(match denial {
        Denial::Quota => "raise the quota there, or delete images and collect garbage",
        Denial::ImmutableTag => {
            "give the image another tag in the set, or change the rule for immutable tags there"
        }
        Denial::NoProject => {
            "create the project there, or name one that exists in destinationRegistry (REGISTRY/PROJECT)"
        }
        Denial::ReadOnly => {
            "switch its read-only mode off, or wait until its maintenance ends: the copy is retried by itself. A pull-through \
             cache takes nothing at all: name another destinationRegistry"
        }
        Denial::ProxyCache => {
            "name another project in destinationRegistry: a proxy cache takes images from its own source alone"
        }
        Denial::Policy => {
            "ask the administrator of the registry which rule of the project forbids it, on vulnerabilities or signatures for example"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tls(hint: Hint) -> RegistryError {
        let (host, detail) = ("edge.local:5000".to_owned(), String::new());
        RegistryError::Tls { host, detail, hint: Some(hint), source: None }
    }

    #[test]
    fn t230_only_an_unknown_ca_is_answered_with_the_ca_and_only_no_tls_with_plain_http() {
        let clock = || tls(Hint::Words("set the clock of this machine, if it is wrong".to_owned()));
        let edge = |allowed| Whose::Destination(allowed);
        let table = [
            (tls(Hint::TrustCa), edge(Some(true)), "put the registry's CA certificate as ca.crt"),
            (clock(), edge(Some(true)), "set the clock"),
            (clock(), Whose::Source, "set the clock"),
            (
                tls(Hint::LeaveOutTls),
                edge(Some(true)),
                "set destinationTLS.plainHTTP if the registry has no TLS",
            ),
            (tls(Hint::LeaveOutTls), edge(None), "and the site's policy allows it"),
            (tls(Hint::LeaveOutTls), edge(Some(false)), "the site's policy forbids destinationTLS.plainHTTP"),
            (tls(Hint::LeaveOutTls), Whose::Source, "can add it to online.plainHTTP"),
        ];
        for (error, whose, expected) in table {
            let advice = about_tls(&error, whose).unwrap();
            assert!(advice.contains(expected), "{advice}");
            assert_eq!(advice.contains("ca.crt"), expected.contains("ca.crt"), "{advice}");
            assert_eq!(
                advice.contains("plainHTTP"),
                expected.contains("plainHTTP") || whose == edge(None),
                "{advice}"
            );
        }
        // A set has no field for the CA of a source registry, nor for the importer.
        assert_eq!(about_tls(&tls(Hint::TrustCa), Whose::Source), None);
        assert_eq!(about_tls(&tls(Hint::TrustCa), Whose::Importer), None);
    }
}
