// SPDX-License-Identifier: Apache-2.0
//! Files that blobs are written into.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use crate::progress::{Activity, Progress};
use crate::registry::BlobSink;

/// A file for one blob. A transfer that starts again, also from another source, begins with an empty file: what was written before
/// may be longer.
pub(in crate::sync) struct FileSink {
    pub(in crate::sync) file: File,
    /// Is told of what is written.
    pub(in crate::sync) progress: Option<Arc<dyn Progress>>,
}

impl FileSink {
    pub(in crate::sync) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }
}

impl BlobSink for FileSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset == 0 {
            self.clear()?;
        }
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)?;
        if let Some(progress) = &self.progress {
            progress.advance(Activity::Pull, bytes.len() as u64);
        }
        Ok(())
    }
}
