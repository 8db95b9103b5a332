// SPDX-License-Identifier: Apache-2.0
//! Which sites should share one bundle.

use std::collections::BTreeMap;

use super::layer_set::LayerSet;

/// Sites that share a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Positions of the sites, sorted.
    pub sites: Vec<usize>,
    /// Bytes of the shared bundle: of every layer that one of them does not have, and of what every bundle has.
    pub bytes: u64,
    /// Bytes of the bundles that the sites would get one by one.
    pub separate_bytes: u64,
}

/// Sites that miss exactly the same.
struct Need {
    sites: Vec<usize>,
    missing: LayerSet,
    bytes: u64,
}

/// Groups sites. `missing`: for each site the layers that it does not have, by their positions in `sizes`; `fixed`: bytes
/// that are in every bundle. The bundle of a group is at most `max_overhead` percent larger than any of the bundles that
/// its sites would get one by one: no site carries more than that for the others.
///
/// Sites that miss the same are one site. These are taken by falling bytes, and each joins the group whose bundle grows the
/// least by it, if it stays within the limit, or begins one. This is not the best possible grouping, which would take
/// exponential time, but the same input gives the same groups.
pub fn group(sizes: &[u64], fixed: u64, missing: &[LayerSet], max_overhead: u32) -> Vec<Group> {
    let mut identical = BTreeMap::<&LayerSet, Vec<usize>>::new();
    for (site, layers) in missing.iter().enumerate() {
        identical.entry(layers).or_default().push(site);
    }
    let (class_sizes, sets) = classes(sizes, &identical.keys().copied().collect::<Vec<_>>());
    let need = |(sites, missing): (Vec<usize>, LayerSet)| {
        let bytes = sum(fixed, &class_sizes, missing.iter());
        Need { sites, missing, bytes }
    };
    let mut needs = identical.into_values().zip(sets).map(need).collect::<Vec<_>>();
    needs.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.sites.cmp(&b.sites)));
    let mut groups = Vec::<(Group, LayerSet)>::new();
    for Need { sites, missing, bytes } in needs {
        let separate_bytes = bytes.saturating_mul(sites.len() as u64);
        // All that are in groups already get at least as much.
        let limit = with_overhead(bytes, max_overhead);
        let mut best: Option<(u64, usize)> = None;
        for (n, (group, shared)) in groups.iter().enumerate() {
            // More than the best one grows is not of interest, so that few groups are compared in full.
            let limit = best.map_or(limit, |(growth, _)| limit.min(group.bytes.saturating_add(growth)));
            let grown = grow(group.bytes, &class_sizes, missing.iter_without(shared), limit);
            if let Some(growth) = grown.map(|grown| grown - group.bytes)
                && best.is_none_or(|(least, _)| growth < least)
            {
                best = Some((growth, n));
            }
        }
        match best.and_then(|(growth, n)| Some((growth, groups.get_mut(n)?))) {
            Some((growth, (group, shared))) => {
                group.sites.extend(sites);
                group.bytes = group.bytes.saturating_add(growth);
                group.separate_bytes = group.separate_bytes.saturating_add(separate_bytes);
                shared.unite(&missing);
            }
            None => groups.push((Group { sites, bytes, separate_bytes }, missing)),
        }
    }
    let mut groups = groups.into_iter().map(|(group, _)| group).collect::<Vec<_>>();
    groups.iter_mut().for_each(|group| group.sites.sort_unstable());
    groups
}

fn with_overhead(bytes: u64, percent: u32) -> u64 {
    let limit = u128::from(bytes) * (100 + u128::from(percent)) / 100;
    u64::try_from(limit).unwrap_or(u64::MAX)
}

fn sum(fixed: u64, sizes: &[u64], positions: impl Iterator<Item = usize>) -> u64 {
    positions.filter_map(|n| sizes.get(n)).fold(fixed, |sum, size| sum.saturating_add(*size))
}

/// The bytes with those at `positions`; `None` as soon as they exceed the limit.
fn grow(bytes: u64, sizes: &[u64], positions: impl Iterator<Item = usize>, limit: u64) -> Option<u64> {
    let mut grown = Some(bytes).filter(|bytes| *bytes <= limit)?;
    for size in positions.filter_map(|n| sizes.get(n)) {
        grown = grown.checked_add(*size).filter(|grown| *grown <= limit)?;
    }
    Some(grown)
}

/// Joins layers that the same sets have to one class, and answers the bytes of each class and the sets of classes. Thousands
/// of layers become a few classes, because they arrived in the same bundles.
fn classes(sizes: &[u64], sets: &[&LayerSet]) -> (Vec<u64>, Vec<LayerSet>) {
    let width = sets.len().div_ceil(64);
    let mut columns = vec![0_u64; sizes.len() * width];
    for (n, set) in sets.iter().enumerate() {
        for layer in set.iter() {
            if let Some(word) = columns.get_mut(layer * width + n / 64) {
                *word |= 1 << (n % 64);
            }
        }
    }
    let mut classes = BTreeMap::<&[u64], u64>::new();
    // Layers that no set has have no class.
    for (column, size) in columns.chunks(width.max(1)).zip(sizes).filter(|(c, _)| c.iter().any(|w| *w != 0)) {
        let bytes = classes.entry(column).or_default();
        *bytes = bytes.saturating_add(*size);
    }
    let mut result = vec![LayerSet::empty(classes.len()); sets.len()];
    for (class, column) in classes.keys().enumerate() {
        for (n, set) in result.iter_mut().enumerate() {
            if column.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1) {
                set.insert(class);
            }
        }
    }
    (classes.into_values().collect(), result)
}
