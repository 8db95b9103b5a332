// SPDX-License-Identifier: Apache-2.0
//! The labels of our images: what they are, of which sources, and where these are.

use std::collections::BTreeMap;

use crate::source::Commit;

/// Those of the importer that each build has.
pub const IMPORTER_LABELS: &[(&str, &str)] = &[
    ("org.opencontainers.image.title", "krs-importer"),
    (
        "org.opencontainers.image.description",
        "KubeRegistrySync: brings images from verified bundles into an edge registry",
    ),
    ("org.opencontainers.image.licenses", "Apache-2.0"),
];
/// Those of `krs`.
pub const KRS_LABELS: &[(&str, &str)] = &[
    ("org.opencontainers.image.title", "krs"),
    (
        "org.opencontainers.image.description",
        "KubeRegistrySync: carries container images into sites without a network",
    ),
    ("org.opencontainers.image.licenses", "Apache-2.0"),
];

/// Where things are published. The repository names no address itself.
#[derive(Debug, Default)]
pub struct Addresses<'a> {
    /// Of the sources.
    pub source: Option<&'a str>,
    /// Of the documentation.
    pub documentation: Option<&'a str>,
}

/// All labels of an image; what is not known has none.
pub fn labels(
    of_image: &[(&'static str, &str)],
    commit: Option<&Commit>,
    addresses: &Addresses<'_>,
) -> BTreeMap<&'static str, String> {
    let known = [
        ("org.opencontainers.image.version", Some(env!("CARGO_PKG_VERSION"))),
        ("org.opencontainers.image.revision", commit.map(|commit| commit.revision.as_str())),
        ("org.opencontainers.image.created", commit.map(|commit| commit.time.as_str())),
        ("org.opencontainers.image.source", addresses.source),
        ("org.opencontainers.image.documentation", addresses.documentation),
    ];
    let known = known.into_iter().filter_map(|(label, value)| Some((label, value?)));
    of_image.iter().copied().chain(known).map(|(label, value)| (label, value.to_owned())).collect()
}

/// An address that may be published: without credentials.
pub fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").ok_or("expected an address that begins with https://")?;
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains('@') || text.contains(char::is_whitespace) {
        return Err("expected https://HOST/PATH without user and password".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_has_no_label() {
        let few = labels(IMPORTER_LABELS, None, &Addresses::default());
        let has = |labels: &BTreeMap<&str, String>, name: &str| {
            labels.contains_key(format!("org.opencontainers.image.{name}").as_str())
        };
        for name in ["title", "description", "licenses", "version"] {
            assert!(has(&few, name), "{name}");
        }
        let more = ["revision", "created", "source", "documentation"];
        assert!(!more.iter().any(|name| has(&few, name)), "{few:?}");
        let commit = Commit { revision: "1".to_owned(), time: "2".to_owned(), seconds: 2 };
        let addresses = Addresses { source: Some("https://a"), documentation: Some("https://b") };
        let all = labels(IMPORTER_LABELS, Some(&commit), &addresses);
        assert!(more.iter().all(|name| has(&all, name)), "{all:?}");
    }

    #[test]
    fn an_address_with_credentials_is_refused() {
        assert!(url("https://git.example/krs").is_ok());
        for wrong in
            ["git.example/krs", "http://git.example", "https://", "https://me:secret@git.example/krs"]
        {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
