// SPDX-License-Identifier: Apache-2.0
#![no_main]

use std::io;

use krs_compact::patch::{Limits, Patch, ReadAt};

/// Bytes that take no memory, of any length.
struct Zeros(u64);

impl ReadAt for Zeros {
    fn length(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.0 => {
                buf.fill(0);
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

// Whatever a patch says, a target that is made has the length that its directory declares.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(patch) = Patch::open(bytes, Limits { memory: 16 << 20 }) else { return };
    let directory = patch.directory();
    let lengths = directory.bases.iter().copied().chain(directory.targets.iter().map(|target| target.length));
    let sources = lengths.map(Zeros).collect::<Vec<_>>();
    let sources = sources.iter().map(|source| Some(source as &dyn ReadAt)).collect::<Vec<_>>();
    let mut rebuild = patch.rebuild();
    for (i, target) in directory.targets.iter().enumerate() {
        if target.length <= 16 << 20 {
            let mut made = Vec::new();
            let outcome = rebuild.target(i, &sources, &mut made);
            assert!(made.len() as u64 <= target.length);
            assert!(outcome.is_err() || made.len() as u64 == target.length);
        }
    }
});
