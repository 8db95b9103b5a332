// SPDX-License-Identifier: Apache-2.0
//! A platform as indexes and configs write it.

use serde::Deserialize;

use crate::oci::platform::Platform;

/// A platform as an index or the config of an image writes it. Attestations say `unknown`; some tools write `{}`, empty
/// text or null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StatedPlatform {
    #[serde(default)]
    pub(super) os: Option<String>,
    #[serde(default)]
    pub(super) architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
}

impl StatedPlatform {
    /// The platform, if one is stated and it is not `unknown`. Without an architecture nothing is stated; without an
    /// operating system it is any (see [`Platform::os`]).
    pub fn platform(&self) -> Option<Platform> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (os, architecture) = (given(&self.os).unwrap_or_default(), given(&self.architecture)?);
        (!self.is_unknown()).then(|| Platform { os, architecture, variant: given(&self.variant) })
    }

    /// Whether it is stated as `unknown`.
    pub fn is_unknown(&self) -> bool {
        let unknown = |text: &Option<String>| text.as_deref() == Some("unknown");
        unknown(&self.os) || unknown(&self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t97_a_platform_is_what_is_stated_of_it() {
        for (text, expected) in [
            (r#"{"os":"linux","architecture":"arm","variant":"v7","rootfs":{}}"#, Some("linux/arm/v7")),
            (r#"{"os":"linux","architecture":"amd64","variant":""}"#, Some("linux/amd64")),
            (r#"{"os":null,"architecture":"amd64","variant":null}"#, Some("amd64")),
            (r#"{"os":"linux"}"#, None),
            (r#"{"os":"unknown","architecture":"amd64"}"#, None),
            (r#"{"os":"linux","architecture":"unknown"}"#, None),
            ("{}", None),
        ] {
            let config = serde_json::from_str::<StatedPlatform>(text).ok();
            let platform = config.and_then(|config| config.platform()).map(|platform| platform.to_string());
            assert_eq!(platform.as_deref(), expected, "{text}");
        }
    }
}
