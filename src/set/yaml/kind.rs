// SPDX-License-Identifier: Apache-2.0
//! The kind of a YAML document, by its `apiVersion` and `kind`.

use super::outline::Header;
use super::position::Position;
use crate::crd::{API_VERSION, GROUP, KIND};
use crate::set::files::read::PROJECT;

/// The kind of a YAML document.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::set) enum DocumentKind {
    /// A set of this API version.
    Set,
    /// A list, which may contain sets.
    List,
    /// An `EdgeImageSet` of another project's group.
    Foreign(String),
    /// Another resource.
    Other,
    /// Probably meant to be a set, but invalid.
    Wrong(Position, String),
}

pub(in crate::set) fn classify(header: &Header) -> DocumentKind {
    let start = Position { line: 1, column: 1, length: 1 };
    let (version, kind) = (header.api_version.as_ref(), header.kind.as_ref());
    let version_text = version.map(|version| version.value.as_str());
    let ours = version_text.is_some_and(|version| group(version) == GROUP);
    // A group that no other project can have.
    let may_be_ours = version_text.is_none_or(|version| ours || is_near_group(group(version)));
    match kind {
        Some(kind) if kind.value == KIND => match version {
            Some(version) if version.value == API_VERSION => DocumentKind::Set,
            Some(version) if may_be_ours => DocumentKind::Wrong(
                version.position,
                format!("apiVersion `{}` is not supported; expected {API_VERSION}", version.value),
            ),
            Some(version) => DocumentKind::Foreign(version.value.clone()),
            None => {
                DocumentKind::Wrong(kind.position, format!("apiVersion is missing; expected {API_VERSION}"))
            }
        },
        Some(kind) if kind.value == "List" || kind.value == LIST_KIND => DocumentKind::List,
        Some(kind) if ours && [BUNDLE_KIND, BUNDLE_LIST_KIND].contains(&kind.value.as_str()) => {
            DocumentKind::Other
        }
        Some(kind) if may_be_ours && is_near_kind(&kind.value) => DocumentKind::Wrong(
            kind.position,
            format!("kind `{}` is not known; did you mean {KIND}?", kind.value),
        ),
        Some(kind) if ours => DocumentKind::Wrong(
            kind.position,
            format!("kind `{}` is not known; {GROUP} has the kinds {KIND} and {BUNDLE_KIND}", kind.value),
        ),
        None if ours => DocumentKind::Wrong(
            version.map_or(start, |version| version.position),
            format!("kind is missing; expected {KIND}"),
        ),
        _ => DocumentKind::Other,
    }
}

/// Kind of a list of sets.
pub(in crate::set) const LIST_KIND: &str = "EdgeImageSetList";
/// The other kind of the group, and that of a list of it. They contain no images to bundle.
const BUNDLE_KIND: &str = "ImageBundle";
const BUNDLE_LIST_KIND: &str = "ImageBundleList";

/// The group of an `apiVersion`; empty for Kubernetes' own group, which has no such kind.
fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether a group is this project's, misspelt, or none at all.
fn is_near_group(group: &str) -> bool {
    group.is_empty() || group.contains(PROJECT) || is_near(group, GROUP)
}

/// Whether a kind is [`KIND`], misspelt: `EdgeImageSets`, `EdgeImage`, `edgeimageset`, `EdgeImage-Set`.
pub(in crate::set) fn is_near_kind(kind: &str) -> bool {
    let letters = kind.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    is_near(&letters, KIND) || letters.starts_with("edgeimage")
}

/// Whether a name is the other one, or that with one or two letters wrong; upper and lower case alike.
pub(in crate::set) fn is_near(a: &str, b: &str) -> bool {
    // Names that differ more in length are not compared, because names from files may be long.
    a.len().abs_diff(b.len()) <= MAX_EDITS
        && strsim::levenshtein(&a.to_ascii_lowercase(), &b.to_ascii_lowercase()) <= MAX_EDITS
}

/// The most wrong, missing or additional letters in a name that still counts as misspelt.
const MAX_EDITS: usize = 2;

/// Whether a text says that something in it is a set, in a line such as `kind: EdgeImageSet` or
/// `"kind": "EdgeImageSet",`. For text that is not valid YAML.
pub(in crate::set) fn says_set(text: &str) -> bool {
    text.lines().any(|line| {
        line.match_indices("EdgeImage").any(|(at, _)| {
            let before = line.get(..at).unwrap_or_default().trim_end_matches(['"', '\'']).trim_end();
            let key = before.strip_suffix(':').map(|key| key.trim_end().trim_end_matches(['"', '\'']));
            let rest = line.get(at..).unwrap_or_default();
            let kind = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            key.is_some_and(|key| key.ends_with("kind")) && kind != LIST_KIND && is_near_kind(kind)
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::set::yaml::outline::outline;

    fn of(version: &str, kind: &str) -> DocumentKind {
        classify(&outline(&format!("apiVersion: {version}\nkind: {kind}\n")).unwrap().header)
    }

    #[test]
    fn t233_kinds_and_groups_that_are_almost_ours_are_errors_with_the_right_word() {
        let message = |version: &str, kind: &str| match of(version, kind) {
            DocumentKind::Wrong(_, message) => message,
            other => panic!("{version} {kind}: {other:?}"),
        };
        for kind in [
            "EdgeImageSets",
            "EdgeImage",
            "edgeimageset",
            "EdgeImagesSet",
            "Edge-Image-Set",
            "EdgeImgeSet",
            "EdgeImages",
        ] {
            let expected = format!("kind `{kind}` is not known; did you mean EdgeImageSet?");
            assert_eq!(message(API_VERSION, kind), expected);
        }
        assert_eq!(
            message("v1", "EdgeImageSets"),
            "kind `EdgeImageSets` is not known; did you mean EdgeImageSet?"
        );
        assert_eq!(
            message(API_VERSION, "ImageSet"),
            "kind `ImageSet` is not known; kuberegistrysync.io has the kinds EdgeImageSet and ImageBundle"
        );
        for version in [
            "kuberegistrysync.io/v1",
            "kuberegistrysync.com/v1alpha1",
            "kuberegistrysync/v1alpha1",
            "kuberegistrysnyc.io/v1alpha1",
            "v1alpha1",
            "v1",
        ] {
            let expected =
                format!("apiVersion `{version}` is not supported; expected kuberegistrysync.io/v1alpha1");
            assert_eq!(message(version, "EdgeImageSet"), expected);
        }
    }

    #[test]
    fn resources_of_other_groups_are_ignored() {
        assert_eq!(of(API_VERSION, "EdgeImageSet"), DocumentKind::Set);
        assert_eq!(of(API_VERSION, "EdgeImageSetList"), DocumentKind::List);
        assert_eq!(of("v1", "List"), DocumentKind::List);
        for kind in ["ImageBundle", "ImageBundleList"] {
            assert_eq!(of(API_VERSION, kind), DocumentKind::Other);
        }
        assert_eq!(of("example.com/v1", "EdgeImageSet"), DocumentKind::Foreign("example.com/v1".to_owned()));
        for (version, kind) in
            [("example.com/v1", "EdgeImage"), ("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "ImageSet")]
        {
            assert_eq!(of(version, kind), DocumentKind::Other, "{kind}");
        }
    }

    #[test]
    fn names_with_at_most_two_letters_wrong_are_near() {
        for near in ["EdgeImageSet", "EdgeImageSets", "edgeImgeset", "EdgeImaegSet", "EDGEIMAGE-SE"] {
            assert!(is_near(near, KIND), "{near}");
        }
        for far in ["EdgeImage", "EgdeImaegSet", "EdgeImageSet123", ""] {
            assert!(!is_near(far, KIND), "{far}");
        }
    }

    #[test]
    fn a_text_says_that_it_is_a_set_only_as_a_kind() {
        for text in [
            "kind: EdgeImageSet",
            " \"kind\" : \"EdgeImageSet\",",
            "- kind: 'EdgeImageSet' # x",
            "kind: EdgeImageSets",
        ] {
            assert!(says_set(text), "{text}");
        }
        for text in ["kind: EdgeImageSetList", "# about EdgeImageSet", "name: EdgeImageSet"] {
            assert!(!says_set(text), "{text}");
        }
    }
}
