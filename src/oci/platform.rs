// SPDX-License-Identifier: Apache-2.0
//! Platforms of images: `os/architecture[/variant]` (OCI image-spec, "Image Index Specification"), and which image
//! runs where. The rules are those of containerd (github.com/containerd/platforms, `Normalize` and `Only`), because nodes
//! choose by these rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A platform that a set requests, or that an index states for a child. It keeps the spelling it was written in;
/// [`Platform::canonical`] and [`Platform::rank`] compare across spellings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system, as Go names it: `linux`, `windows`. Empty if an index states none: any.
    pub os: String,
    /// Processor architecture, as Go names it: `amd64`, `arm64`.
    pub architecture: String,
    /// Variant of the architecture, e.g. `v7` of `arm`.
    pub variant: Option<String>,
}

/// The text is not `os/architecture[/variant]`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("platform `{0}` is not of the form os/architecture[/variant], for example linux/amd64")]
pub struct ParsePlatformError(String);

impl Platform {
    /// The canonical spelling of this platform: `aarch64` is `arm64`, `x86_64` is `amd64`, `arm` is `arm/v7`, and a variant
    /// that every processor of the architecture has (`arm64/v8`, `amd64/v1`) is left out.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let lower = |text: &str| text.to_ascii_lowercase();
        let os = match lower(&self.os).as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = lower(&self.architecture);
        let variant = self.variant.as_deref().map(lower).filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("i386" | "386", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", Some(_)) => ("amd64", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8" | "v8.0")) => ("arm64", None),
            ("aarch64" | "arm64", Some("9" | "v9.0")) => ("arm64", Some("v9".to_owned())),
            ("aarch64", Some(_)) => ("arm64", variant),
            ("armhf", _) | ("arm", None) => ("arm", Some("v7".to_owned())),
            ("armel", _) => ("arm", Some("v6".to_owned())),
            ("arm", Some(number @ ("5" | "6" | "7" | "8"))) => ("arm", Some(format!("v{number}"))),
            (other, _) => (other, variant),
        };
        Self { os, architecture: architecture.to_owned(), variant }
    }

    /// How well an image for `offered` runs on `self`: 0 is the best; `None`: it does not run there.
    pub fn rank(&self, offered: &Self) -> Option<usize> {
        let offered = offered.canonical();
        self.runs().iter().position(|runs| {
            (offered.os.is_empty() || offered.os == runs.os)
                && offered.architecture == runs.architecture
                && offered.variant == runs.variant
        })
    }

    /// The platforms whose images run on this one, the best first, in canonical form: itself, lower variants, and the 32-bit
    /// architecture that the processor runs too.
    fn runs(&self) -> Vec<Self> {
        let own = self.canonical();
        let other = |architecture: &str, variant: Option<String>| {
            Self { os: own.os.clone(), architecture: architecture.to_owned(), variant }.canonical()
        };
        let variants = |architecture: &'static str, range: std::ops::Range<u8>| {
            let named = range.rev().map(|version| format!("v{version}"));
            named.map(|variant| other(architecture, Some(variant))).collect::<Vec<_>>()
        };
        let version = own.variant.as_deref().and_then(version);
        let mut runs = vec![own.clone()];
        match (own.architecture.as_str(), version) {
            ("amd64", version) => {
                if let Some((major @ 2..=9, 0)) = version {
                    runs.extend(variants("amd64", 1..major));
                }
                runs.push(other("386", None));
            }
            ("arm", Some((major @ 6..=9, 0))) => runs.extend(variants("arm", 5..major)),
            ("arm64", version) => {
                let minors = |major: u8, range: std::ops::Range<u8>| {
                    let named = range.rev().map(move |minor| format!("v{major}.{minor}"));
                    named.map(|variant| other("arm64", Some(variant))).collect::<Vec<_>>()
                };
                match version.unwrap_or((8, 0)) {
                    (8, minor @ 0..=9) => runs.extend(minors(8, 0..minor)),
                    // Armv9.N has all that Armv8.(N + 5) has.
                    (9, minor @ 0..=9) => {
                        runs.extend(minors(9, 0..minor));
                        runs.extend(minors(8, 0..minor + 6));
                    }
                    _ => {}
                }
                runs.extend(variants("arm", 5..9));
            }
            ("arm" | "386", _) => {}
            // Other architectures have no order of variants that every node agrees on.
            _ if own.variant.is_some() => runs.push(Self { variant: None, ..own }),
            _ => {}
        }
        runs
    }
}

/// Major and minor number of a variant such as `v7` or `v8.2`.
fn version(variant: &str) -> Option<(u8, u8)> {
    let numbers = variant.strip_prefix('v')?;
    let (major, minor) = numbers.split_once('.').unwrap_or((numbers, "0"));
    let digit = |text: &str| (text.len() == 1).then(|| text.parse::<u8>().ok()).flatten();
    Some((digit(major)?, digit(minor)?))
}

/// The platforms of `requested` that no platform of `listed` can stand for.
pub(crate) fn unmatched(requested: &[Platform], listed: &[Platform]) -> Vec<Platform> {
    requested
        .iter()
        .filter(|platform| listed.iter().all(|other| platform.rank(other).is_none()))
        .cloned()
        .collect()
}

/// `platforms` as a message lists them, each once.
pub fn list<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> String {
    let mut shown = Vec::<String>::new();
    for platform in platforms {
        let text = platform.to_string();
        if !shown.contains(&text) {
            shown.push(text);
        }
    }
    shown.join(", ")
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.os.is_empty() {
            write!(f, "{}/", self.os)?;
        }
        f.write_str(&self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParsePlatformError(crate::redact::printable(text, 80));
        let part = |part: Option<&str>| {
            let part = part.ok_or_else(bad)?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            if part.is_empty() || part.len() > 20 || !part.bytes().all(plain) {
                return Err(bad());
            }
            Ok(part.to_owned())
        };
        let mut parts = text.split('/');
        let (os, architecture) = (part(parts.next())?, part(parts.next())?);
        let variant = parts.next().map(|v| part(Some(v))).transpose()?;
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { os, architecture, variant })
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn platforms_read_and_print() {
        assert_eq!(parse("linux/arm/v7").to_string(), "linux/arm/v7");
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        let shown = "linux/\u{1b}[31m".parse::<Platform>().map_err(|e| e.to_string());
        assert!(shown.is_err_and(|text| !text.contains('\u{1b}')), "T-84");
    }

    #[test]
    fn t93_one_platform_has_one_canonical_spelling() {
        for (written, canonical) in [
            ("linux/arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/x86-64/v3", "linux/amd64/v3"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/i386", "linux/386"),
            ("Linux/AMD64", "linux/amd64"),
            ("macos/aarch64", "darwin/arm64"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(parse(written).canonical().to_string(), canonical, "{written}");
            assert_eq!(parse(canonical).canonical(), parse(canonical), "{canonical}");
        }
    }

    #[test]
    fn t93_what_runs_on_a_platform_is_ordered_as_containerd_orders_it() {
        let runs = |requested: &str| list(&parse(requested).runs()).replace("linux/", "");
        assert_eq!(runs("linux/amd64"), "amd64, 386");
        assert_eq!(runs("linux/amd64/v3"), "amd64/v3, amd64/v2, amd64, 386");
        assert_eq!(runs("linux/arm"), "arm/v7, arm/v6, arm/v5");
        assert_eq!(runs("linux/arm/v8"), "arm/v8, arm/v7, arm/v6, arm/v5");
        assert_eq!(runs("linux/arm/v5"), "arm/v5");
        assert_eq!(runs("linux/arm64"), "arm64, arm/v8, arm/v7, arm/v6, arm/v5");
        assert_eq!(runs("linux/arm64/v8.2"), "arm64/v8.2, arm64/v8.1, arm64, arm/v8, arm/v7, arm/v6, arm/v5");
        assert!(
            runs("linux/arm64/v9.1").starts_with("arm64/v9.1, arm64/v9, arm64/v8.6, arm64/v8.5, arm64/v8.4")
        );
        assert_eq!(runs("linux/riscv64/rva22u64"), "riscv64/rva22u64, riscv64");
        assert_eq!(runs("linux/s390x"), "s390x");
        for odd in
            ["linux/amd64/v99", "linux/arm64/v8.99", "linux/arm/vx", "linux/arm/v", "linux/amd64/\u{e9}"]
        {
            if let Ok(odd) = odd.parse::<Platform>() {
                assert!(odd.runs().len() < 20, "{odd}");
            }
        }
    }

    #[test]
    fn t93_an_image_runs_on_its_platform_in_any_spelling_and_on_higher_variants() {
        let rank = |requested: &str, offered: &str| parse(requested).rank(&parse(offered));
        for (requested, offered) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm/v7", "linux/arm"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/amd64/v1", "linux/x86_64"),
        ] {
            assert_eq!(rank(requested, offered), Some(0), "{requested} {offered}");
        }
        assert!(rank("linux/arm/v7", "linux/arm/v6") < rank("linux/arm/v7", "linux/arm/v5"));
        for (requested, offered) in [
            ("linux/arm/v6", "linux/arm/v7"),
            ("linux/amd64", "linux/amd64/v3"),
            ("linux/386", "linux/amd64"),
            ("linux/amd64", "windows/amd64"),
        ] {
            assert_eq!(rank(requested, offered), None, "{requested} {offered}");
        }
        let any = Platform { os: String::new(), ..parse("linux/amd64") };
        assert_eq!((parse("windows/amd64").rank(&any), parse("linux/arm64").rank(&any)), (Some(0), None));
    }
}
