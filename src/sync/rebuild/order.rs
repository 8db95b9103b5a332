// SPDX-License-Identifier: Apache-2.0
//! What has to be done, in which order, to make some layers, and how much space it takes. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::bundle::{BundlePatch, PatchBase, PatchedLayer};
use crate::oci::digest::Digest;

/// How many layers are read back and expanded at once.
pub(super) const READ_AT_ONCE: usize = 2;

/// What has to be done to make some layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// The patches, in order.
    pub steps: Vec<Step>,
    /// The last step that reads the uncompressed content of each layer.
    pub last_use: HashMap<Digest, usize>,
    /// Most bytes of scratch space at one time, without those of patches and recipes. Layers that are read back take at most as
    /// much as their content until they are expanded.
    pub peak: u64,
    /// Bytes of all layers that are expanded or made, without compression.
    pub plain: u64,
}

/// One patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its index in the list of patches.
    pub patch: usize,
    /// Which of its layers are made, by number, ascending: those that are needed, and those of which they are made.
    pub layers: Vec<usize>,
    /// The layers to be read and expanded before it is applied, because no earlier step did.
    pub read_first: Vec<PatchBase>,
}

/// The work to make the `wanted` layers of `patches`, each of which reads only layers of earlier ones and of the base.
pub fn work(patches: &[BundlePatch], wanted: &BTreeSet<Digest>) -> Work {
    work_with(patches, wanted, None)
}

/// The same where only the patch in `makers` makes a layer, by its index; a layer without one is read.
pub(super) fn work_with(
    patches: &[BundlePatch],
    wanted: &BTreeSet<Digest>,
    makers: Option<&HashMap<Digest, usize>>,
) -> Work {
    let mut required = wanted.iter().copied().collect::<HashSet<_>>();
    let mut needed = Vec::new();
    for (index, patch) in patches.iter().enumerate().rev() {
        let is_made = |digest: &Digest| {
            required.contains(digest) && makers.is_none_or(|makers| makers.get(digest) == Some(&index))
        };
        let of_patch = Needed::of(patch, is_made);
        if !of_patch.layers.is_empty() {
            required.extend(of_patch.bases.iter().map(|base| base.digest));
            needed.push((index, of_patch));
        }
    }
    needed.reverse();
    let mut work = Work::default();
    for (number, (_, Needed { bases, .. })) in needed.iter().enumerate() {
        work.last_use.extend(bases.iter().map(|base| (base.digest, number)));
    }
    let mut held = HashMap::new();
    let mut made_bytes = 0_u64;
    for (number, (patch, Needed { bases, layers })) in needed.into_iter().enumerate() {
        let read_first = bases.into_iter().filter(|base| !held.contains_key(&base.digest));
        let read_first = read_first.collect::<Vec<_>>();
        held.extend(read_first.iter().map(|base| (base.digest, base.plain_size)));
        let mut sizes = read_first.iter().map(|base| base.plain_size).collect::<Vec<_>>();
        sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
        let compressed = sizes.iter().take(READ_AT_ONCE);
        let reading = held.values().chain(compressed).fold(made_bytes, |sum, size| sum.saturating_add(*size));
        held.extend(layers.iter().map(|(_, layer)| (layer.digest, layer.plain_size)));
        let made = layers.iter().filter(|(_, layer)| wanted.contains(&layer.digest));
        made_bytes = made.fold(made_bytes, |sum, (_, layer)| sum.saturating_add(layer.size));
        let new = read_first.iter().map(|base| base.plain_size);
        let new = new.chain(layers.iter().map(|(_, layer)| layer.plain_size));
        work.plain = new.fold(work.plain, u64::saturating_add);
        let now = held.values().fold(made_bytes, |sum, size| sum.saturating_add(*size));
        work.peak = work.peak.max(reading).max(now);
        held.retain(|digest, _| work.last_use.get(digest).is_some_and(|last| *last > number));
        let layers = layers.into_iter().map(|(number, _)| number).collect();
        work.steps.push(Step { patch, layers, read_first });
    }
    work
}

/// What is needed of a patch.
pub(super) struct Needed<'a> {
    pub(super) bases: Vec<PatchBase>,
    /// With their numbers.
    layers: Vec<(usize, &'a PatchedLayer)>,
}

impl<'a> Needed<'a> {
    /// For the layers of it that are required: they, and what they are made of.
    pub(super) fn of(patch: &'a BundlePatch, is_required: impl Fn(&Digest) -> bool) -> Self {
        let mut is_source = vec![false; patch.bases.len() + patch.layers.len()];
        let (mut layers, first) = (Vec::new(), patch.bases.len());
        for (number, layer) in patch.layers.iter().enumerate().rev() {
            if is_required(&layer.digest) || is_source.get(first + number) == Some(&true) {
                for source in &layer.sources {
                    // A manifest that was checked names no other.
                    is_source.get_mut(*source).into_iter().for_each(|is_source| *is_source = true);
                }
                layers.push((number, layer));
            }
        }
        layers.reverse();
        let bases = patch.bases.iter().zip(is_source).filter(|(_, is_source)| *is_source);
        Self { bases: bases.map(|(base, _)| *base).collect(), layers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::PATCH_MEDIA_TYPE;

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
            sources: (0..bases.len()).collect(),
        });
        BundlePatch {
            layers: layers.collect(),
            bases: bases.collect(),
            digest: digest(name),
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

    /// A patch is made for a set, and a site copies image by image.
    #[test]
    fn of_a_patch_only_what_the_wanted_layers_are_made_of_is_read_and_made() {
        let bases = [("a", 100), ("b", 1000), ("c", 10_000)];
        let layers = [("of a", 101, 1), ("of b", 1001, 2), ("of both", 102, 3), ("of c", 10_001, 4)];
        let mut patch = patch("one", &bases, &layers);
        for (layer, sources) in patch.layers.iter_mut().zip([vec![0], vec![1], vec![3, 4], vec![2]]) {
            layer.sources = sources;
        }
        let patches = [patch.clone()];
        let of = |wanted: &[&str]| work(&patches, &wanted.iter().map(|name| digest(name)).collect());
        let base = |number: usize| patches[0].bases[number];
        let a = of(&["of a"]);
        assert_eq!(a.steps, [Step { patch: 0, layers: vec![0], read_first: vec![base(0)] }]);
        assert_eq!((a.peak, a.plain), (100 + 101 + 1, 100 + 101));
        let both = of(&["of both"]);
        let read_first = vec![base(0), base(1)];
        assert_eq!(both.steps, [Step { patch: 0, layers: vec![0, 1, 2], read_first }]);
        assert_eq!(both.peak, 1100 + 1102 + 102 + 3);
        assert_eq!(of(&["of a", "of c"]).steps[0].layers, [0, 3]);
        // A large layer of which a small one is made is in scratch space twice, until it is expanded.
        patch.layers[3].plain_size = 5;
        assert_eq!(work(&[patch], &[digest("of c")].into()).peak, 10_000 + 10_000);
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
