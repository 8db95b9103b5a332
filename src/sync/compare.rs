// SPDX-License-Identifier: Apache-2.0
//! Compares two stocks of images: any two of bundle, checkout, registry and receipt. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::bundle::{Bundle, BundledImages};
use crate::oci::digest::Digest;
use crate::oci::reference::RepositoryName;
use crate::set::{CheckedSet, LoadedSets, SetImage};
use crate::sync::receipt::Receipt;
use crate::sync::resolve::Resolved;

/// Images by the names that they have at the edge (`library/nginx:1.25`), and what is known of their content.
#[derive(Debug, Clone, Default)]
pub struct Stock {
    /// The digest of each name; `None` if only a registry knows it.
    pub images: BTreeMap<String, Option<Digest>>,
    /// Layers and configs of images, if they are known, with their bytes.
    image_blobs: HashMap<Digest, Vec<(Digest, u64)>>,
    /// Blobs that are present, besides those of known images.
    blobs: HashSet<Digest>,
}

/// The images of sets by their names at the edge. Sets of several destinations may give one name to different images:
/// then the name starts with the destination, so that none of them hides another.
fn names<'a>(
    sets: impl IntoIterator<Item = &'a CheckedSet>,
    digest: impl Fn(&SetImage) -> Option<Digest>,
) -> BTreeMap<String, Option<Digest>> {
    let mut by_name = BTreeMap::<String, BTreeMap<&str, Option<Digest>>>::new();
    for set in sets {
        for image in &set.images {
            let name = format!("{}:{}", image.repository, image.tag);
            let digests = by_name.entry(name).or_default();
            let known = digests.entry(set.spec.destination_registry.as_str()).or_default();
            *known = digest(image).or(*known);
        }
    }
    let named = by_name.into_iter().flat_map(|(name, digests)| {
        let mut known = digests.values().flatten();
        let first = known.next().copied();
        if known.all(|other| Some(*other) == first) {
            return vec![(name, first)];
        }
        let qualified = digests.into_iter().map(|(to, digest)| (format!("{to}/{name}"), digest));
        qualified.collect()
    });
    named.collect()
}

impl Stock {
    /// The stock of a bundle. The layers of its base count as its own.
    pub fn of_bundle(bundle: &Bundle, images: &BundledImages) -> Self {
        let mut stock = Self::default();
        let entries = bundle.manifest().images.iter();
        let digests =
            entries.map(|image| (image.reference.to_string(), image.digest)).collect::<HashMap<_, _>>();
        stock.images = names(bundle.sets(), |image| {
            digests.get(&image.reference.to_string()).copied().or(image.reference.digest)
        });
        for (entry, image) in bundle.manifest().images.iter().zip(&images.images) {
            let blobs = image.closure.blobs.iter().map(|content| (content.digest, content.size));
            stock.image_blobs.insert(entry.digest, blobs.collect());
        }
        stock
    }

    /// The stock of a checkout, by its sets; `resolved` if the source registries were queried.
    pub fn of_sets(loaded: &LoadedSets, resolved: Option<&Resolved>) -> Self {
        let mut stock = Self::default();
        let images = || resolved.iter().flat_map(|resolved| &resolved.images);
        let digests = images().map(|image| (image.reference.to_string(), image.root.digest));
        let digests = digests.collect::<HashMap<_, _>>();
        stock.images = names(loaded.sets.iter().map(|loaded| &loaded.set), |image| {
            image.reference.digest.or_else(|| digests.get(&image.reference.to_string()).copied())
        });
        for image in images() {
            let blobs = image.closure.blobs.iter().map(|content| (content.digest, content.size));
            stock.image_blobs.insert(image.root.digest, blobs.collect());
        }
        stock
    }

    /// The stock of a receipt, whose repositories have the prefix `prefix`. Tags of signatures do not name images.
    pub fn of_receipt(receipt: &Receipt, prefix: Option<&RepositoryName>) -> Self {
        let mut stock = Self::default();
        for repository in &receipt.repositories {
            let name = repository.name.as_str();
            let name = prefix
                .and_then(|prefix| name.strip_prefix(prefix.as_str())?.strip_prefix('/'))
                .unwrap_or(name);
            for (tag, digest) in
                repository.tags.iter().filter(|(tag, _)| !tag.as_str().starts_with("sha256-"))
            {
                stock.images.insert(format!("{name}:{tag}"), Some(*digest));
            }
            stock.blobs.extend(repository.blobs.iter().map(|blob| blob.digest));
        }
        stock
    }

    /// Whether the content of every image is known, here or in `other`.
    pub fn is_known_with(&self, other: &Self) -> bool {
        let known = |digest: &Digest| {
            self.image_blobs.contains_key(digest) || other.images.values().any(|o| o.as_ref() == Some(digest))
        };
        self.images.values().all(|digest| digest.as_ref().is_some_and(known))
    }

    fn has(&self) -> HashSet<Digest> {
        self.image_blobs
            .values()
            .flatten()
            .map(|(digest, _)| *digest)
            .chain(self.blobs.iter().copied())
            .collect()
    }
}

/// An image that is on one side only, or another one on each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name at the edge.
    pub name: String,
    /// Its digest before.
    pub before: Option<Digest>,
    /// Its digest after.
    pub after: Option<Digest>,
    /// Number and bytes of its layers and configs that are new; `None` if its content is not known.
    pub new: Option<(u64, u64)>,
}

/// The differences between two stocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Names that are only in the second stock.
    pub added: Vec<Difference>,
    /// Names that are only in the first stock.
    pub removed: Vec<Difference>,
    /// Names with another digest.
    pub changed: Vec<Difference>,
    /// Names with the same digest.
    pub unchanged: usize,
    /// Bytes of all new blobs, each once, as far as they are known.
    pub new_bytes: u64,
}

impl Differences {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Compares `before` with `after`.
pub fn compare(before: &Stock, after: &Stock) -> Differences {
    let (has, mut differences) = (before.has(), Differences::default());
    let mut new = HashMap::<Digest, u64>::new();
    for (name, digest) in &after.images {
        let was = before.images.get(name);
        if let (Some(Some(was)), Some(is)) = (was, digest)
            && was == is
        {
            differences.unchanged += 1;
            continue;
        }
        let blobs = digest
            .and_then(|digest| after.image_blobs.get(&digest).or_else(|| before.image_blobs.get(&digest)));
        let missing = blobs.map(|blobs| {
            let missing = blobs.iter().filter(|(digest, _)| !has.contains(digest)).copied();
            missing.collect::<HashMap<_, _>>()
        });
        let difference = Difference {
            name: name.clone(),
            before: was.copied().flatten(),
            after: *digest,
            new: missing.as_ref().map(|missing| (missing.len() as u64, missing.values().sum())),
        };
        new.extend(missing.into_iter().flatten());
        if was.is_some() {
            differences.changed.push(difference);
        } else {
            differences.added.push(difference);
        }
    }
    for (name, digest) in before.images.iter().filter(|(name, _)| !after.images.contains_key(*name)) {
        let removed = Difference { name: name.clone(), before: *digest, after: None, new: None };
        differences.removed.push(removed);
    }
    differences.new_bytes = new.values().sum();
    differences
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stock(images: &[(&str, &str, &[&str])]) -> Stock {
        let mut stock = Stock::default();
        for (name, image, layers) in images {
            let digest = Digest::of(image.as_bytes());
            stock.images.insert((*name).to_owned(), Some(digest));
            let blobs = layers.iter().map(|layer| (Digest::of(layer.as_bytes()), layer.len() as u64));
            stock.image_blobs.insert(digest, blobs.collect());
        }
        stock
    }

    #[test]
    fn images_are_added_removed_and_changed_and_shared_layers_count_once() {
        let before = stock(&[
            ("web:1", "web1", &["base", "one"]),
            ("old:1", "old", &["base"]),
            ("same:1", "s", &["x"]),
        ]);
        let after = stock(&[
            ("web:1", "web2", &["base", "new-layer"]),
            ("api:1", "api", &["base", "new-layer"]),
            ("same:1", "s", &["x"]),
        ]);
        let found = compare(&before, &after);
        let names = |list: &[Difference]| list.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&found.added), names(&found.removed)),
            (vec!["api:1".to_owned()], vec!["old:1".to_owned()])
        );
        assert_eq!((names(&found.changed), found.unchanged), (vec!["web:1".to_owned()], 1));
        assert_eq!((found.changed[0].new, found.added[0].new), (Some((1, 9)), Some((1, 9))));
        assert_eq!(found.new_bytes, 9);
        assert!(compare(&after, &after).is_empty() && !found.is_empty());
    }

    #[test]
    fn sets_of_several_destinations_do_not_hide_each_others_images() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let set = |destination: &str, image: &str| {
            let text = format!(
                "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {{name: s}}\n\
                 spec:\n  destinationRegistry: {destination}\n  images:\n  - image: {image}\n"
            );
            crate::set::check(text.as_bytes(), "s.yaml").unwrap()
        };
        let image = |digest: Digest| format!("registry.example/shop/web:1@{digest}");
        let named = |sets: &[CheckedSet]| names(sets, |image| image.reference.digest);
        let (berlin, tagged) = (set("berlin.example", &image(one)), "registry.example/shop/web:1");
        let different = named(&[berlin.clone(), set("paris.example/mirror", &image(other))]);
        let expected = [
            ("berlin.example/shop/web:1".to_owned(), Some(one)),
            ("paris.example/mirror/shop/web:1".to_owned(), Some(other)),
        ];
        assert_eq!(different, BTreeMap::from(expected));
        // The same image, and one that a set does not pin, are compared by name.
        let same = BTreeMap::from([("shop/web:1".to_owned(), Some(one))]);
        assert_eq!(named(&[berlin.clone(), set("paris.example", &image(one))]), same);
        assert_eq!(named(&[berlin, set("berlin.example", tagged)]), same);
    }

    #[test]
    fn unknown_content_has_no_number_and_an_unknown_digest_equals_none() {
        let mut after = stock(&[("web:1", "web2", &[])]);
        after.image_blobs.clear();
        assert_eq!(compare(&Stock::default(), &after).added[0].new, None);
        after.images.insert("web:1".to_owned(), None);
        assert_eq!(compare(&after, &after).changed.len(), 1, "a tag may have moved");
    }
}
