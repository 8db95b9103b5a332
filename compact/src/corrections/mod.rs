// SPDX-License-Identifier: Apache-2.0
//! Streams that no encoder here reproduces, as differences from what one would write.
//!
//! A match finder runs over the plain bytes. For each token that it expects, a decision is stored: whether the stream has that
//! token there, and if not, which other. The finder continues from the token of the stream, so that one difference does not cause
//! others. In the same way the borders of blocks, their types and their codes are stored as differences from what is likely.
//!
//! The format is described in `docs/reference/patches.md`. `script` has the order of all decisions, `range` how they become bytes.

mod codes;
mod error;
mod history;
mod range;
mod record;
mod replay;
mod script;
mod tokens;

pub use codes::Trees;
pub use error::CorrectionError;
pub use record::{Limits, RecordError, Recorded, record};
pub use replay::Replay;

#[cfg(test)]
mod tests;
