// SPDX-License-Identifier: Apache-2.0
//! Captures what a test's own thread logs at `info`, in the importer's format: one JSON object per line.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Level};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

static SECOND: OnceLock<Dispatch> = OnceLock::new();

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log that is captured until this is dropped. Tasks of the runtime must run on the thread that made it.
pub struct Log {
    buffer: Buffer,
    _guard: DefaultGuard,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    /// Starts to capture what this thread logs.
    pub fn capture() -> Self {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
        let lines =
            lines.with_writer(move || writer.clone()).with_filter(LevelFilter::from_level(Level::INFO));
        // With one subscriber in the process, tracing asks that of the thread which comes to a line first whether the line
        // is of interest: a test beside this one would switch it off for all.
        SECOND.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines));
        Self { buffer, _guard: guard }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.buffer.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines since the last call.
    pub fn take(&self) -> Vec<Value> {
        let lines = self.lines();
        self.buffer.0.lock().unwrap().clear();
        lines
    }
}
