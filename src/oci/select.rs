// SPDX-License-Identifier: Apache-2.0
//! Which children of an index are selected by a choice of platforms.

use std::collections::HashSet;

use super::descriptor::Descriptor;
use super::manifest::Index;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;

/// A choice of platforms, and how children are matched with it.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Requested platforms; empty: all children.
    pub platforms: &'a [Platform],
    /// How children are matched.
    pub matching: Matching,
}

/// How the children of an index are matched with the requested platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matching {
    /// For each platform, the children that run on it best ([`Platform::rank`]).
    #[default]
    Best,
    /// The rule of krs 0.1, for its bundles: texts are compared, and a platform without a variant matches every variant.
    Literal,
}

impl<'a> From<&'a [Platform]> for Choice<'a> {
    fn from(platforms: &'a [Platform]) -> Self {
        Self { platforms, matching: Matching::Best }
    }
}

impl Choice<'_> {
    /// Which of `children` are selected by the platforms that they state.
    fn matches(&self, children: &[(&Descriptor, Platform)]) -> HashSet<Digest> {
        let mut taken = HashSet::new();
        for requested in self.platforms {
            let rank = |offered: &Platform| match self.matching {
                Matching::Best => requested.rank(offered),
                Matching::Literal => {
                    let variant = requested.variant.is_none() || requested.variant == offered.variant;
                    let same = requested.os == offered.os && requested.architecture == offered.architecture;
                    (same && variant).then_some(0)
                }
            };
            let ranks = children.iter().filter_map(|(child, offered)| Some((rank(offered)?, child.digest)));
            let ranks = ranks.collect::<Vec<_>>();
            // Several may be equally good: versions of Windows, or one platform in two compressions.
            let best = ranks.iter().map(|(rank, _)| *rank).min();
            taken.extend(ranks.iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, digest)| *digest));
        }
        taken
    }
}

/// Selects the children of an index. A child without a platform is always selected, and an attestation is selected with
/// the child that it describes. Without requested platforms, all children are selected.
pub fn select<'a>(index: &'a Index, choice: Choice<'_>) -> Vec<&'a Descriptor> {
    if choice.platforms.is_empty() {
        return index.manifests.iter().collect();
    }
    let stated = index.manifests.iter().filter_map(|child| Some((child, child.runs_on()?)));
    let mut taken = choice.matches(&stated.collect::<Vec<_>>());
    let unstated = index.manifests.iter().filter(|child| child.runs_on().is_none());
    taken.extend(unstated.filter(|child| child.attests().is_none()).map(|child| child.digest));
    let travels = |child: &&Descriptor| {
        taken.contains(&child.digest) || child.attests().is_some_and(|subject| taken.contains(&subject))
    };
    index.manifests.iter().filter(travels).collect()
}

impl Index {
    /// How a message names a child: by its platform, or by what it describes.
    pub fn name_of(&self, child: &Descriptor) -> String {
        let platform_of = |digest: Digest| {
            let described = self.manifests.iter().find(|other| other.digest == digest);
            described.and_then(Descriptor::runs_on)
        };
        match (child.attests(), child.runs_on()) {
            (Some(subject), _) => platform_of(subject)
                .map_or_else(|| format!("attestation of {subject}"), |of| format!("attestation of {of}")),
            (None, Some(platform)) => format!("image for {platform}"),
            (None, None) if child.is_attestation() => "attestation".to_owned(),
            (None, None) => format!("entry of type {}", crate::redact::printable(&child.media_type, 100)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::oci::manifest::ManifestOrIndex;
    use crate::oci::media_type::{OCI_INDEX, OCI_MANIFEST};

    /// An index of children with these platforms; what stands after a `>` describes the child at that position.
    fn index(children: &[&str]) -> Index {
        let digest = |n: usize| Digest::of(&[u8::try_from(n).unwrap()]);
        let entry = |(n, text): (usize, &&str)| {
            let more = match text.strip_prefix('>') {
                Some(of) => format!(
                    r#"{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.digest":"{}"}}"#,
                    digest(of.parse().unwrap())
                ),
                None if text.is_empty() => "null".to_owned(),
                None => {
                    let mut parts = text.split('/');
                    let (os, arch) = (parts.next().unwrap(), parts.next().unwrap());
                    let variant = parts.next().map_or(String::new(), |v| format!(r#","variant":"{v}""#));
                    format!(r#"{{"os":"{os}","architecture":"{arch}"{variant}}}"#)
                }
            };
            format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1,"platform":{more}}}"#, digest(n))
        };
        let children = children.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{children}]}}"#);
        match ManifestOrIndex::parse(OCI_INDEX, text.as_bytes()).unwrap() {
            ManifestOrIndex::Index(index) => index,
            ManifestOrIndex::Manifest(_) => panic!("it is an index"),
        }
    }

    fn chosen(children: &[&str], requested: &[&str], matching: Matching) -> Vec<usize> {
        let index = index(children);
        let platforms = requested.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let taken = select(&index, Choice { platforms: &platforms, matching });
        let taken = taken.iter().map(|child| index.manifests.iter().position(|c| c.digest == child.digest));
        taken.map(Option::unwrap).collect()
    }

    #[test]
    fn t93_the_best_match_for_each_platform_travels() {
        let best = |children: &[&str], requested: &[&str]| chosen(children, requested, Matching::Best);
        let arm = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8", "linux/386"];
        assert_eq!(best(&arm, &["linux/arm"]), [1]);
        assert_eq!(best(&arm, &["linux/arm/v6", "linux/aarch64"]), [2, 3]);
        assert_eq!(best(&arm, &["linux/amd64"]), [4], "as a node would take it");
        assert_eq!(best(&arm[..3], &["linux/arm64"]), [1]);
        let amd = ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"];
        assert_eq!(best(&amd, &["linux/amd64/v3"]), [1]);
        assert_eq!(best(&amd, &["linux/amd64"]), [0]);
        // Two versions of Windows look the same here, so both are selected.
        assert_eq!(best(&["windows/amd64", "linux/amd64", "windows/amd64"], &["windows/amd64"]), [0, 2]);
        assert_eq!(best(&["", "linux/amd64", "linux/arm64"], &["linux/arm64"]), [0, 2]);
        assert!(best(&amd, &["linux/riscv64"]).is_empty());
    }

    #[test]
    fn attestations_travel_with_what_they_describe() {
        let children = ["linux/amd64", "linux/arm64", ">0", ">1"];
        assert_eq!(chosen(&children, &["linux/arm64/v8"], Matching::Best), [1, 3]);
        assert_eq!(chosen(&children, &[], Matching::Best), [0, 1, 2, 3]);
    }

    #[test]
    fn t93_bundles_of_krs_0_1_are_read_by_its_own_rule() {
        let children = ["linux/arm/v5", "linux/arm/v7", "linux/arm64/v8"];
        assert_eq!(chosen(&children, &["linux/arm"], Matching::Literal), [0, 1]);
        assert!(chosen(&children, &["linux/aarch64"], Matching::Literal).is_empty());
    }

    #[test]
    fn t98_children_are_named_by_what_they_are_for() {
        let index = index(&["linux/arm64", ">0", ">9", ""]);
        let names = index.manifests.iter().map(|child| index.name_of(child)).collect::<Vec<_>>();
        assert_eq!(names[..2], ["image for linux/arm64", "attestation of linux/arm64"]);
        assert!(
            names[2].starts_with("attestation of sha256:")
                && names[3].starts_with("entry of type application/")
        );
    }
}
