// SPDX-License-Identifier: Apache-2.0
//! What chores share with the benchmark, which is a program of its own: the cache, foreign programs and Debian packages.
#![allow(clippy::print_stdout, reason = "a chore speaks to the person who started it")]

pub mod cache;
pub mod digest;
pub mod run;
pub mod tools;
