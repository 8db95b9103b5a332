// SPDX-License-Identifier: Apache-2.0
//! The suffixes of a file in order, by induced sorting (Nong, Zhang, Chan: "Linear suffix array construction by almost pure
//! induced-sorting", 2009), and the longest match in it.

use std::borrow::Cow;

/// A position that is not filled yet.
const EMPTY: u32 = u32::MAX;

/// The longest match that is told from longer ones: comparing more of it would make repetitive files take quadratic time.
const MAX_MATCH: usize = 16 << 10;

/// A text from this length on has the order of every other suffix only: half the time and memory. What begins at one of the others
/// is found at its second byte.
const LONG: usize = 1 << 20;

/// A file with its suffixes in order. It takes four bytes for each suffix, and so many while it is made.
pub(super) struct Suffixes<'a> {
    text: Cow<'a, [u8]>,
    /// Suffixes by their position, as a multiple of `step`.
    order: Vec<u32>,
    step: usize,
    /// For each pair of bytes, the first suffix that begins with it or with a later one.
    starts: Vec<u32>,
    beginnings: Beginnings,
}

impl<'a> Suffixes<'a> {
    /// Sorts the suffixes of a file of less than 2^31 bytes.
    pub(super) fn new(text: Cow<'a, [u8]>) -> Self {
        if text.len() < LONG { Self::of_bytes(text) } else { Self::of_pairs(text) }
    }

    fn of_bytes(text: Cow<'a, [u8]>) -> Self {
        let mut order = vec![EMPTY; text.len()];
        sort(&text, 1 << 8, &mut order);
        let mut starts = vec![0_u32; (1 << 16) + 1];
        for pair in text.windows(2) {
            starts[key(pair) + 1] += 1;
        }
        // The last byte is a suffix of its own, before all pairs that begin with it.
        if let Some(last) = text.last() {
            starts[usize::from(*last) << 8] += 1;
        }
        sum_up(&mut starts);
        let beginnings = Beginnings::new(&text, 1);
        Self { text, order, step: 1, starts, beginnings }
    }

    /// Two bytes are one symbol, which has the order of the bytes. A last byte without a second is in no suffix.
    fn of_pairs(mut text: Cow<'a, [u8]>) -> Self {
        let even = text.len() & !1;
        match &mut text {
            Cow::Borrowed(text) => *text = &text[..even],
            Cow::Owned(text) => text.truncate(even),
        }
        let pairs = text.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect::<Vec<_>>();
        let mut order = vec![EMPTY; pairs.len()];
        sort(&pairs, 1 << 16, &mut order);
        let mut starts = vec![0_u32; (1 << 16) + 1];
        for pair in &pairs {
            starts[usize::from(*pair) + 1] += 1;
        }
        sum_up(&mut starts);
        let beginnings = Beginnings::new(&text, 2);
        Self { text, order, step: 2, starts, beginnings }
    }

    /// The length of the longest beginning of `wanted` that the file has, and where; 0 for most of those that have fewer than
    /// [`SHORTEST`] bytes.
    pub(super) fn longest(&self, wanted: &[u8]) -> (usize, usize) {
        let wanted = &wanted[..wanted.len().min(MAX_MATCH)];
        if self.text.is_empty() || !self.beginnings.may_have(wanted) {
            return (0, 0);
        }
        let pair = key(wanted);
        let (mut low, mut high) = (self.starts[pair] as usize, self.starts[pair + 1] as usize);
        if low >= high {
            return (0, 0);
        }
        // What all suffixes between two that were compared have in common with `wanted` is not compared again.
        let (mut low_common, mut high_common) = (0, 0);
        let mut best = (0, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.order[middle] as usize * self.step;
            let suffix = &self.text[at..];
            let common = low_common.min(high_common);
            let common = common + common_prefix(&suffix[common..], &wanted[common..]);
            if common > best.0 {
                best = (common, at);
            }
            if common == wanted.len() {
                break;
            }
            if suffix.get(common).is_none_or(|byte| *byte < wanted[common]) {
                low = middle + 1;
                low_common = common;
            } else {
                high = middle;
                high_common = common;
            }
        }
        best
    }
}

/// Shorter matches are of no use to the caller.
pub(super) const SHORTEST: usize = 8;

/// A set of the first bytes of suffixes. A search reads the memory in thirty places that are far apart, and most searches find nothing
/// of use; this reads one.
struct Beginnings {
    bits: Vec<u64>,
    shift: u32,
}

impl Beginnings {
    fn new(text: &[u8], step: usize) -> Self {
        // Of eight bits, one is set at most.
        let log = (8 * text.len() / step).next_power_of_two().trailing_zeros().max(6);
        let mut set = Self { bits: vec![0; 1 << (log - 6)], shift: 64 - log };
        for beginning in text.windows(SHORTEST).step_by(step) {
            if let Some((word, bit)) = set.place(beginning) {
                set.bits[word] |= bit;
            }
        }
        set
    }

    fn place(&self, bytes: &[u8]) -> Option<(usize, u64)> {
        let hash = u64::from_le_bytes(*bytes.first_chunk::<SHORTEST>()?).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        Some(((place >> 6) as usize, 1 << (place & 63)))
    }

    /// Whether a suffix may begin with the first bytes of `wanted`.
    fn may_have(&self, wanted: &[u8]) -> bool {
        self.place(wanted).is_some_and(|(word, bit)| self.bits[word] & bit != 0)
    }
}

/// From the number of each to the number of all before it.
fn sum_up(counts: &mut [u32]) {
    let mut sum = 0;
    for count in counts {
        sum += *count;
        *count = sum;
    }
}

fn key(pair: &[u8]) -> usize {
    usize::from(pair[0]) << 8 | usize::from(pair[1])
}

/// How many bytes two files have in common from their beginning on.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 16;
    let steps = a.chunks_exact(STEP).zip(b.chunks_exact(STEP)).take_while(|(a, b)| a == b).count();
    let done = steps * STEP;
    done + a[done..].iter().zip(&b[done..]).take_while(|(a, b)| a == b).count()
}

/// The symbols of a text: bytes or pairs of bytes at first, then the names of its parts.
trait Symbol: Copy + PartialEq {
    fn number(self) -> usize;
}

impl Symbol for u8 {
    fn number(self) -> usize {
        usize::from(self)
    }
}

impl Symbol for u16 {
    fn number(self) -> usize {
        usize::from(self)
    }
}

impl Symbol for u32 {
    fn number(self) -> usize {
        self as usize
    }
}

/// For each position whether its suffix is smaller than the next one.
struct Types(Vec<u64>);

impl Types {
    fn new<T: Symbol>(text: &[T]) -> Self {
        let mut bits = vec![0_u64; text.len().div_ceil(64)];
        // The last suffix is larger than the empty one.
        let mut is_smaller = false;
        for i in (0..text.len().saturating_sub(1)).rev() {
            let (this, next) = (text[i].number(), text[i + 1].number());
            is_smaller = this < next || this == next && is_smaller;
            bits[i / 64] |= u64::from(is_smaller) << (i % 64);
        }
        Self(bits)
    }

    fn is_smaller(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    /// Whether the suffix is smaller than both of its neighbours: the others follow from the order of these.
    fn is_valley(&self, i: usize) -> bool {
        i > 0 && self.is_smaller(i) && !self.is_smaller(i - 1)
    }
}

/// Sorts the suffixes of a text of symbols below `symbols`.
fn sort<T: Symbol>(text: &[T], symbols: usize, order: &mut [u32]) {
    let length = text.len();
    if length < 2 {
        order.fill(0);
        return;
    }
    let types = Types::new(text);
    let mut counts = vec![0_u32; symbols];
    text.iter().for_each(|symbol| counts[symbol.number()] += 1);

    // The valleys in any order give the order of the parts that begin at them.
    let mut ends = bucket_ends(&counts);
    order.fill(EMPTY);
    for i in (1..length).filter(|i| types.is_valley(*i)) {
        let end = &mut ends[text[i].number()];
        *end -= 1;
        order[*end as usize] = i as u32;
    }
    induce(text, &types, &counts, order);

    let mut valleys = 0;
    for i in 0..length {
        let at = order[i];
        if types.is_valley(at as usize) {
            order[valleys] = at;
            valleys += 1;
        }
    }
    if valleys > 0 {
        sort_valleys(text, &types, order, valleys);
    }

    // The valleys in their order give the order of all.
    let mut ends = bucket_ends(&counts);
    order[valleys..].fill(EMPTY);
    for i in (0..valleys).rev() {
        let at = order[i];
        order[i] = EMPTY;
        let end = &mut ends[text[at as usize].number()];
        *end -= 1;
        order[*end as usize] = at;
    }
    induce(text, &types, &counts, order);
}

/// From the parts in order, in the first places, to the valleys in order: parts get names, and the text of these names is sorted.
fn sort_valleys<T: Symbol>(text: &[T], types: &Types, order: &mut [u32], valleys: usize) {
    let (sorted, rest) = order.split_at_mut(valleys);
    rest.fill(EMPTY);
    let (mut name, mut before) = (0, None);
    for at in sorted.iter() {
        let at = *at as usize;
        if before.is_some_and(|before| !is_same_part(text, types, before, at)) {
            name += 1;
        }
        before = Some(at);
        // Valleys are never neighbours.
        rest[at / 2] = name;
    }
    let mut last = rest.len();
    for i in (0..rest.len()).rev() {
        if rest[i] != EMPTY {
            last -= 1;
            rest[last] = rest[i];
        }
    }
    let names = &mut rest[last..];
    if (name as usize) + 1 < valleys {
        sort(&*names, name as usize + 1, sorted);
    } else {
        names.iter().enumerate().for_each(|(i, name)| sorted[*name as usize] = i as u32);
    }
    let positions = (1..text.len()).filter(|i| types.is_valley(*i));
    names.iter_mut().zip(positions).for_each(|(place, at)| *place = at as u32);
    sorted.iter_mut().for_each(|number| *number = names[*number as usize]);
}

/// Whether the parts from these valleys to the next ones are equal.
fn is_same_part<T: Symbol>(text: &[T], types: &Types, a: usize, b: usize) -> bool {
    for i in 0.. {
        // The one that reaches the end first is the smaller.
        let (Some(x), Some(y)) = (text.get(a + i), text.get(b + i)) else { return false };
        if x != y || types.is_smaller(a + i) != types.is_smaller(b + i) {
            return false;
        }
        if i > 0 && (types.is_valley(a + i) || types.is_valley(b + i)) {
            return types.is_valley(a + i) && types.is_valley(b + i);
        }
    }
    false
}

fn bucket_ends(counts: &[u32]) -> Vec<u32> {
    let mut sum = 0;
    let ends = counts.iter().map(|count| {
        sum += count;
        sum
    });
    ends.collect()
}

/// Places the larger suffixes by the smaller ones behind them, from the first on, and then the smaller ones by these.
fn induce<T: Symbol>(text: &[T], types: &Types, counts: &[u32], order: &mut [u32]) {
    let mut ends = bucket_ends(counts);
    let mut starts = ends.iter().zip(counts).map(|(end, count)| end - count).collect::<Vec<_>>();
    let mut place = |order: &mut [u32], at: usize| {
        let start = &mut starts[text[at].number()];
        order[*start as usize] = at as u32;
        *start += 1;
    };
    place(order, text.len() - 1);
    for i in 0..order.len() {
        let at = order[i];
        if at != EMPTY && at > 0 && !types.is_smaller(at as usize - 1) {
            place(order, at as usize - 1);
        }
    }
    for i in (0..order.len()).rev() {
        let at = order[i];
        if at != EMPTY && at > 0 && types.is_smaller(at as usize - 1) {
            let end = &mut ends[text[at as usize - 1].number()];
            *end -= 1;
            order[*end as usize] = at - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(0..2_u8, 0..300),
            prop::collection::vec(prop_oneof![Just(0_u8), Just(255)], 0..60).prop_map(|part| part.repeat(5)),
        ]
    }

    proptest! {
        #[test]
        fn suffixes_are_in_order(text in texts()) {
            let mut expected = (0..text.len() as u32).collect::<Vec<_>>();
            expected.sort_by_key(|at| &text[*at as usize..]);
            prop_assert_eq!(&Suffixes::of_bytes(Cow::Borrowed(&text)).order, &expected);
            let even = &text[..text.len() & !1];
            let mut expected = (0..even.len() as u32 / 2).collect::<Vec<_>>();
            expected.sort_by_key(|at| &even[*at as usize * 2..]);
            prop_assert_eq!(&Suffixes::of_pairs(Cow::Borrowed(&text)).order, &expected);
        }

        #[test]
        fn the_longest_match_is_found(text in texts(), wanted in texts()) {
            for (suffixes, step) in
                [(Suffixes::of_bytes(Cow::Borrowed(&text)), 1), (Suffixes::of_pairs(Cow::Owned(text.clone())), 2)]
            {
                let (length, at) = suffixes.longest(&wanted);
                prop_assert_eq!(&text[at..at + length], &wanted[..length]);
                let even = &text[..text.len() / step * step];
                let longest = (0..even.len()).step_by(step).map(|at| common_prefix(&even[at..], &wanted)).max();
                let longest = longest.unwrap_or(0);
                prop_assert!(length == longest || length < SHORTEST && longest < SHORTEST, "{} of {}", length, longest);
            }
        }
    }
}
