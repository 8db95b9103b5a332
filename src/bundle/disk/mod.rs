// SPDX-License-Identifier: Apache-2.0
//! Files on media that may be untrusted or fail: reads and writes at offsets, and reads that bypass the page cache.

pub(super) mod file;
pub(super) mod hash;
pub(super) mod media;
