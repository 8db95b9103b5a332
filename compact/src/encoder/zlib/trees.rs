// SPDX-License-Identifier: Apache-2.0
//! Code lengths as zlib computes them: a Huffman tree from a heap, and a repair where it is too deep.
//!
//! Other encoders have codes of the same size with other lengths, because ties between frequencies are broken here by the depth of
//! a subtree and then by the place in the heap. So the order of each comparison counts.

use crate::deflate::LENGTH_LIMIT;

/// A symbol, or a number above all symbols for an inner node.
type Node = usize;

/// Code lengths of at most `limit` (up to 15) bits. `lengths` is at least as long as `frequencies`, and has three or more symbols.
///
/// At least two symbols get a length: if fewer have a frequency, those with the smallest numbers that are free.
pub(crate) fn code_lengths(frequencies: &[u32], limit: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut tree = Tree::new(frequencies, lengths.len());
    let order = tree.merge();
    tree.write_lengths(&order, limit.min(LENGTH_LIMIT), lengths);
}

struct Tree {
    symbols: usize,
    /// Of symbols, then of inner nodes.
    frequencies: Vec<u32>,
    depths: Vec<u16>,
    parents: Vec<Node>,
    /// What is not merged yet; children of the node at `k` (from 0) are at `2k + 1` and `2k + 2`.
    heap: Vec<Node>,
}

impl Tree {
    fn new(frequencies: &[u32], symbols: usize) -> Self {
        let mut frequencies = frequencies.to_vec();
        frequencies.resize(symbols, 0);
        let mut heap: Vec<Node> = (0..symbols).filter(|&symbol| frequencies[symbol] > 0).collect();
        let mut free = heap.last().map_or(0, |last| last + 1);
        while heap.len() < 2.min(symbols) {
            let symbol = if free < 3 { free } else { 0 };
            free += 1;
            heap.push(symbol);
            frequencies[symbol] = 1;
        }
        Self { symbols, depths: vec![0; symbols], parents: vec![0; symbols], frequencies, heap }
    }

    /// Merges the two smallest nodes until one is left. Returns all nodes but the root in the order in which they were taken.
    fn merge(&mut self) -> Vec<Node> {
        for at in (0..self.heap.len() / 2).rev() {
            self.sink(at);
        }
        let mut order = Vec::with_capacity(2 * self.heap.len());
        while self.heap.len() > 1 {
            let first = self.heap.swap_remove(0);
            self.sink(0);
            let second = self.heap[0];
            order.extend([first, second]);
            let node = self.frequencies.len();
            self.frequencies.push(self.frequencies[first].saturating_add(self.frequencies[second]));
            self.depths.push(1 + self.depths[first].max(self.depths[second]));
            self.parents.push(node);
            self.parents[first] = node;
            self.parents[second] = node;
            self.heap[0] = node;
            self.sink(0);
        }
        order
    }

    fn is_at_most(&self, a: Node, b: Node) -> bool {
        (self.frequencies[a], self.depths[a]) <= (self.frequencies[b], self.depths[b])
    }

    fn sink(&mut self, mut at: usize) {
        let Some(&node) = self.heap.get(at) else { return };
        while let Some(&left) = self.heap.get(2 * at + 1) {
            let (child, place) = match self.heap.get(2 * at + 2) {
                Some(&right) if self.is_at_most(right, left) => (right, 2 * at + 2),
                _ => (left, 2 * at + 1),
            };
            if self.is_at_most(node, child) {
                break;
            }
            self.heap[at] = child;
            at = place;
        }
        self.heap[at] = node;
    }

    fn write_lengths(&self, order: &[Node], limit: usize, lengths: &mut [u8]) {
        let mut levels = vec![0; self.frequencies.len()];
        let mut counts = [0usize; LENGTH_LIMIT + 1];
        let mut excess = 0;
        for &node in order.iter().rev() {
            let level = levels[self.parents[node]] + 1;
            excess += usize::from(level > limit);
            levels[node] = level.min(limit);
            counts[levels[node]] += usize::from(node < self.symbols);
        }
        let leaves = order.iter().copied().filter(|&node| node < self.symbols);
        if excess == 0 {
            leaves.for_each(|symbol| lengths[symbol] = levels[symbol] as u8);
            return;
        }
        shorten(&mut counts, limit, excess);
        // The symbols that were taken first get the longest codes.
        let longest_first = (1..=limit).rev().flat_map(|length| std::iter::repeat_n(length, counts[length]));
        leaves.zip(longest_first).for_each(|(symbol, length)| lengths[symbol] = length as u8);
    }
}

/// Makes a code of the lengths of a tree of which `excess` nodes (leaves and inner nodes) were cut to `limit`.
fn shorten(counts: &mut [usize; LENGTH_LIMIT + 1], limit: usize, mut excess: usize) {
    while excess > 0 {
        // A leaf moves down one level, and one of the leaves that are too deep becomes its sibling.
        let Some(length) = (1..limit).rev().find(|&length| counts[length] > 0) else { return };
        counts[length] -= 1;
        counts[length + 1] += 2;
        counts[limit] = counts[limit].saturating_sub(1);
        excess = excess.saturating_sub(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths<const N: usize>(frequencies: [u32; N], limit: usize) -> [u8; N] {
        let mut lengths = [0; N];
        code_lengths(&frequencies, limit, &mut lengths);
        lengths
    }

    /// Made with zlib.
    #[test]
    fn ties_go_to_the_shallower_subtree() {
        assert_eq!(lengths([1, 1, 1, 1, 2], 15), [2, 3, 2, 3, 2]);
        assert_eq!(lengths([1, 1, 2, 2, 2, 4], 15), [3, 3, 3, 2, 3, 2]);
        assert_eq!(lengths([5, 0, 5, 5, 5, 5], 15), [3, 0, 2, 2, 2, 3]);
        assert_eq!(lengths([2, 1, 1, 1, 1, 1, 1, 1], 15), [3; 8]);
        assert_eq!(lengths([3, 3, 2, 2, 1, 1, 1, 1], 15), [2, 2, 3, 3, 4, 4, 4, 4]);
    }

    #[test]
    fn a_tree_that_is_too_deep_is_repaired() {
        assert_eq!(lengths([1, 1, 2, 3, 5, 8, 13, 21, 34, 55], 7), [7, 7, 7, 7, 6, 6, 4, 3, 2, 1]);
        assert_eq!(
            lengths([1, 1, 1, 3, 3, 3, 6, 6, 12, 24, 48, 96, 192], 7),
            [7, 7, 7, 7, 7, 7, 7, 7, 5, 5, 3, 2, 1]
        );
        let fibonacci = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181];
        assert_eq!(
            lengths(fibonacci, 15),
            [15, 15, 15, 15, 15, 15, 14, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
        );
        assert_eq!(lengths(fibonacci, 7), [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 3, 2, 1]);
    }

    #[test]
    fn two_symbols_have_a_code_even_if_they_do_not_occur() {
        assert_eq!(lengths([0; 30], 15)[..3], [1, 1, 0]);
        assert_eq!(lengths([9, 0, 0, 0], 15), [1, 1, 0, 0]);
        assert_eq!(lengths([0, 9, 0, 0], 15), [0, 1, 1, 0]);
        assert_eq!(lengths([0, 0, 9, 0], 15), [1, 0, 1, 0]);
    }
}
