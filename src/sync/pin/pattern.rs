// SPDX-License-Identifier: Apache-2.0
//! Which tags are meant, by a pattern of their names.

use std::fmt;
use std::str::FromStr;

use crate::oci::reference::Reference;

/// Longest pattern.
const MAX_PATTERN: usize = 512;

/// A pattern of references with a tag: `*` stands for any characters, `?` for one. It matches `REGISTRY/REPOSITORY:TAG`,
/// or the end of that behind a `/`, so that `trivy-db:2` needs no registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPattern(String);

impl TagPattern {
    /// Whether the reference has a tag, and its name and tag match.
    pub fn matches(&self, reference: &Reference) -> bool {
        let Some(tag) = &reference.tag else { return false };
        let name = format!("{}:{tag}", reference.name());
        let ends = name.match_indices('/').filter_map(|(at, _)| name.get(at + 1..));
        std::iter::once(name.as_str()).chain(ends).any(|name| is_match(self.0.as_bytes(), name.as_bytes()))
    }
}

/// Whether all of `text` matches. Of several `*` only the last is tried again, which takes at most the product of both
/// lengths.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last `*` is, and the first character that it does not stand for.
    let mut star = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(expected) if expected == c => (p, t) = (p + 1, t + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == b'*')
}

impl FromStr for TagPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |c: char| c.is_ascii_graphic() && c != '@';
        if text.is_empty() || text.len() > MAX_PATTERN || !text.chars().all(is_allowed) {
            return Err("expected a pattern of NAME:TAG such as `trivy-db:2` or `*:latest`".to_owned());
        }
        // A registry may have a port; a tag is behind the last `/`.
        if !text.rsplit('/').next().unwrap_or_default().contains([':', '*']) {
            return Err(format!("`{text}` names no tag; for every tag write `{text}:*`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn patterns_match_names_with_tags_or_their_ends() {
        let matches = |pattern: &str, reference: &str| {
            pattern.parse::<TagPattern>().unwrap().matches(&reference.parse().unwrap())
        };
        let digest = format!("@sha256:{}", "a".repeat(64));
        let database = format!("ghcr.io/aquasecurity/trivy-db:2{digest}");
        for pattern in [
            "trivy-db:2",
            "aquasecurity/trivy-db:2",
            "ghcr.io/*:2",
            "trivy-*",
            "*",
            "*:?",
            "trivy-db:*",
            "**y-db:*2*",
        ] {
            assert!(matches(pattern, &database), "{pattern}");
        }
        for pattern in ["db:2", "trivy-db:22", "trivy-db:", "trivy-db:1", "ghcr.io:2", "*:2?", "ghcr.io/?:2"]
        {
            assert!(!matches(pattern, &database), "{pattern}");
        }
        assert!(matches("r.local:5000/app:*", "r.local:5000/app:1.0"));
        assert!(!matches("*", &format!("r.local/app{digest}")));
        assert!(!matches(&format!("{}b:1", "*a".repeat(200)), &format!("r.local/{}:1", "a".repeat(100))));
    }

    #[test]
    fn a_pattern_names_a_tag() {
        for wrong in ["", "trivy-db", "r.local:5000/app", "a b:1", "a:1@sha256:0", "ä:1"] {
            assert!(wrong.parse::<TagPattern>().is_err(), "{wrong}");
        }
    }
}
