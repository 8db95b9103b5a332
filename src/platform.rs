// SPDX-License-Identifier: Apache-2.0
//! Platforms of images: `os/architecture[/variant]` (OCI image-spec, "Image Index Specification").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A platform that a set asks for, or that an index states for a child.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system, as Go names it: `linux`, `windows`.
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
    /// Whether an image for `offered` runs where `self` is asked for. Without a variant every variant serves.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.variant == offered.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
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
    use super::*;

    #[test]
    fn platforms_read_print_and_match() {
        let parse = |text: &str| text.parse::<Platform>();
        let (arm, arm7) = (parse("linux/arm"), parse("linux/arm/v7"));
        let (Ok(arm), Ok(arm7)) = (arm, arm7) else { panic!("both are platforms") };
        assert_eq!(arm7.to_string(), "linux/arm/v7");
        assert!(arm.accepts(&arm7) && arm7.accepts(&arm7) && !arm7.accepts(&arm));
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/am d64"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let shown = parse("linux/\u{1b}[31m").map_err(|e| e.to_string());
        assert!(shown.is_err_and(|text| !text.contains('\u{1b}')), "T-84");
    }
}
