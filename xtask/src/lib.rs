// SPDX-License-Identifier: Apache-2.0
//! What chores share with the benchmark and the release, which are programs of their own: the cache, foreign programs, Debian
//! packages, and the sources.
#![allow(clippy::print_stdout, reason = "a chore speaks to the person who started it")]

pub mod cache;
pub mod digest;
pub mod files;
pub mod run;
pub mod source;
pub mod tools;
