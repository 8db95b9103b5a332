// SPDX-License-Identifier: Apache-2.0
//! The program `krs-importer`.

fn main() {}
