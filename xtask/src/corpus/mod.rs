// SPDX-License-Identifier: Apache-2.0
//! Real images for tests and benchmarks.
use crate::{cache::Cache, run::Result};
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_: &Cache, _: &Args) -> Result<()> {
    Ok(())
}
