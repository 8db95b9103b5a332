// SPDX-License-Identifier: Apache-2.0
//! Files on media that may be foreign or fail: reading and writing at positions, and past the page cache.

pub(super) mod file;
pub(super) mod hash;
pub(super) mod media;
