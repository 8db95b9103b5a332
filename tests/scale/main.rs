// SPDX-License-Identifier: Apache-2.0
//! Many images, and large ones: what is done once per image is done once per image, and no number is too large for
//! an archive. How long ten thousand images take, `cargo xtask bench --only scale` measures.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod large;
mod many;
