// SPDX-License-Identifier: Apache-2.0
//! The header of a block, as it is written.

use std::io::Read;

use super::error::{Alphabet, Fault};
use super::source::Source;
use super::table::Table;
use crate::deflate::{CODE_LENGTH_ORDER, DISTANCE_SYMBOLS, LITERAL_SYMBOLS, Lengths, RUN_SYMBOLS, Run};

/// How a block begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The last block of its stream.
    pub is_final: bool,
    /// The type.
    pub kind: BlockKind,
}

/// Type of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockKind {
    /// Plain bytes.
    Stored {
        /// Number of bytes.
        size: u16,
        /// The bits up to the byte border before the size. Encoders write zeros.
        padding: u8,
    },
    /// The codes of the specification.
    Fixed,
    /// Codes of its own.
    Dynamic(Box<Dynamic>),
}

/// The codes of a dynamic block, as they are written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Dynamic {
    /// How many lengths of literals and lengths are sent (HLIT + 257).
    pub literal_count: usize,
    /// How many lengths of distances are sent (HDIST + 1).
    pub distance_count: usize,
    /// Lengths of the code of code lengths.
    pub run_lengths: [u8; RUN_SYMBOLS],
    /// How many of them are sent (HCLEN + 4).
    pub run_count: usize,
    /// The code lengths as sent.
    pub runs: Vec<Run>,
    /// What the runs say.
    pub lengths: Lengths,
}

impl Block {
    pub(super) fn read<R: Read>(source: &mut Source<R>, runs: &mut Table) -> Result<Self, Fault> {
        let bits = source.bits(3)?;
        let kind = match bits >> 1 {
            0 => {
                let padding = source.padding()?;
                let size = source.bits(32)?;
                if size & 0xffff != !(size >> 16) & 0xffff {
                    return Err(Fault::StoredLength);
                }
                BlockKind::Stored { size: size as u16, padding }
            }
            1 => BlockKind::Fixed,
            2 => BlockKind::Dynamic(Box::new(Dynamic::read(source, runs)?)),
            _ => return Err(Fault::BlockType),
        };
        Ok(Self { is_final: bits & 1 == 1, kind })
    }
}

impl Dynamic {
    fn read<R: Read>(source: &mut Source<R>, table: &mut Table) -> Result<Self, Fault> {
        let counts = source.bits(14)?;
        let literal_count = (counts & 31) as usize + 257;
        let distance_count = (counts >> 5 & 31) as usize + 1;
        let run_count = (counts >> 10) as usize + 4;
        if literal_count > LITERAL_SYMBOLS || distance_count > DISTANCE_SYMBOLS {
            return Err(Fault::CodeCounts { literals: literal_count, distances: distance_count });
        }
        let mut run_lengths = [0; RUN_SYMBOLS];
        for &symbol in CODE_LENGTH_ORDER.iter().take(run_count) {
            run_lengths[symbol] = source.bits(3)? as u8;
        }
        table.set(&run_lengths)?;

        let total = literal_count + distance_count;
        let mut all = [0; LITERAL_SYMBOLS + DISTANCE_SYMBOLS];
        let mut runs = Vec::with_capacity(total);
        let mut at = 0;
        while at < total {
            source.refill()?;
            let (symbol, bits) = table.symbol(source.peek())?;
            source.take(bits)?;
            let mut run = Run { symbol: symbol as u8, extra: 0 };
            run.extra = source.take(run.extra_bits())? as u8;
            let (length, count) = match symbol {
                0..16 => (symbol as u8, 1),
                16 if at == 0 => return Err(Fault::Runs),
                16 => (all[at - 1], 3 + usize::from(run.extra)),
                17 => (0, 3 + usize::from(run.extra)),
                _ => (0, 11 + usize::from(run.extra)),
            };
            if count > total - at {
                return Err(Fault::Runs);
            }
            all[at..at + count].fill(length);
            at += count;
            runs.push(run);
        }
        let mut lengths = Lengths::default();
        lengths.literals[..literal_count].copy_from_slice(&all[..literal_count]);
        lengths.distances[..distance_count].copy_from_slice(&all[literal_count..total]);
        if lengths.literals[crate::deflate::END_OF_BLOCK] == 0 {
            return Err(Fault::EndOfBlock);
        }
        Ok(Self { literal_count, distance_count, run_lengths, run_count, runs, lengths })
    }
}

/// The tables of a block's codes.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) literals: Table,
    pub(super) distances: Table,
    is_fixed: bool,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            literals: Table::new(Alphabet::Literals),
            distances: Table::new(Alphabet::Distances),
            is_fixed: false,
        }
    }

    pub(super) fn set(&mut self, kind: &BlockKind) -> Result<(), Fault> {
        match kind {
            BlockKind::Stored { .. } => Ok(()),
            BlockKind::Fixed if self.is_fixed => Ok(()),
            BlockKind::Fixed => {
                let mut literals = [8; 288];
                literals[144..256].fill(9);
                literals[256..280].fill(7);
                self.literals.set(&literals)?;
                self.distances.set(&[5; 32])?;
                self.is_fixed = true;
                Ok(())
            }
            BlockKind::Dynamic(dynamic) => {
                self.is_fixed = false;
                self.literals.set(&dynamic.lengths.literals)?;
                self.distances.set(&dynamic.lengths.distances)
            }
        }
    }
}
