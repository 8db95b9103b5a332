// SPDX-License-Identifier: Apache-2.0
//! The labels of the importer's image: what it is, of which sources, and where these are.

use std::collections::BTreeMap;
use std::process::Command;

use xtask::run::{self, checkout};

use super::definition::LABELS;

/// Where things are published. The repository names no address itself.
#[derive(Debug, Default)]
pub(crate) struct Addresses<'a> {
    pub(crate) source: Option<&'a str>,
    pub(crate) documentation: Option<&'a str>,
}

/// The commit of the checkout.
#[derive(Debug)]
pub(super) struct Commit {
    /// Its digits; `-modified` where the sources differ from it.
    pub(super) revision: String,
    /// When it was made, in UTC: the image of one commit has the same bytes whenever it is built.
    pub(super) time: String,
}

impl Commit {
    /// Asks Git; nothing where the sources are in no checkout of their own.
    pub(super) fn of_checkout() -> Option<Self> {
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            run::output(git.current_dir(checkout()).env("TZ", "UTC").args(arguments)).ok()
        };
        git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
        let text = git(&["log", "-1", "--format=%H %cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"])?;
        let (revision, time) = text.trim().split_once(' ')?;
        let is_modified = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let revision = if is_modified { format!("{revision}-modified") } else { revision.to_owned() };
        Some(Self { revision, time: time.to_owned() })
    }
}

/// All labels; what is not known has none.
pub(super) fn labels(commit: Option<&Commit>, addresses: &Addresses<'_>) -> BTreeMap<&'static str, String> {
    let known = [
        ("org.opencontainers.image.version", Some(env!("CARGO_PKG_VERSION"))),
        ("org.opencontainers.image.revision", commit.map(|commit| commit.revision.as_str())),
        ("org.opencontainers.image.created", commit.map(|commit| commit.time.as_str())),
        ("org.opencontainers.image.source", addresses.source),
        ("org.opencontainers.image.documentation", addresses.documentation),
    ];
    let known = known.into_iter().filter_map(|(label, value)| Some((label, value?)));
    LABELS.iter().copied().chain(known).map(|(label, value)| (label, value.to_owned())).collect()
}

/// An address that may be published: without credentials.
pub(super) fn url(text: &str) -> Result<String, String> {
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
        let few = labels(None, &Addresses::default());
        let has = |labels: &BTreeMap<&str, String>, name: &str| {
            labels.contains_key(format!("org.opencontainers.image.{name}").as_str())
        };
        for name in ["title", "description", "licenses", "version"] {
            assert!(has(&few, name), "{name}");
        }
        let more = ["revision", "created", "source", "documentation"];
        assert!(!more.iter().any(|name| has(&few, name)), "{few:?}");
        let commit = Commit { revision: "1".to_owned(), time: "2".to_owned() };
        let addresses = Addresses { source: Some("https://a"), documentation: Some("https://b") };
        let all = labels(Some(&commit), &addresses);
        assert!(more.iter().all(|name| has(&all, name)), "{all:?}");
    }

    #[test]
    fn the_time_of_a_commit_is_one_of_rfc_3339_in_utc() {
        // Sources from an archive have no commit.
        let Some(commit) = Commit::of_checkout() else { return };
        let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
        assert_eq!(commit.time.chars().map(shape).collect::<String>(), "0000-00-00T00:00:00Z");
        let digits = commit.revision.split('-').next().unwrap_or_default();
        assert!(matches!(digits.len(), 40 | 64), "{commit:?}");
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
