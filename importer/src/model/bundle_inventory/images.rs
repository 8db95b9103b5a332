// SPDX-License-Identifier: Apache-2.0
//! The images of a bundle. A bundle may have hundreds of thousands, and every image of every set is looked up in it, so that
//! they are shared and not copied, and found without reading all of them.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;

use super::StockImage;

/// The images of a bundle, in the order of its manifest. Cheap to clone.
#[derive(Clone, Default)]
pub struct StockImages(Arc<ImageTable>);

#[derive(Default)]
struct ImageTable {
    images: Box<[StockImage]>,
    /// Their positions, ordered by reference, and by digest.
    by_reference: Box<[u32]>,
    by_digest: Box<[u32]>,
}

impl StockImages {
    /// Those of this reference.
    pub fn named(&self, reference: &Reference) -> impl Iterator<Item = &StockImage> {
        self.0.found(&self.0.by_reference, |image| image.reference.cmp(reference))
    }

    /// Those of this digest.
    pub fn of_digest(&self, digest: &Digest) -> impl Iterator<Item = &StockImage> {
        self.0.found(&self.0.by_digest, |image| image.digest.cmp(digest))
    }
}

impl ImageTable {
    fn get(&self, position: u32) -> Option<&StockImage> {
        self.images.get(usize::try_from(position).ok()?)
    }

    /// The images at `positions` that `order` calls equal; the positions are in its order.
    fn found<'a>(
        &'a self,
        positions: &'a [u32],
        order: impl Fn(&StockImage) -> Ordering,
    ) -> impl Iterator<Item = &'a StockImage> {
        let first = positions
            .partition_point(|position| self.get(*position).is_some_and(|image| order(image).is_lt()));
        let images = positions.iter().skip(first).filter_map(|position| self.get(*position));
        images.take_while(move |image| order(image).is_eq())
    }
}

impl FromIterator<StockImage> for StockImages {
    fn from_iter<T: IntoIterator<Item = StockImage>>(images: T) -> Self {
        let images = images.into_iter().collect::<Box<[_]>>();
        let positions = || images.iter().zip(0_u32..).collect::<Vec<_>>();
        // Images that are equal in this stay in their order.
        let (mut by_reference, mut by_digest) = (positions(), positions());
        by_reference.sort_by_key(|(image, _)| &image.reference);
        by_digest.sort_by_key(|(image, _)| image.digest);
        let only = |positions: Vec<(_, u32)>| positions.into_iter().map(|(_, position)| position).collect();
        let (by_reference, by_digest) = (only(by_reference), only(by_digest));
        Self(Arc::new(ImageTable { images, by_reference, by_digest }))
    }
}

impl Deref for StockImages {
    type Target = [StockImage];

    fn deref(&self) -> &[StockImage] {
        &self.0.images
    }
}

impl PartialEq for StockImages {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl Eq for StockImages {}

impl fmt::Debug for StockImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::readers::Readers;

    fn image(n: usize, name: usize, content: usize) -> StockImage {
        StockImage {
            reference: format!("example.com/app{name}:1").parse().unwrap(),
            digest: Digest::of(content.to_string().as_bytes()),
            platforms: Vec::new(),
            // Tells them apart.
            size: n as u64,
            contents: Vec::new(),
            partial: false,
            expected_in: Vec::new(),
            patches: None,
            readers: Readers::Any,
        }
    }

    #[test]
    fn an_image_is_found_as_by_reading_all_of_them_in_their_order() {
        let all = (0..200).map(|n| image(n, n * 7 % 31, n * 11 % 53)).collect::<Vec<_>>();
        let images = all.iter().cloned().collect::<StockImages>();
        assert_eq!(images.to_vec(), all);
        for n in 0..60 {
            let wanted = image(0, n, n);
            let named = all.iter().filter(|image| image.reference == wanted.reference);
            assert!(images.named(&wanted.reference).eq(named), "{n}");
            let of_digest = all.iter().filter(|image| image.digest == wanted.digest);
            assert!(images.of_digest(&wanted.digest).eq(of_digest), "{n}");
        }
        assert_eq!(images, all.iter().cloned().collect());
        assert_ne!(images, all[1..].iter().cloned().collect());
        let none = StockImages::default();
        assert_eq!(none.named(&all[0].reference).count() + none.of_digest(&all[0].digest).count(), 0);
    }
}
