// SPDX-License-Identifier: Apache-2.0
//! Tests of `krs` as people and programs use it: the built program, in an empty environment, against registries in
//! this process.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod advice;
mod catalog;
mod collect;
mod compact;
#[cfg(unix)]
mod compact_faults;
mod compact_rounds;
mod compact_shown;
mod copy;
#[cfg(unix)]
mod daemon;
mod delta;
mod diff;
mod drive;
mod failures;
mod fleet;
mod flow;
mod format;
mod from;
mod golden;
mod harness;
mod help;
mod hostile;
mod keys;
#[cfg(unix)]
mod login;
mod one_cause;
mod output;
mod output_files;
mod pin;
mod proxy;
mod push;
mod push_state;
mod receipts;
mod referrers;
mod reports;
mod resume;
mod rounds;
mod sets;
mod settings;
mod sign;
#[cfg(unix)]
mod signals;
mod site_receipts;
#[cfg(target_os = "linux")]
mod terminal;
mod variables;
mod volumes;
