// SPDX-License-Identifier: Apache-2.0
//! The codes of dynamic blocks: what an encoder makes of the frequencies, and differences from that.

use super::range::{Coder, Model, Tree};
use crate::deflate::inflate::Dynamic;
use crate::deflate::{
    BitWriter, CODE_LENGTH_LIMIT, CODE_LENGTH_ORDER, DISTANCE_SYMBOLS, Frequencies, LENGTH_LIMIT,
    LITERAL_SYMBOLS, Lengths, RUN_SYMBOLS, Run, append_runs, canonical_codes, code_lengths,
};
use crate::encoder::zlib;

/// How an encoder makes its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trees {
    /// As Go does: package-merge, a run of code lengths may continue in the other alphabet, a block without matches has one
    /// distance code.
    Go,
    /// As zlib does: Huffman's algorithm with a heap, runs end with their alphabet, two distance codes at least.
    Zlib,
}

impl Trees {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Go, Self::Zlib];

    /// The byte of a recipe.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Go => 0,
            Self::Zlib => 1,
        }
    }

    /// What a byte of a recipe says.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|trees| trees.to_byte() == byte)
    }

    fn lengths_of(self, frequencies: &[u32], limit: usize, lengths: &mut [u8]) {
        match self {
            Self::Go => code_lengths(frequencies, limit, lengths),
            Self::Zlib => zlib::code_lengths(frequencies, limit, lengths),
        }
    }

    fn lengths(self, frequencies: &Frequencies) -> Lengths {
        let mut lengths = Lengths::default();
        self.lengths_of(&frequencies.literals, LENGTH_LIMIT, &mut lengths.literals);
        self.lengths_of(&frequencies.distances, LENGTH_LIMIT, &mut lengths.distances);
        if self == Self::Go && lengths.distances == [0; DISTANCE_SYMBOLS] {
            lengths.distances[0] = 1;
        }
        lengths
    }

    fn runs(self, literals: &[u8], distances: &[u8]) -> Vec<Run> {
        let mut runs = Vec::new();
        match self {
            Self::Go => append_runs(literals.iter().chain(distances).copied(), &mut runs),
            Self::Zlib => {
                append_runs(literals.iter().copied(), &mut runs);
                append_runs(distances.iter().copied(), &mut runs);
            }
        }
        runs
    }

    fn run_lengths(self, runs: &[Run]) -> [u8; RUN_SYMBOLS] {
        let mut frequencies = [0; RUN_SYMBOLS];
        for run in runs {
            if let Some(frequency) = frequencies.get_mut(usize::from(run.symbol)) {
                *frequency += 1;
            }
        }
        let mut lengths = [0; RUN_SYMBOLS];
        self.lengths_of(&frequencies, CODE_LENGTH_LIMIT, &mut lengths);
        lengths
    }
}

/// How many lengths are sent if those of 0 at the end are not.
fn used(lengths: impl DoubleEndedIterator<Item = u8> + ExactSizeIterator, least: usize) -> usize {
    let mut lengths = lengths;
    lengths.rposition(|length| length != 0).map_or(least, |last| (last + 1).max(least))
}

/// The codes of a block contradict each other.
#[derive(Debug)]
pub(super) struct Contradiction;

/// Codes the differences of dynamic blocks.
#[derive(Debug, Default)]
pub(super) struct CodesModel {
    lengths_differ: Model,
    /// Of single lengths, by the kind of the one that is expected.
    length_differs: [Model; 2],
    length: Tree<4>,
    counts_differ: Model,
    runs_differ: Model,
    run_kind: Tree<2>,
    run_lengths_differ: Model,
    run_count_differs: Model,
}

impl CodesModel {
    /// The codes of a block with these frequencies; `actual` is what a writer stores.
    pub(super) fn code(
        &mut self,
        coder: &mut impl Coder,
        trees: Trees,
        frequencies: &Frequencies,
        actual: Option<&Dynamic>,
    ) -> Result<Dynamic, Contradiction> {
        let lengths = self.lengths(coder, trees.lengths(frequencies), actual.map(|actual| &actual.lengths));
        let (literal_count, distance_count) =
            self.counts(coder, &lengths, actual.map(|actual| (actual.literal_count, actual.distance_count)))?;
        let (literals, distances) =
            (&lengths.literals[..literal_count], &lengths.distances[..distance_count]);

        let mut runs = trees.runs(literals, distances);
        let actual_runs = actual.map_or(&[][..], |actual| &actual.runs);
        if coder.decide(&mut self.runs_differ, actual_runs != runs) {
            runs = self.runs(coder, &[literals, distances].concat(), actual_runs)?;
        }
        let mut run_lengths = trees.run_lengths(&runs);
        let actual_lengths = actual.map(|actual| actual.run_lengths).unwrap_or_default();
        if coder.decide(&mut self.run_lengths_differ, actual_lengths != run_lengths) {
            for (length, actual) in run_lengths.iter_mut().zip(actual_lengths) {
                *length = coder.bits(3, actual.into()) as u8;
            }
        }
        let least = used(CODE_LENGTH_ORDER.map(|symbol| run_lengths[symbol]).into_iter(), 4);
        let mut run_count = least;
        let actual_count = actual.map_or(run_count, |actual| actual.run_count);
        if coder.decide(&mut self.run_count_differs, actual_count != run_count) {
            run_count = coder.bits(4, (actual_count - 4) as u32) as usize + 4;
        }
        let is_coded = |run: &Run| run_lengths.get(usize::from(run.symbol)).is_some_and(|&length| length > 0);
        if !(least..=RUN_SYMBOLS).contains(&run_count) || !runs.iter().all(is_coded) {
            return Err(Contradiction);
        }
        let has_code = |(&frequency, &length): (&u32, &u8)| frequency == 0 || length > 0;
        if !frequencies.literals.iter().zip(&lengths.literals).all(has_code)
            || !frequencies.distances.iter().zip(&lengths.distances).all(has_code)
        {
            return Err(Contradiction);
        }
        Ok(Dynamic { literal_count, distance_count, run_lengths, run_count, runs, lengths })
    }

    fn lengths(&mut self, coder: &mut impl Coder, mut lengths: Lengths, actual: Option<&Lengths>) -> Lengths {
        if coder.decide(&mut self.lengths_differ, actual.is_some_and(|actual| *actual != lengths)) {
            let none = Lengths::default();
            let actual = actual.unwrap_or(&none);
            let expected = lengths.literals.iter_mut().chain(&mut lengths.distances);
            for (length, &actual) in expected.zip(actual.literals.iter().chain(&actual.distances)) {
                let model = &mut self.length_differs[usize::from(*length > 0)];
                if coder.decide(model, *length != actual) {
                    *length = self.length.code(coder, actual.into()) as u8;
                }
            }
        }
        lengths
    }

    fn counts(
        &mut self,
        coder: &mut impl Coder,
        lengths: &Lengths,
        actual: Option<(usize, usize)>,
    ) -> Result<(usize, usize), Contradiction> {
        let least = (used(lengths.literals.iter().copied(), 257), used(lengths.distances.iter().copied(), 1));
        let mut counts = least;
        let actual = actual.unwrap_or(least);
        if coder.decide(&mut self.counts_differ, actual != counts) {
            counts.0 = coder.bits(5, (actual.0 - 257) as u32) as usize + 257;
            counts.1 = coder.bits(5, (actual.1 - 1) as u32) as usize + 1;
        }
        if (least.0..=LITERAL_SYMBOLS).contains(&counts.0) && (least.1..=DISTANCE_SYMBOLS).contains(&counts.1)
        {
            Ok(counts)
        } else {
            Err(Contradiction)
        }
    }

    fn runs(
        &mut self,
        coder: &mut impl Coder,
        lengths: &[u8],
        actual: &[Run],
    ) -> Result<Vec<Run>, Contradiction> {
        let (mut runs, mut at, mut actual) = (Vec::new(), 0, actual.iter());
        while let Some(&length) = lengths.get(at) {
            let actual = actual.next().copied().unwrap_or(Run { symbol: 0, extra: 0 });
            let kind = self.run_kind.code(coder, u32::from(actual.symbol.saturating_sub(15)));
            let mut run = Run { symbol: if kind == 0 { length } else { kind as u8 + 15 }, extra: 0 };
            run.extra = coder.bits(run.extra_bits(), actual.extra.into()) as u8;
            let (value, count) = match (run.symbol, at.checked_sub(1).and_then(|before| lengths.get(before)))
            {
                (16, None) => return Err(Contradiction),
                (16, Some(&before)) => (before, 3 + usize::from(run.extra)),
                (17, _) => (0, 3 + usize::from(run.extra)),
                (18, _) => (0, 11 + usize::from(run.extra)),
                _ => (length, 1),
            };
            if !lengths.get(at..at + count).is_some_and(|all| all.iter().all(|&length| length == value)) {
                return Err(Contradiction);
            }
            at += count;
            runs.push(run);
        }
        Ok(runs)
    }
}

/// Begins a dynamic block with these codes.
pub(super) fn write_dynamic(dynamic: &Dynamic, is_final: bool, bits: &mut BitWriter) {
    bits.put(0b100 | u32::from(is_final), 3);
    bits.put(dynamic.literal_count.saturating_sub(257) as u32 & 31, 5);
    bits.put(dynamic.distance_count.saturating_sub(1) as u32 & 31, 5);
    bits.put(dynamic.run_count.saturating_sub(4) as u32 & 15, 4);
    for &symbol in CODE_LENGTH_ORDER.iter().take(dynamic.run_count) {
        bits.put(u32::from(dynamic.run_lengths[symbol] & 7), 3);
    }
    let codes = canonical_codes(&dynamic.run_lengths);
    for &run in &dynamic.runs {
        if let Some(code) = codes.get(usize::from(run.symbol)) {
            bits.put(u32::from(code.bits), u32::from(code.length));
            bits.put(u32::from(run.extra), run.extra_bits());
        }
    }
}
