// SPDX-License-Identifier: Apache-2.0
//! Adaptive binary arithmetic coding.
//!
//! Nearly all decisions of a stream are as predicted, and each costs far below one bit here; a byte-oriented compressor needs a
//! complete code for each.

/// Probability of one kind of decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    fast: u16,
    slow: u16,
}

const LEAST: u32 = 32;
const FAST: u32 = 4;
const SLOW: u32 = 7;

impl Default for Model {
    fn default() -> Self {
        Self { fast: 1 << 15, slow: 1 << 15 }
    }
}

impl Model {
    #[inline]
    fn probability(self) -> u32 {
        ((u32::from(self.fast) + u32::from(self.slow)) >> 1).clamp(LEAST, 65536 - LEAST)
    }

    #[inline]
    fn learn(&mut self, decision: bool) {
        if decision {
            self.fast -= self.fast >> FAST;
            self.slow -= self.slow >> SLOW;
        } else {
            self.fast += (u16::MAX - self.fast) >> FAST;
            self.slow += (u16::MAX - self.slow) >> SLOW;
        }
    }
}

/// Writes or reads decisions.
///
/// The code that describes a stream is written once, for both directions: a writer stores the decision that it is given and
/// returns it, a reader ignores it and returns the stored one.
pub(super) trait Coder {
    /// A decision with a model.
    fn decide(&mut self, model: &mut Model, decision: bool) -> bool;

    /// `count` (up to 32) bits without a model, highest first.
    fn bits(&mut self, count: u32, value: u32) -> u32;
}

const TOP: u32 = 1 << 24;

/// Stores decisions.
#[derive(Debug)]
pub(super) struct Writer {
    low: u64,
    range: u32,
    /// The last byte that a carry can still change, and how many bytes of 0xff follow it.
    held: u8,
    held_ones: u64,
    out: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { low: 0, range: u32::MAX, held: 0, held_ones: 0, out: Vec::new() }
    }
}

impl Writer {
    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.out.len() as u64 + self.held_ones
    }

    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            // The first held byte is none: it is written all the same, as 0.
            self.out.push(self.held.wrapping_add(carry));
            for _ in 0..self.held_ones {
                self.out.push(0xffu8.wrapping_add(carry));
            }
            self.held_ones = 0;
            self.held = (self.low >> 24) as u8;
        } else {
            self.held_ones += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    #[inline]
    fn normalize(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
    }

    /// The stored decisions.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        self.out
    }
}

impl Coder for Writer {
    #[inline]
    fn decide(&mut self, model: &mut Model, decision: bool) -> bool {
        let bound = (self.range >> 16) * model.probability();
        if decision {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(decision);
        self.normalize();
        decision
    }

    fn bits(&mut self, count: u32, value: u32) -> u32 {
        for bit in (0..count).rev() {
            self.range >>= 1;
            if value >> bit & 1 == 1 {
                self.low += u64::from(self.range);
            }
            self.normalize();
        }
        value
    }
}

/// Gives stored decisions back. Behind the end of the bytes it gives decisions without a meaning; see [`Reader::is_beyond`].
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    code: u32,
    range: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { bytes, at: 0, code: 0, range: u32::MAX };
        for _ in 0..5 {
            reader.shift();
        }
        reader
    }

    #[inline]
    fn shift(&mut self) {
        let byte = self.bytes.get(self.at).copied().unwrap_or_default();
        self.at = self.at.saturating_add(1);
        self.code = self.code << 8 | u32::from(byte);
    }

    #[inline]
    fn normalize(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
    }

    /// More bytes were needed than there are.
    pub(super) fn is_beyond(&self) -> bool {
        self.at > self.bytes.len()
    }

    /// All bytes were needed, and no more.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

impl Coder for Reader<'_> {
    #[inline]
    fn decide(&mut self, model: &mut Model, _: bool) -> bool {
        let bound = (self.range >> 16) * model.probability();
        let decision = self.code >= bound;
        if decision {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(decision);
        self.normalize();
        decision
    }

    fn bits(&mut self, count: u32, _: u32) -> u32 {
        let mut value = 0;
        for _ in 0..count {
            self.range >>= 1;
            let bit = self.code >= self.range;
            if bit {
                self.code -= self.range;
            }
            value = value << 1 | u32::from(bit);
            self.normalize();
        }
        value
    }
}

/// Numbers below 2^BITS: their bits from the highest, each with a model of its own for each value of the bits before it.
#[derive(Debug, Clone)]
pub(super) struct Tree<const BITS: u32> {
    models: Vec<Model>,
}

impl<const BITS: u32> Default for Tree<BITS> {
    fn default() -> Self {
        Self { models: vec![Model::default(); 1 << BITS] }
    }
}

impl<const BITS: u32> Tree<BITS> {
    pub(super) fn code(&mut self, coder: &mut impl Coder, value: u32) -> u32 {
        let mut node = 1;
        for bit in (0..BITS).rev() {
            let Some(model) = self.models.get_mut(node) else { break };
            let decision = coder.decide(model, value >> bit & 1 == 1);
            node = node << 1 | usize::from(decision);
        }
        node as u32 & ((1 << BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_reader_returns_what_a_writer_took(
            decisions in prop::collection::vec((0usize..4, 0u8..20), 0..5000),
            numbers in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let (mut writer, mut models, mut number) = (Writer::default(), [Model::default(); 4], Tree::<8>::default());
            // Model 0 sees nearly only `false`, which is where carries and long runs of ones occur.
            let decision = |model: usize, value: u8| usize::from(value) < model * 6 || value == 19;
            for &(model, value) in &decisions {
                writer.decide(&mut models[model], decision(model, value));
            }
            for &value in &numbers {
                number.code(&mut writer, value.into());
                writer.bits(u32::from(value & 31) + 1, u32::from(value) & 1);
            }
            let bytes = writer.finish();
            let (mut reader, mut models, mut number) = (Reader::new(&bytes), [Model::default(); 4], Tree::<8>::default());
            for &(model, value) in &decisions {
                prop_assert_eq!(reader.decide(&mut models[model], false), decision(model, value));
            }
            for &value in &numbers {
                prop_assert_eq!(number.code(&mut reader, 0), u32::from(value));
                prop_assert_eq!(reader.bits(u32::from(value & 31) + 1, 0), u32::from(value) & 1);
            }
            prop_assert!(reader.is_at_end() && !reader.is_beyond());
        }
    }

    #[test]
    fn what_is_always_the_same_costs_nearly_nothing() {
        let (mut writer, mut model) = (Writer::default(), Model::default());
        for _ in 0..1_000_000 {
            writer.decide(&mut model, true);
        }
        assert!(writer.len() < 300, "{} bytes", writer.len());
    }
}
