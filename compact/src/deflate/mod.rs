// SPDX-License-Identifier: Apache-2.0
//! The deflate format (RFC 1951), independent of any encoder.

mod token;

pub use token::{Token, TokenSink};
