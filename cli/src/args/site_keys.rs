// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::str::FromStr;

use camino::Utf8PathBuf;
use clap::Args;
use krs_core::sync::receipt::SiteName;

use super::variables::TRUST;

/// Keys that receipts of sites are verified with.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SiteKeyFiles {
    /// Public key of sites, to verify receipts; may be repeated. With SITE= it signs for that site only, and no other key
    /// does. A signature that does not fit is refused; a key that is not named costs a warning
    #[arg(long = "site-key", value_name = "[SITE=]FILE", env = "KRS_SITE_KEY", help_heading = TRUST)]
    pub(crate) files: Vec<SiteKeyFile>,
}

/// The file of a site's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SiteKeyFile {
    /// The only site that the key signs for; `None`: any.
    pub(crate) site: Option<SiteName>,
    /// The file.
    pub(crate) file: Utf8PathBuf,
}

impl fmt::Display for SiteKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "{site}={}", self.file),
            None => self.file.fmt(f),
        }
    }
}

impl FromStr for SiteKeyFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (site, file) = match text.split_once('=') {
            // A path may have a `=`, the name of a site may not have a `/`.
            Some((site, file)) if !site.contains('/') => (Some(site.parse()?), file),
            _ => (None, text),
        };
        if file.is_empty() {
            return Err("no file is named: expected FILE or SITE=FILE".to_owned());
        }
        Ok(Self { site, file: file.into() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_may_be_bound_to_a_site() {
        let parse = |text: &str| text.parse::<SiteKeyFile>();
        let bound = parse("berlin=keys/berlin.pub").unwrap();
        assert_eq!((bound.site.unwrap().as_str(), bound.file.as_str()), ("berlin", "keys/berlin.pub"));
        assert_eq!(parse("keys/all.pub").unwrap().site, None);
        assert_eq!(parse("keys/a=b.pub").unwrap().file, "keys/a=b.pub");
        assert!(parse("berlin=").is_err() && parse("").is_err() && parse("=x").is_err());
    }
}
