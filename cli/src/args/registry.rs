// SPDX-License-Identifier: Apache-2.0
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Args;
use jiff::SignedDuration;
use krs_core::oci::reference::RegistryHost;

use super::size;

/// How registries are reached.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArgs {
    /// Trust this CA certificate (PEM) in addition to those of the system; may be repeated
    #[arg(long, value_name = "FILE", env = "KRS_CA_FILE")]
    pub(crate) ca_file: Vec<Utf8PathBuf>,
    /// Connect to this registry without TLS; may be repeated. Not needed on loopback
    #[arg(long, value_name = "HOST[:PORT]", env = "KRS_PLAIN_HTTP", value_delimiter = ',')]
    pub(crate) plain_http: Vec<RegistryHost>,
    /// Do not check the certificate of this registry; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", env = "KRS_INSECURE_REGISTRY", value_delimiter = ',')]
    pub(crate) insecure_registry: Vec<RegistryHost>,
    /// Read credentials from this file only (docker's config.json or podman's auth.json)
    #[arg(long, value_name = "FILE", env = "KRS_AUTHFILE")]
    pub(crate) authfile: Option<Utf8PathBuf>,
    /// Also send a registry's credentials to this token server, which is outside its domain; may be repeated
    #[arg(long, value_name = "HOST", env = "KRS_TOKEN_SERVER", value_delimiter = ',')]
    pub(crate) token_server: Vec<RegistryHost>,
    /// Follow a redirect from TLS to this host without TLS, such as a registry's storage; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", env = "KRS_ALLOW_HTTP_REDIRECT", value_delimiter = ',')]
    pub(crate) allow_http_redirect: Vec<RegistryHost>,
    /// Transfers at once. Fewer than 6 also limit all connections to one registry to as many
    #[arg(short = 'j', long, value_name = "N", default_value = "6", env = "KRS_JOBS")]
    pub(crate) jobs: NonZeroUsize,
    /// Maximum bytes per second received and sent, of all transfers together, e.g. 500kB, 8MB or 2MiB
    #[arg(long, value_name = "RATE", env = "KRS_BANDWIDTH_LIMIT", value_parser = rate)]
    pub(crate) bandwidth_limit: Option<NonZeroU64>,
    /// Restart a transfer that received no byte for this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", env = "KRS_STALL_TIMEOUT",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) stall_timeout: u64,
    /// How often a failed request is retried
    #[arg(long, value_name = "N", default_value = "5", env = "KRS_RETRIES",
        value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) retries: u32,
    /// How many retries one run has, of all requests together; resuming a blob after progress does not count
    #[arg(long, value_name = "N", default_value = "1000", env = "KRS_RETRY_BUDGET")]
    pub(crate) retry_budget: u32,
    /// Total time that one run waits for registries that limit the rate of requests, e.g. 90s, 30m or 2h
    #[arg(long, value_name = "DURATION", default_value = "1h", env = "KRS_MAX_WAIT", value_parser = duration)]
    pub(crate) max_wait: Duration,
}

/// A duration such as `90s`, `30m` or `1h 30m`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()));
    let duration = seconds.or_else(|| Duration::try_from(text.parse::<SignedDuration>().ok()?).ok());
    duration.ok_or_else(|| "expected a duration such as 90s, 30m or 2h".to_owned())
}

/// Bytes per second: a number with a decimal or binary unit, `/s` or not.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bytes = size::bytes(text.trim().trim_end_matches("/s"))?;
    NonZeroU64::new(bytes).ok_or_else(|| "a rate of 0 transfers nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_are_seconds_without() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1800), ("1h", 3600), ("1h 30m", 5400), ("0", 0), ("45", 45)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "-1s", "-5", "soon", "1 fortnight"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_bytes_with_decimal_or_binary_units() {
        assert_eq!(rate("8MB").map(NonZeroU64::get), Ok(8_000_000));
        assert_eq!(rate("500kB/s").map(NonZeroU64::get), Ok(500_000));
        for wrong in ["", "0", "8 Mbit", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
