// SPDX-License-Identifier: Apache-2.0
//! The site's policy and the importer's surroundings: one YAML file that the chart writes. Unknown fields are refused, so
//! that a misspelt rule is not a rule that silently does not hold.

mod pods;

use std::net::SocketAddr;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::files;
use krs_core::oci::reference::RegistryHost;
use krs_core::sync::receipt::SiteName;
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

pub use pods::{JobConfig, NO_SIDECAR_ANNOTATIONS, NO_SIDECAR_LABELS, Proxy, Variable};

/// Largest configuration that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// The configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The importer's own namespace.
    pub namespace: String,
    /// Namespaces whose sets are served; empty: all.
    #[serde(default)]
    pub watch_namespaces: Vec<String>,
    /// Edge registries that sets may name: `host[:port][/prefix]`, a `*.` in front of a host stands for one or more labels.
    /// Nothing is copied to any other.
    pub allowed_destinations: Vec<AllowedDestination>,
    /// What sets may say about the TLS of edge registries.
    #[serde(default, rename = "destinationTLS")]
    pub destination_tls: DestinationTlsPolicy,
    /// Copying directly from source registries.
    #[serde(default)]
    pub online: Online,
    /// Whether bundles that nobody signed are accepted.
    #[serde(default)]
    pub unsigned_bundles: bool,
    /// Folder with `*.pub` files of minisign: who may sign bundles.
    #[serde(default = "default::trusted_keys")]
    pub trusted_keys: Utf8PathBuf,
    /// This site, for bundles that are meant for some sites only.
    #[serde(default)]
    pub site: Option<String>,
    /// Whether bundles past their `notAfter` are refused; else they are reported only.
    #[serde(default)]
    pub enforce_expiry: bool,
    /// Whether images of bundles are copied for every namespace, whatever sets of the bundle list them, and blobs are
    /// linked from repositories of other namespaces.
    #[serde(default)]
    pub share_across_namespaces: bool,
    /// How often the content of present images is read back from the edge registry and hashed; none: only when asked.
    #[serde(default = "default::content_verify_interval", deserialize_with = "optional_interval")]
    pub content_verify_interval: Option<Duration>,
    /// How fast it is read, in MiB per second.
    #[serde(default = "default::content_verify_rate", rename = "contentVerifyMiBPerSecond")]
    pub content_verify_rate: u64,
    /// Whether the sets inside a verified bundle are applied to the cluster.
    #[serde(default)]
    pub apply_sets: bool,
    /// The drop folder.
    #[serde(default)]
    pub intake: IntakeConfig,
    /// The receipts of the site.
    #[serde(default)]
    pub receipts: ReceiptConfig,
    /// The registry that copy Jobs read bundles from.
    pub registry: RegistryConfig,
    /// The copy Jobs.
    pub jobs: JobConfig,
    /// Where health, readiness and metrics are served.
    #[serde(default = "default::http")]
    pub http: SocketAddr,
}

/// What sets may say about the TLS of edge registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DestinationTlsPolicy {
    /// Whether they may have TLS left out.
    #[serde(rename = "allowPlainHTTP")]
    pub allow_plain_http: bool,
    /// Whether they may have certificates left unchecked.
    #[serde(rename = "allowInsecureSkipVerify")]
    pub allow_insecure_skip_verify: bool,
}

impl Default for DestinationTlsPolicy {
    fn default() -> Self {
        Self { allow_plain_http: true, allow_insecure_skip_verify: true }
    }
}

/// An edge registry that sets may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AllowedDestination {
    /// Sets of all namespaces.
    Any(String),
    /// Sets of these namespaces only.
    Of {
        /// The registry, as for all namespaces.
        registry: String,
        /// At least one.
        namespaces: Vec<String>,
    },
}

impl<'de> Deserialize<'de> for AllowedDestination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DestinationVisitor)
    }
}

/// Says what is wrong with an entry in place of "no variant fits".
struct DestinationVisitor;

impl<'de> de::Visitor<'de> for DestinationVisitor {
    type Value = AllowedDestination;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("host[:port][/prefix], or {registry: host[:port][/prefix], namespaces: [...]}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(AllowedDestination::Any(text.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            registry: String,
            namespaces: Vec<String>,
        }
        let Fields { registry, namespaces } =
            Fields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        if namespaces.is_empty() {
            let why = format!("no namespace may use {registry}: name at least one, or leave the entry out");
            return Err(de::Error::custom(why));
        }
        Ok(AllowedDestination::Of { registry, namespaces })
    }
}

/// Copying directly from source registries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Online {
    /// Whether it is allowed at all.
    pub enabled: bool,
    /// Source registries that may be read from, `host[:port][/prefix]`; at least one where it is allowed: the author of a
    /// set must not choose whom the importer talks to, and sends credentials to.
    pub allowed_sources: Vec<String>,
    /// Source registries that are spoken to without TLS.
    #[serde(rename = "plainHTTP")]
    pub plain_http: Vec<RegistryHost>,
    /// A proxy on the way to them.
    pub proxy: Proxy,
}

/// The drop folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// Where it is mounted. It and the folders right below it are searched.
    pub folder: Utf8PathBuf,
    /// How often it is scanned.
    #[serde(deserialize_with = "interval")]
    pub scan_interval: Duration,
    /// Whether a bundle is read to its end before anything is copied from it.
    pub check_first: bool,
    /// How long an ImageBundle is kept after its file went away.
    #[serde(deserialize_with = "interval")]
    pub keep: Duration,
}

/// The receipts of the site.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReceiptConfig {
    /// Whether they are written to the media with bundles, too.
    pub to_media: bool,
    /// Where the drop folder is mounted for that: nothing else is written through this mount.
    pub folder: Utf8PathBuf,
}

impl Default for ReceiptConfig {
    fn default() -> Self {
        Self { to_media: false, folder: "/receipts".into() }
    }
}

/// The registry that copy Jobs read bundles from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryConfig {
    /// Where it listens.
    #[serde(default = "default::registry")]
    pub listen: SocketAddr,
    /// How Jobs reach it: `krs-importer.krs-system.svc:5443`. The certificate names this host.
    pub host: RegistryHost,
}

mod default {
    use std::net::{Ipv6Addr, SocketAddr};
    use std::time::Duration;

    use camino::Utf8PathBuf;

    pub(super) fn trusted_keys() -> Utf8PathBuf {
        "/etc/krs/keys".into()
    }

    pub(super) fn http() -> SocketAddr {
        (Ipv6Addr::UNSPECIFIED, 8080).into()
    }

    pub(super) fn registry() -> SocketAddr {
        (Ipv6Addr::UNSPECIFIED, 5443).into()
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
    pub(super) const fn content_verify_interval() -> Option<Duration> {
        Some(Duration::from_secs(30 * 24 * 3600))
    }

    pub(super) const fn content_verify_rate() -> u64 {
        8
    }
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            folder: "/bundles".into(),
            scan_interval: Duration::from_secs(5),
            check_first: false,
            keep: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

fn optional_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { interval(de::value::StrDeserializer::new(&text)).map(Some) }
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bad = || de::Error::custom(format!("`{text}` is no duration: expected 30s, 10m or 1h30m"));
    let duration = text.parse::<jiff::SignedDuration>().map_err(|_| bad())?;
    Duration::try_from(duration).ok().filter(|duration| *duration >= Duration::from_secs(1)).ok_or_else(bad)
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
    /// The file is not acceptable.
    #[error("the configuration {path} is not acceptable: {detail}")]
    Content {
        path: Utf8PathBuf,
        /// What is wrong, with the path of its field.
        detail: String,
    },
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Utf8Path) -> Result<Self, ConfigError> {
        let text = std::fs::File::open(path).and_then(|file| files::read_to_string(file, MAX_CONFIG));
        let text = text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|detail| ConfigError::Content { path: path.to_owned(), detail })
    }

    /// The name of the site as receipts have it; `None`: the site has no name, and writes no receipts.
    pub fn site_name(&self) -> Option<Result<SiteName, String>> {
        self.site.as_deref().map(str::parse)
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// What is wrong, with the path of its field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if config.allowed_destinations.is_empty() {
            return Err(
                "allowedDestinations is empty, so nothing could ever be copied: name the edge registry"
                    .to_owned(),
            );
        }
        if config.online.enabled && config.online.allowed_sources.is_empty() {
            return Err(
                "online.enabled needs online.allowedSources: name the registries that sets may copy from"
                    .to_owned(),
            );
        }
        config.online.proxy.check()?;
        pods::check(&config.jobs)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LEAST: &str = "namespace: krs-system\nallowedDestinations: [edge.local:5000]\n\
        registry: {host: 'krs-importer.krs-system.svc:5443'}\njobs: {image: 'krs-importer:1'}\n";

    #[test]
    fn what_is_left_out_is_on_the_safe_side() {
        let config = Config::parse(LEAST).unwrap();
        assert!(!config.unsigned_bundles && !config.online.enabled && !config.share_across_namespaces);
        assert!(!config.apply_sets);
        assert_eq!(config.intake.scan_interval, Duration::from_secs(5));
    }

    #[test]
    fn a_misspelt_rule_is_refused() {
        let error = Config::parse(&format!("{LEAST}unsignedBundle: true\n")).unwrap_err();
        assert!(error.contains("unsignedBundle"), "{error}");
        let error = Config::parse(&LEAST.replace("[edge.local:5000]", "[]")).unwrap_err();
        assert!(error.contains("allowedDestinations"), "{error}");
        assert!(
            Config::parse(&format!("{LEAST}intake: {{scanInterval: soon}}\n")).unwrap_err().contains("soon")
        );
    }

    #[test]
    fn t145_copying_from_source_registries_needs_to_say_which() {
        let error = Config::parse(&format!("{LEAST}online: {{enabled: true}}\n")).unwrap_err();
        assert!(error.contains("online.allowedSources"), "{error}");
        let config = format!("{LEAST}online: {{enabled: true, allowedSources: [quay.io]}}\n");
        assert!(Config::parse(&config).unwrap().online.enabled);
        assert!(Config::parse(&format!("{LEAST}online: {{allowedSources: []}}\n")).is_ok());
    }

    #[test]
    fn t146_a_destination_names_the_namespaces_that_may_use_it() {
        let parse = |entry: &str| Config::parse(&LEAST.replace("edge.local:5000", entry));
        let config = parse("open.local, {registry: edge.local/shop, namespaces: [shop]}").unwrap();
        let of = AllowedDestination::Of {
            registry: "edge.local/shop".to_owned(),
            namespaces: vec!["shop".to_owned()],
        };
        assert_eq!(config.allowed_destinations, [AllowedDestination::Any("open.local".to_owned()), of]);
        for (entry, message) in [
            ("{registry: edge.local, namespaces: []}", "name at least one"),
            ("{registry: edge.local}", "namespaces"),
            ("{registry: edge.local, namespace: [shop]}", "namespace"),
            ("[edge.local]", "host[:port][/prefix]"),
        ] {
            let error = parse(entry).unwrap_err();
            assert!(error.contains(message), "{entry}: {error}");
        }
    }
}
