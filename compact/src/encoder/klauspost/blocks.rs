// SPDX-License-Identifier: Apache-2.0
//! The encoder of pgzip: blocks that know nothing of each other but the 16 KiB before them, each closed by a marker.

use std::thread;

use super::chunks::{Block, BlockText};
use super::finder::Finder;
use super::writer::Writer;
use super::{Generation, Rounding};
use crate::deflate::write_stored;
use crate::encoder::Encoder;

/// Writes what `klauspost/pgzip` writes at its default level.
#[derive(Debug)]
pub struct BlockEncoder {
    text: BlockText,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    finder: Finder,
    writer: Writer,
}

impl BlockEncoder {
    /// Begins a stream of which `workers` blocks (at least one) are encoded at the same time. Each worker takes about 4 MiB.
    #[must_use]
    pub fn new(generation: Generation, rounding: Rounding, workers: usize) -> Self {
        let workers = (0..workers.max(1))
            .map(|_| Worker { finder: Finder::new(), writer: Writer::new(generation, rounding) });
        let workers = workers.collect::<Vec<_>>();
        Self { text: BlockText::new(workers.len()), workers }
    }

    fn encode(&mut self, is_end: bool, out: &mut Vec<u8>) {
        // At the end there can be one block more than workers.
        for blocks in self.text.blocks(is_end).chunks(self.workers.len()) {
            if let ([block], [worker, ..]) = (blocks, &mut self.workers[..]) {
                worker.encode(block);
            } else {
                thread::scope(|scope| {
                    for (block, worker) in blocks.iter().zip(&mut self.workers) {
                        scope.spawn(|| worker.encode(block));
                    }
                });
            }
            for worker in &mut self.workers {
                worker.writer.bits.drain(out);
            }
        }
    }
}

impl Worker {
    fn encode(&mut self, block: &Block<'_>) {
        block.search(&mut self.finder, 0, &mut self.writer);
        // The marker.
        write_stored(false, &[], &mut self.writer.bits);
    }
}

impl Encoder for BlockEncoder {
    fn write(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            if self.text.is_full() {
                self.encode(false, out);
                self.text.slide();
            }
            plain = self.text.take(plain);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.encode(true, out);
        if let Some(worker) = self.workers.first_mut() {
            worker.writer.finish();
            worker.writer.bits.drain(out);
        }
    }
}
