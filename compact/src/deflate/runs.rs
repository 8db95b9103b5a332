// SPDX-License-Identifier: Apache-2.0
//! Runs of equal code lengths (RFC 1951, 3.2.7), cut as the encoders of Go and zlib do.

/// Symbols of the alphabet of code lengths.
pub const RUN_SYMBOLS: usize = 19;

/// A code length, or a symbol that repeats one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// A length (0 to 15), 16 (repeats the length before), 17 or 18 (repeat 0).
    pub symbol: u8,
    /// How often it repeats, as it is written.
    pub extra: u8,
}

impl Run {
    /// Number of bits of `extra`.
    #[must_use]
    #[inline]
    pub fn extra_bits(self) -> u32 {
        match self.symbol {
            16 => 2,
            17 => 3,
            18 => 7,
            _ => 0,
        }
    }
}

/// Cuts a sequence of code lengths into runs, and appends them.
///
/// Encoders differ in what one sequence is: both alphabets of a block together (Go), or each by itself (zlib).
pub fn append_runs(lengths: impl Iterator<Item = u8>, runs: &mut Vec<Run>) {
    let mut lengths = lengths.peekable();
    while let Some(length) = lengths.next() {
        let mut count = 1;
        while lengths.next_if_eq(&length).is_some() {
            count += 1;
        }
        append_run(length, count, runs);
    }
}

fn append_run(length: u8, mut count: usize, runs: &mut Vec<Run>) {
    let mut repeat = |symbol, least: usize, count| runs.push(Run { symbol, extra: (count - least) as u8 });
    if length != 0 {
        repeat(length, 1, 1);
        count -= 1;
        while count >= 3 {
            let most = count.min(6);
            repeat(16, 3, most);
            count -= most;
        }
    } else {
        while count >= 11 {
            let most = count.min(138);
            repeat(18, 11, most);
            count -= most;
        }
        if count >= 3 {
            repeat(17, 3, count);
            count = 0;
        }
    }
    for _ in 0..count {
        repeat(length, 1, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(length: u8, count: usize) -> Vec<(u8, u8)> {
        let mut runs = Vec::new();
        append_runs(std::iter::repeat_n(length, count), &mut runs);
        runs.into_iter().map(|run| (run.symbol, run.extra)).collect()
    }

    #[test]
    fn long_runs_are_cut_from_their_beginning() {
        assert_eq!(runs(5, 9), [(5, 0), (16, 3), (5, 0), (5, 0)]);
        assert_eq!(runs(5, 3), [(5, 0), (5, 0), (5, 0)]);
        assert_eq!(runs(0, 139), [(18, 127), (0, 0)]);
        assert_eq!(runs(0, 149), [(18, 127), (18, 0)]);
        assert_eq!(runs(0, 10), [(17, 7)]);
        assert_eq!(runs(0, 2), [(0, 0), (0, 0)]);
    }
}
