// SPDX-License-Identifier: Apache-2.0
use std::num::{NonZeroU64, NonZeroUsize};

use camino::Utf8PathBuf;
use clap::Args;
use krs_core::reference::RegistryHost;

/// How registries are reached.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArgs {
    /// Trust this CA (PEM) beside those of the system; may be repeated
    #[arg(long, value_name = "FILE", env = "KRS_CA_FILE")]
    pub(crate) ca_file: Vec<Utf8PathBuf>,
    /// Speak to this registry without TLS; may be repeated. Not needed on loopback
    #[arg(long, value_name = "HOST[:PORT]", env = "KRS_PLAIN_HTTP", value_delimiter = ',')]
    pub(crate) plain_http: Vec<RegistryHost>,
    /// Do not check the certificate of this registry; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", env = "KRS_INSECURE_REGISTRY", value_delimiter = ',')]
    pub(crate) insecure_registry: Vec<RegistryHost>,
    /// Take logins from this file alone (docker's config.json or podman's auth.json)
    #[arg(long, value_name = "FILE", env = "KRS_AUTHFILE")]
    pub(crate) authfile: Option<Utf8PathBuf>,
    /// Also send a registry's login to this token server, which is not of its domain; may be repeated
    #[arg(long, value_name = "HOST", env = "KRS_TOKEN_SERVER", value_delimiter = ',')]
    pub(crate) token_server: Vec<RegistryHost>,
    /// Transfers at once. Fewer than 6 also limit all connections to one registry to as many
    #[arg(long, value_name = "N", default_value = "6", env = "KRS_JOBS")]
    pub(crate) jobs: NonZeroUsize,
    /// Receive and send at most so many bytes in a second, all transfers together, e.g. 500kB, 8MB or 2MiB
    #[arg(long, value_name = "RATE", env = "KRS_BANDWIDTH_LIMIT", value_parser = rate)]
    pub(crate) bandwidth_limit: Option<NonZeroU64>,
    /// Begin a transfer anew that got no byte for so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", env = "KRS_STALL_TIMEOUT",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) stall_timeout: u64,
    /// How often a request that failed is tried again
    #[arg(long, value_name = "N", default_value = "5", env = "KRS_RETRIES",
        value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) retries: u32,
    /// How often requests that failed are tried again in the whole run; progress inside a blob is free
    #[arg(long, value_name = "N", default_value = "1000", env = "KRS_RETRY_BUDGET")]
    pub(crate) retry_budget: u32,
}

/// Bytes per second: a number with a decimal or binary unit, `/s` or not. Bits are not meant, so that `Mb` is refused.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bad = || {
        let shown = krs_core::redact::printable(text, 40);
        format!("`{shown}` is not a rate; write bytes per second as 500kB, 8MB or 2MiB")
    };
    let whole = text.trim().trim_end_matches("/s");
    let digits = whole.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(whole.len());
    let (number, unit) = whole.split_at(digits);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" | "k" => 1000,
        "MB" | "M" => 1_000_000,
        "GB" | "G" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    // Three digits after the point are more than anybody means.
    if part.is_empty() || part.len() > 3 {
        return Err(bad());
    }
    let thousandths = format!("{part:0<3}").parse::<u64>().map_err(|_| bad())?;
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(unit)).ok_or_else(bad)?;
    NonZeroU64::new(whole.checked_add(unit * thousandths / 1000).ok_or_else(bad)?).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_with_decimal_or_binary_units() {
        for (text, bytes) in [
            ("8MB", 8_000_000),
            ("500kB/s", 500_000),
            ("2MiB", 2 << 20),
            ("1.5 MB", 1_500_000),
            ("0.001kB", 1),
            ("1G", 1_000_000_000),
            ("64000", 64_000),
        ] {
            assert_eq!(rate(text).map(NonZeroU64::get), Ok(bytes), "{text}");
        }
        for wrong in
            ["", "0", "0MB", "8Mb", "8 Mbit", "-1MB", "1e6", "fast", "1.2345MB", ".", "1.", "99999999999GB"]
        {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
