// SPDX-License-Identifier: Apache-2.0
//! What chores share with the benchmark and the release, which are programs of their own: the cache, foreign programs, Debian
//! packages, root file systems and archives of images, and the sources.
#![allow(clippy::print_stdout, reason = "a chore speaks to the person who started it")]

pub mod cache;
pub mod digest;
pub mod elf;
pub mod files;
pub mod oci;
pub mod rootfs;
pub mod run;
pub mod source;
pub mod toolchain;
pub mod tools;
