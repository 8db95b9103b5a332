// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;

use super::{RegistryArgs, flag};

/// Show what changes from one stock of images to another: images, layers, bytes
///
/// Each side is a bundle (NAME.krs.tar), a receipt (NAME.json), a folder or file with EdgeImageSets, or a registry
/// (HOST or HOST:PORT, with /PREFIX where it has one). Images are compared by their names at the edge. The exit code
/// is 10 where there are differences.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs diff prod-117.krs.tar prod-118.krs.tar
  krs diff berlin.receipt.json sites/berlin
  krs diff edge.local:5000 prod-118.krs.tar")]
pub(crate) struct DiffArgs {
    /// What there is
    #[arg(value_name = "BEFORE")]
    pub(crate) before: String,
    /// What there is to be
    #[arg(value_name = "AFTER")]
    pub(crate) after: String,
    /// Folder, file or bundle with the EdgeImageSets whose repositories are compared, if both sides are registries
    #[arg(long = "set", value_name = "PATH", env = "KRS_SET")]
    pub(crate) sets: Vec<Utf8PathBuf>,
    /// Do not resolve the images of a checkout at their source registries
    #[arg(long, env = "KRS_OFFLINE", value_parser = flag())]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
