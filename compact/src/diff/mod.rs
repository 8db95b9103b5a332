// SPDX-License-Identifier: Apache-2.0
//! Patches, made from layers.
//!
//! * `tar`, `index`: which files there are in all layers, and where.
//! * `sketch`: how much two files have in common.
//! * `plan`: which of a target's bytes are in its sources, and what may be an older version of the others.
//! * `suffix`, `anchors`, `older`, `difference`, `code`, `jobs`: the shortest encoding of changed content, on several threads.
//! * `write`, `report`: the patch, and what it contains.

mod anchors;
mod code;
mod difference;
mod index;
mod jobs;
mod make;
mod mode;
mod older;
mod plan;
mod report;
mod sketch;
mod suffix;
mod tar;
mod write;

#[cfg(test)]
mod tests;

use std::io;

pub use jobs::PanicError;
pub use make::{Options, make};
pub use mode::Mode;
pub use report::{FileReport, Report, StreamSize, TargetReport};

/// Why a patch cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A layer cannot be read.
    #[error("cannot read layer {layer} (first the bases, then the targets)")]
    ReadLayer {
        /// Its number.
        layer: usize,
        /// As the source says.
        #[source]
        error: io::Error,
    },
    /// The folder for temporary files cannot be used, or is full.
    #[error("cannot write to the scratch folder")]
    Scratch(#[source] io::Error),
    /// zstd cannot compress.
    #[error("cannot compress")]
    Compress(#[source] io::Error),
    /// The patch cannot be written.
    #[error("cannot write the patch")]
    Write(#[source] io::Error),
    /// A thread panicked.
    #[error(transparent)]
    Panic(PanicError),
}
