// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;

use super::size::volume_size;
use super::{PolicyArgs, VolumeArgs, flag};

/// Copy bundles to a drive, and read them back from it
///
/// Checks every byte on the way, writes everything to the drive, drops the system's page cache of it, and reads it
/// back. The names appear only after that. A copy that was interrupted is resumed by the same command; a bundle
/// that is there already is only read back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs copy prod.krs.tar /media/usb --public-key krs.pub
  krs copy prod-117.krs.tar prod-118.krs.tar /media/usb")]
pub(crate) struct CopyArgs {
    /// The bundles; each may be named by one of its volumes
    #[arg(value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) bundles: Vec<Utf8PathBuf>,
    /// The folder on the drive
    #[arg(value_name = "DIR", required = true)]
    pub(crate) folder: Utf8PathBuf,
    /// Write volumes of this size [default: one file; volumes of 3900MiB on FAT if it is larger]
    #[arg(long, value_name = "SIZE", env = "KRS_VOLUME_SIZE", value_parser = volume_size)]
    pub(crate) volume_size: Option<u64>,
    /// Replace another bundle of the same name
    #[arg(long, env = "KRS_COPY_FORCE", value_parser = flag())]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}
