// SPDX-License-Identifier: Apache-2.0
//! `krs`: carries the container images that a Git checkout lists into sites without a network.

mod args;
mod commands;
mod console;
mod diagnostic;
mod exit;
mod marks;
mod progress;
mod qr;
mod replace_file;
mod report;
mod standard_error;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
