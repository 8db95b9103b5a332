// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;

use super::{VolumeArgs, flag};

/// Where the passphrase of a secret key comes from: a file or a prompt, never an argument or a variable.
#[derive(Debug, Clone, Args)]
pub(crate) struct PassphraseFile {
    /// Read the key's passphrase from the first line of this file, `-` for standard input [default: asked for]
    #[arg(long, value_name = "FILE", env = "KRS_PASSPHRASE_FILE")]
    pub(crate) passphrase_file: Option<Utf8PathBuf>,
}

/// Make a pair of keys: NAME.key signs bundles, NAME.pub verifies them
///
/// Both files have minisign's formats. Existing files are never overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs keygen -o krs                  asks for a passphrase
  krs keygen -o ci --no-passphrase   where a secret store protects the file itself")]
pub(crate) struct KeygenArgs {
    /// Name of the two files, without .key and .pub
    #[arg(short = 'o', long = "output", alias = "name", value_name = "NAME", env = "KRS_OUTPUT")]
    pub(crate) name: Utf8PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseFile,
    /// Do not protect the secret key by a passphrase
    #[arg(long, env = "KRS_NO_PASSPHRASE", value_parser = flag(), conflicts_with = "passphrase_file")]
    pub(crate) no_passphrase: bool,
}

/// Sign a bundle, in place
///
/// Verifies the bundle first: a damaged one is not signed. Overwrites the fixed space for signatures; no other byte of the
/// archive moves. Several keys may sign one bundle; signing again with the same key changes nothing. Damaged signatures are
/// replaced. Of a bundle in volumes, NAME.krs.json is written and signed again, too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs sign prod.krs.tar --key krs.key
  krs sign /media/usb1/prod.krs.tar --volumes /media/usb2 --key krs.key")]
pub(crate) struct SignArgs {
    /// The bundle, or one of its volumes
    #[arg(value_name = "FILE")]
    pub(crate) file: Utf8PathBuf,
    /// The secret key (of krs keygen or minisign)
    #[arg(long, value_name = "FILE", env = "KRS_KEY_FILE")]
    pub(crate) key: Utf8PathBuf,
    /// Do not read the blobs before signing, where `krs verify` did just now
    #[arg(long, env = "KRS_NO_VERIFY", value_parser = flag())]
    pub(crate) no_verify: bool,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseFile,
}
