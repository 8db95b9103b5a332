// SPDX-License-Identifier: Apache-2.0
//! Layers that only patches of earlier bundles make: which patches of which bundles, one after the other. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::order::Needed;
use crate::bundle::BundlePatch;
use crate::oci::digest::Digest;

/// How patches of several bundles make some layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// In an order in which they can be applied.
    pub patches: Vec<BundlePatch>,
    /// The layers that can be made.
    pub layers: BTreeSet<Digest>,
    /// Each of the other layers, and what is nowhere of that which it is made of.
    pub missing: BTreeMap<Digest, BTreeSet<Digest>>,
    /// The index of the patch that makes each layer.
    pub(super) makers: HashMap<Digest, usize>,
}

impl Chain {
    /// Finds how `patches` make the `wanted` layers from those that are stored somewhere. Of several patches that make a layer, the
    /// one counts that needs the fewest others before it, then the first.
    pub fn new(
        patches: &[&BundlePatch],
        wanted: &BTreeSet<Digest>,
        is_stored: impl Fn(&Digest) -> bool,
    ) -> Self {
        let made = makeable(patches, &is_stored);
        let (layers, rest): (BTreeSet<_>, BTreeSet<_>) =
            wanted.iter().copied().partition(|layer| made.contains_key(layer));
        // Only what is needed, each patch once, after those that it needs.
        let mut open = layers.iter().copied().collect::<Vec<_>>();
        let (mut rounds, mut makers) = (BTreeMap::<usize, usize>::new(), HashMap::new());
        while let Some(layer) = open.pop() {
            let Some((round, number)) = made.get(&layer).copied() else { continue };
            if makers.insert(layer, number).is_none() {
                let last = rounds.entry(number).or_default();
                *last = round.max(*last);
                open.extend(reads(patches, number, &layer));
            }
        }
        let mut order = rounds.into_iter().map(|(number, round)| (round, number)).collect::<Vec<_>>();
        order.sort_unstable();
        let position = |number: &usize| order.iter().position(|(_, of)| of == number).unwrap_or_default();
        makers.values_mut().for_each(|number| *number = position(number));
        let patches_in_order = order.iter().filter_map(|(_, number)| patches.get(*number).copied().cloned());
        let missing = rest.into_iter().map(|layer| (layer, leaves(patches, layer, &made, &is_stored)));
        Self { patches: patches_in_order.collect(), layers, missing: missing.collect(), makers }
    }
}

/// The layers that a patch reads to make one.
fn reads(patches: &[&BundlePatch], number: usize, layer: &Digest) -> Vec<Digest> {
    let needed = patches.get(number).map(|patch| Needed::of(patch, |digest| digest == layer));
    needed.into_iter().flat_map(|needed| needed.bases).map(|base| base.digest).collect()
}

/// Each layer that can be made, with the round in which that is so, and the patch that makes it.
fn makeable(
    patches: &[&BundlePatch],
    is_stored: &impl Fn(&Digest) -> bool,
) -> HashMap<Digest, (usize, usize)> {
    let mut made = HashMap::new();
    // One round at least makes a layer for the next, so that there are no more rounds than patches.
    for round in 0..patches.len() {
        let before = made.clone();
        for (number, patch) in patches.iter().enumerate() {
            for layer in patch.layers.iter().filter(|layer| !is_stored(&layer.digest)) {
                let is_there = |digest: &Digest| is_stored(digest) || before.contains_key(digest);
                if !made.contains_key(&layer.digest)
                    && reads(patches, number, &layer.digest).iter().all(is_there)
                {
                    made.insert(layer.digest, (round, number));
                }
            }
        }
        if made.len() == before.len() {
            break;
        }
    }
    made
}

/// What is nowhere of that which a layer is made of; the layer itself if no patch makes it.
fn leaves(
    patches: &[&BundlePatch],
    layer: Digest,
    made: &HashMap<Digest, (usize, usize)>,
    is_stored: &impl Fn(&Digest) -> bool,
) -> BTreeSet<Digest> {
    let (mut open, mut known, mut leaves) = (vec![layer], BTreeSet::new(), BTreeSet::new());
    while let Some(layer) = open.pop() {
        if is_stored(&layer) || made.contains_key(&layer) || !known.insert(layer) {
            continue;
        }
        let maker = patches.iter().position(|patch| patch.layers.iter().any(|made| made.digest == layer));
        match maker {
            Some(number) => open.extend(reads(patches, number, &layer)),
            None => drop(leaves.insert(layer)),
        }
    }
    if leaves.is_empty() {
        // Patches that read what the others make.
        leaves.insert(layer);
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{PATCH_MEDIA_TYPE, PatchBase, PatchedLayer};
    use crate::sync::rebuild::order::work_with;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn digests(names: &[&str]) -> BTreeSet<Digest> {
        names.iter().map(|name| digest(name)).collect()
    }

    /// Each layer with the numbers of what it is made of.
    fn patch(bases: &[&str], layers: &[(&str, &[usize])]) -> BundlePatch {
        let bases = bases.iter().map(|name| PatchBase { digest: digest(name), plain_size: 1 });
        let layers = layers.iter().map(|(name, sources)| PatchedLayer {
            digest: digest(name),
            plain_size: 1,
            recipe: digest("recipe"),
            size: 1,
            sources: sources.to_vec(),
        });
        BundlePatch {
            layers: layers.collect(),
            bases: bases.collect(),
            digest: digest("patch"),
            media_type: PATCH_MEDIA_TYPE.to_owned(),
        }
    }

    fn chain(patches: &[&BundlePatch], wanted: &[&str], stored: &[&str]) -> Chain {
        let stored = digests(stored);
        Chain::new(patches, &digests(wanted), |layer| stored.contains(layer))
    }

    #[test]
    fn bundle_after_bundle_is_applied_in_order() {
        let (second, third) = (patch(&["v1"], &[("v2", &[0])]), patch(&["v2"], &[("v3", &[0])]));
        let found = chain(&[&third, &second], &["v3"], &["v1"]);
        assert_eq!((&found.layers, &found.missing), (&digests(&["v3"]), &BTreeMap::new()));
        assert_eq!(found.patches, [second.clone(), third.clone()]);
        let work = work_with(&found.patches, &found.layers, Some(&found.makers));
        let read = work.steps.iter().map(|step| step.read_first.len()).collect::<Vec<_>>();
        assert_eq!(read, [1, 0]);
        // From the nearest that is there.
        assert_eq!(chain(&[&second, &third], &["v3"], &["v1", "v2"]).patches, std::slice::from_ref(&third));
        let found = chain(&[&second, &third], &["v3"], &[]);
        assert_eq!(found.missing, BTreeMap::from([(digest("v3"), digests(&["v1"]))]));
        assert_eq!(found.patches, []);
        assert_eq!(chain(&[], &["v3"], &[]).missing[&digest("v3")], digests(&["v3"]));
    }

    #[test]
    fn a_layer_is_made_by_the_patch_whose_layers_are_there() {
        // Both make `x`; the second can, and makes nothing else for which something is missing.
        let (one, two) = (
            patch(&["gone", "a"], &[("x", &[0]), ("y", &[1])]),
            patch(&["b", "gone"], &[("x", &[0]), ("z", &[1])]),
        );
        let found = chain(&[&one, &two], &["x", "y", "z"], &["a", "b"]);
        assert_eq!(found.layers, digests(&["x", "y"]));
        assert_eq!(found.missing, BTreeMap::from([(digest("z"), digests(&["gone"]))]));
        let work = work_with(&found.patches, &found.layers, Some(&found.makers));
        let read = work.steps.iter().flat_map(|step| &step.read_first).map(|base| base.digest);
        assert_eq!(read.collect::<BTreeSet<_>>(), digests(&["a", "b"]));
        assert!(work.steps.iter().all(|step| step.layers.len() == 1), "{work:?}");
    }

    #[test]
    fn patches_that_read_what_the_others_make_make_nothing() {
        let (there, back) = (patch(&["a"], &[("b", &[0])]), patch(&["b"], &[("a", &[0])]));
        let found = chain(&[&there, &back], &["b"], &[]);
        assert_eq!(found.missing, BTreeMap::from([(digest("b"), digests(&["b"]))]));
        assert_eq!(chain(&[&there, &back], &["b"], &["a"]).patches, [there]);
    }
}
