// SPDX-License-Identifier: Apache-2.0
//! What has to be done, in which order, to make some layers, and how much space it takes. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::bundle::{BundlePatch, PatchBase};
use crate::oci::digest::Digest;

/// What has to be done to make some layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// The patches, in order.
    pub steps: Vec<Step>,
    /// The last step that reads the uncompressed content of each layer.
    pub last_use: HashMap<Digest, usize>,
    /// Most bytes of scratch space at one time.
    pub peak: u64,
    /// Bytes of all layers that are expanded or made, without compression.
    pub plain: u64,
}

/// One patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its index in the list of patches.
    pub patch: usize,
    /// The layers to be read and expanded before it is applied, because no earlier step did.
    pub read_first: Vec<PatchBase>,
}

/// The work to make the `wanted` layers of `patches`, each of which reads only layers of earlier ones and of the base.
pub fn work(patches: &[BundlePatch], wanted: &BTreeSet<Digest>) -> Work {
    let mut required = wanted.iter().copied().collect::<HashSet<_>>();
    let mut needed = Vec::new();
    for (index, patch) in patches.iter().enumerate().rev() {
        if patch.layers.iter().any(|layer| required.contains(&layer.digest)) {
            required.extend(patch.bases.iter().map(|base| base.digest));
            needed.push((index, patch));
        }
    }
    needed.reverse();
    let mut work = Work::default();
    for (number, (_, patch)) in needed.iter().enumerate() {
        work.last_use.extend(patch.bases.iter().map(|base| (base.digest, number)));
    }
    let mut held = HashMap::new();
    let mut made_bytes = 0_u64;
    for (number, (index, patch)) in needed.into_iter().enumerate() {
        let read_first = patch.bases.iter().filter(|base| !held.contains_key(&base.digest)).copied();
        let read_first = read_first.collect::<Vec<_>>();
        held.extend(read_first.iter().map(|base| (base.digest, base.plain_size)));
        held.extend(patch.layers.iter().map(|layer| (layer.digest, layer.plain_size)));
        let made = patch.layers.iter().filter(|layer| wanted.contains(&layer.digest));
        made_bytes = made.fold(made_bytes, |sum, layer| sum.saturating_add(layer.size));
        let new = read_first.iter().map(|base| base.plain_size);
        let new = new.chain(patch.layers.iter().map(|layer| layer.plain_size));
        work.plain = new.fold(work.plain, u64::saturating_add);
        let now = held.values().fold(made_bytes, |sum, size| sum.saturating_add(*size));
        work.peak = work.peak.max(now);
        held.retain(|digest, _| work.last_use.get(digest).is_some_and(|last| *last > number));
        work.steps.push(Step { patch: index, read_first });
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{BundlePatch, PATCH_MEDIA_TYPE, PatchedLayer};

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn patch(name: &str, bases: &[(&str, u64)], layers: &[(&str, u64, u64)]) -> BundlePatch {
        let bases = bases
            .iter()
            .map(|(name, plain_size)| PatchBase { digest: digest(name), plain_size: *plain_size });
        let layers = layers.iter().map(|(name, plain_size, size)| PatchedLayer {
            digest: digest(name),
            plain_size: *plain_size,
            recipe: digest("recipe"),
            size: *size,
        });
        BundlePatch {
            bases: bases.collect(),
            digest: digest(name),
            layers: layers.collect(),
            media_type: PATCH_MEDIA_TYPE.to_owned(),
        }
    }

    fn patches() -> Vec<BundlePatch> {
        vec![
            patch("first", &[("a", 100), ("b", 10)], &[("new a", 110, 11)]),
            patch("second", &[("c", 1000)], &[("new c", 1001, 101)]),
            patch("third", &[("new a", 110), ("b", 10)], &[("new b", 12, 2), ("new d", 13, 3)]),
        ]
    }

    #[test]
    fn only_what_the_wanted_layers_need_is_read_and_made() {
        let of = |wanted: &[&str]| work(&patches(), &wanted.iter().map(|name| digest(name)).collect());
        assert_eq!(of(&[]), Work::default());
        let second = of(&["new c"]);
        assert_eq!(second.steps.iter().map(|step| step.patch).collect::<Vec<_>>(), [1]);
        assert_eq!((second.peak, second.plain), (1000 + 1001 + 101, 2001));
        let third = of(&["new d"]);
        assert_eq!(third.steps.iter().map(|step| step.patch).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(third.steps[0].read_first.len(), 2);
        assert_eq!(third.steps[1].read_first, []);
        // `a` is not needed any more when the third patch is applied.
        assert_eq!(third.peak, 100 + 10 + 110);
        assert_eq!(third.last_use[&digest("b")], 1);
        assert_eq!(third.last_use[&digest("a")], 0);
    }

    #[test]
    fn what_is_made_twice_over_is_read_once() {
        let all =
            work(&patches(), &["new a", "new b", "new c", "new d"].iter().map(|name| digest(name)).collect());
        assert_eq!(all.steps.len(), 3);
        let read = all.steps.iter().flat_map(|step| &step.read_first).map(|base| base.digest);
        assert_eq!(read.collect::<Vec<_>>(), [digest("a"), digest("b"), digest("c")]);
        assert_eq!(all.plain, 100 + 10 + 110 + 1000 + 1001 + 12 + 13);
        assert_eq!(all.peak, (110 + 10) + (1000 + 1001) + 11 + 101);
    }
}
