// SPDX-License-Identifier: Apache-2.0
//! Threads: as many as there are cores, and those of a network.

use tokio::runtime::{Builder, Runtime};

use crate::diagnostic::Failure;

/// Threads for work that reads and hashes: one for each core.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// The runtime of commands that speak to a network.
///
/// # Errors
/// The system has no more threads.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| Failure::other(format!("cannot start: {e}")))
}
