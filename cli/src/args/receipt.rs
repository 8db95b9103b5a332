// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;
use krs_core::oci::reference::Destination;

use super::{RegistryArgs, flag, format_version, value};

/// Record what a registry has, for `krs bundle --against`
///
/// Reads the repositories that the sets name: walks every tag and every digest of the sets, fetches and hashes each
/// manifest, and checks that each blob exists. Writes nothing, except with --probe. The receipt goes back to where
/// bundles are made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs receipt edge.local:5000 --set sites/berlin -o berlin.receipt.json
  krs bundle sites/berlin --against berlin.receipt.json -o delta.krs.tar")]
pub(crate) struct ReceiptArgs {
    /// The registry; the prefix stands in front of every repository of the sets
    #[arg(value_name = "REGISTRY[/PREFIX]", value_parser = value::destination)]
    pub(crate) destination: Destination,
    /// Folder, file or bundle with the EdgeImageSets whose repositories are read; may be repeated
    #[arg(long = "set", value_name = "PATH", env = "KRS_SET", required = true)]
    pub(crate) sets: Vec<Utf8PathBuf>,
    /// The receipt to write; else it goes to standard output
    #[arg(short = 'o', long = "output", alias = "file", value_name = "FILE", env = "KRS_OUTPUT")]
    pub(crate) file: Option<Utf8PathBuf>,
    /// Name of the site, to be shown where the receipt is used
    #[arg(long, value_name = "NAME", env = "KRS_SITE")]
    pub(crate) site: Option<String>,
    /// Also find out whether the registry takes a choice of platforms: puts a small index into the repository krs-probe
    #[arg(long, env = "KRS_PROBE", value_parser = flag())]
    pub(crate) probe: bool,
    /// Write no later version of the format than this one, for an older krs where bundles are made: 1 is what krs 0.1
    /// reads. What needs a later version is left out with a warning [default: the lowest version that can express the
    /// receipt]
    #[arg(long, value_name = "N", env = "KRS_FORMAT_VERSION", value_parser = format_version())]
    pub(crate) format_version: Option<u32>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
