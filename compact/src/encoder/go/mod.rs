// SPDX-License-Identifier: Apache-2.0
//! Go's `compress/flate`, as it was from Go 1.15 (at the latest) to Go 1.26.
//!
//! Levels 2 to 9 search in hash chains, greedy (2, 3) or lazy; level 1 has one candidate for each hash value and skips ahead in
//! data without matches; -2 writes literals only, and 0 stores.

mod block;
mod buffer;
mod chains;
mod encoders;
mod fast;
mod greedy;
mod lazy;
mod level;
mod window;

pub use fast::Fast;
pub use greedy::Greedy;
pub use lazy::Lazy;
pub use level::Level;
