// SPDX-License-Identifier: Apache-2.0
//! Which namespaces may read which images of a bundle: those whose sets in the signed bundle list them. Without this rule
//! the author of any set could have a private image of another namespace copied, by its tag alone and without credentials.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use krs_core::bundle::Bundle;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;
use krs_core::set::CheckedSet;

/// The namespaces whose sets in the bundle list an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readers {
    /// A set without a namespace lists it, which may be applied to any.
    Any,
    /// These, sorted. None where no set lists it.
    Namespaces(Vec<Arc<str>>),
}

impl Default for Readers {
    fn default() -> Self {
        Self::Namespaces(Vec::new())
    }
}

impl Readers {
    /// Whether sets of `namespace` may copy the image.
    pub fn include(&self, namespace: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Namespaces(names) => names.binary_search_by(|name| (**name).cmp(namespace)).is_ok(),
        }
    }
}

/// The readers of every image of a bundle, by its digest.
pub fn readers(bundle: &Bundle) -> HashMap<Digest, Readers> {
    let images = bundle.manifest().images.iter().map(|image| (&image.reference, image.digest));
    of(images, bundle.sets())
}

fn of<'a>(
    images: impl Iterator<Item = (&'a Reference, Digest)>,
    sets: &[CheckedSet],
) -> HashMap<Digest, Readers> {
    let mut digests = BTreeMap::<String, BTreeSet<Digest>>::new();
    for (reference, digest) in images {
        digests.entry(reference.to_string()).or_default().insert(digest);
    }
    let mut names = BTreeMap::<&str, Arc<str>>::new();
    let mut listed = HashMap::<Digest, Option<BTreeSet<Arc<str>>>>::new();
    for set in sets {
        let namespace = set.namespace.as_deref();
        let namespace = namespace.map(|name| Arc::clone(names.entry(name).or_insert_with(|| name.into())));
        for image in &set.images {
            for digest in digests.get(&image.reference.to_string()).into_iter().flatten() {
                let readers = listed.entry(*digest).or_insert_with(|| Some(BTreeSet::new()));
                match (&namespace, readers) {
                    (None, readers) => *readers = None,
                    (Some(namespace), Some(readers)) => drop(readers.insert(Arc::clone(namespace))),
                    (Some(_), None) => {}
                }
            }
        }
    }
    let readers = |names: Option<BTreeSet<_>>| {
        names.map_or(Readers::Any, |names| Readers::Namespaces(names.into_iter().collect()))
    };
    listed.into_iter().map(|(digest, names)| (digest, readers(names))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(namespace: Option<&str>, images: &[&str]) -> CheckedSet {
        let list = images.iter().map(|image| serde_json::json!({"image": image})).collect::<Vec<_>>();
        let spec = serde_json::json!({"destinationRegistry": "edge.local:5000", "images": list});
        let spec = serde_json::from_value(spec).unwrap();
        let images = krs_core::set::check_spec(&spec).unwrap();
        CheckedSet { namespace: namespace.map(str::to_owned), name: "set".to_owned(), spec, images }
    }

    #[test]
    fn t123_an_image_belongs_to_the_namespaces_of_the_sets_that_list_it() {
        let reference = |text: &str| text.parse::<Reference>().unwrap();
        let (app, shared, open) =
            (reference("quay.io/a/app:1"), reference("quay.io/a/shared:1"), reference("quay.io/a/open:1"));
        let digest = |text: &str| Digest::of(text.as_bytes());
        let images = [(&app, digest("app")), (&shared, digest("shared")), (&open, digest("open"))];
        let sets = [
            set(Some("b"), &["quay.io/a/shared:1", "quay.io/a/open:1"]),
            set(Some("a"), &["quay.io/a/app:1", "quay.io/a/shared:1"]),
            set(None, &["quay.io/a/open:1"]),
        ];
        let readers = of(images.into_iter(), &sets);
        let may = |image: &str, namespace: &str| readers[&digest(image)].include(namespace);
        assert!(may("app", "a") && !may("app", "b") && !may("app", "") && !may("app", "aa"));
        assert!(may("shared", "a") && may("shared", "b") && !may("shared", "c"));
        assert!(may("open", "a") && may("open", "c"), "a set without a namespace belongs to any");
        assert!(!Readers::default().include("a"), "what no set lists belongs to nobody");
    }
}
