// SPDX-License-Identifier: Apache-2.0
//! Names of the rules, for reports that other programs read. They are an interface: a report that is compared with an
//! earlier one recognizes a finding by the name of its rule.

use crate::crd::message;

/// A document that does not read as a set, or breaks a rule that no other name is for.
pub(in crate::set) const INVALID_SET: &str = "invalid-set";
/// What is to be known of the checkout: what is skipped, what others would change, what is in no commit.
pub(in crate::set) const CHECKOUT: &str = "checkout";
/// Two images with one name at one destination.
pub(in crate::set) const NAMING_COLLISION: &str = "naming-collision";
/// Two images with one name at different destinations.
pub(in crate::set) const NAMES_OF_SITES: &str = "names-of-sites";
/// An image without a digest.
pub(in crate::set) const NO_DIGEST: &str = "no-digest";
/// Two sets with one name.
pub(in crate::set) const SET_DUPLICATE: &str = "set-duplicate";
/// Any other fault of a reference.
pub(in crate::set) const IMAGE_NAME: &str = "image-name";

/// A set with another naming than `krs.yaml` requires.
pub(in crate::set) const REQUIRED_NAMING: &str = "required-naming";
/// A `krs.yaml` that is not valid.
pub(in crate::set) const SETTINGS: &str = "settings";

/// Every rule with what it requires.
pub const RULES: [(&str, &str); 27] = [
    (INVALID_SET, "the document must read as an EdgeImageSet"),
    (CHECKOUT, "the sets should be those of the commit, as Kustomize, Flux and Argo CD apply them"),
    (NAMING_COLLISION, "images with different digests must have different names at a destination"),
    (NAMES_OF_SITES, "images with different digests should have different names at all destinations"),
    (NO_DIGEST, "each image should have a digest"),
    (SET_DUPLICATE, "each set should have a name of its own in its namespace"),
    (REQUIRED_NAMING, "each set must have the naming that krs.yaml requires"),
    (SETTINGS, "krs.yaml must be valid, and the same in all checkouts"),
    ("destination-scheme", message::DESTINATION_SCHEME),
    ("destination", message::DESTINATION),
    ("image-scheme", message::IMAGE_SCHEME),
    ("image-variable", message::IMAGE_VARIABLE),
    ("image-registry", message::IMAGE_REGISTRY),
    ("image-digest", message::IMAGE_DIGEST),
    ("image-bare", message::IMAGE_BARE),
    (IMAGE_NAME, message::IMAGE_NAME),
    ("image-duplicate", message::IMAGE_DUPLICATE),
    ("secret-name", message::SECRET_NAME),
    ("config-map-name", message::CONFIG_MAP_NAME),
    ("platform", message::PLATFORM),
    ("platform-duplicate", message::PLATFORM_DUPLICATE),
    ("repository", message::REPOSITORY),
    ("interval", message::INTERVAL),
    ("one-ca", message::ONE_CA),
    ("plain-http", message::PLAIN_HTTP),
    ("parallelism", message::PARALLELISM),
    ("images", message::IMAGES),
];

/// The rule of the definition that has this message.
pub(in crate::set) fn rule_of_message(message: &str) -> Option<&'static str> {
    RULES.iter().find(|(_, text)| *text == message).map(|(rule, _)| *rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_a_name_and_a_message_of_its_own() {
        let (names, messages): (BTreeSet<_>, BTreeSet<_>) = RULES.into_iter().unzip();
        assert_eq!((names.len(), messages.len()), (RULES.len(), RULES.len()));
        let is_plain = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(names.iter().all(is_plain), "{names:?}");
        assert_eq!(rule_of_message(message::IMAGE_BARE), Some("image-bare"));
        assert_eq!(rule_of_message("anything else"), None);
    }
}
