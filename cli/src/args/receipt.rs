// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;
use krs_core::oci::reference::Destination;
use krs_core::sync::receipt::SiteName;

use super::key::PassphraseFile;
use super::{RegistryArgs, flag, format_version, value};

/// Record what a registry or a site has, for `krs bundle --against`
///
/// Reads the repositories that the sets name: walks every tag and every digest of the sets, fetches and hashes each
/// manifest, and checks that each blob exists. Writes nothing, except with --probe. The receipt goes back to where
/// bundles are made. --from-cluster takes the receipt that the importer keeps, and scans nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs receipt edge.local:5000 --set sites/berlin -o berlin.receipt.json
  krs receipt --from-cluster -n krs-system -o berlin.receipt.json
  krs receipt --from-cluster -n krs-system --short --qr receipt.png
  krs bundle sites/berlin --against berlin.receipt.json -o delta.krs.tar")]
pub(crate) struct ReceiptArgs {
    /// The registry; the prefix stands in front of every repository of the sets
    #[arg(
        value_name = "REGISTRY[/PREFIX]",
        value_parser = value::destination,
        required_unless_present = "from_cluster",
        conflicts_with = "from_cluster"
    )]
    pub(crate) destination: Option<Destination>,
    /// Folder, file or bundle with the EdgeImageSets whose repositories are read; may be repeated
    #[arg(long = "set", value_name = "PATH", env = "KRS_SET", required_unless_present = "from_cluster")]
    pub(crate) sets: Vec<Utf8PathBuf>,
    /// Take the signed receipt of the site from the importer's namespace with `kubectl`: of the current context, or of the
    /// named one
    #[arg(
        long,
        value_name = "CONTEXT",
        env = "KRS_FROM_CLUSTER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        help_heading = "Cluster"
    )]
    pub(crate) from_cluster: Option<String>,
    /// Namespace of the importer [default: that of the context]
    #[arg(short = 'n', long, value_name = "NAME", env = "KRS_NAMESPACE", help_heading = "Cluster")]
    pub(crate) namespace: Option<String>,
    /// Print a short receipt: a line of at most 300 bytes that confirms a bundle, for a mail or a telephone. From a cluster
    /// those of the importer; else --set names the one bundle, all of which the registry must have, and --key signs
    #[arg(long, env = "KRS_SHORT", value_parser = flag(), help_heading = "Short receipt")]
    pub(crate) short: bool,
    /// Also show the short receipt as a QR code: on the terminal, or in a file
    #[arg(long, value_name = "terminal|FILE.png|FILE.svg", env = "KRS_QR", help_heading = "Short receipt")]
    pub(crate) qr: Option<QrTarget>,
    /// The short receipt of this stream only, where the site has several
    #[arg(long, value_name = "NAME", env = "KRS_STREAM", help_heading = "Short receipt")]
    pub(crate) stream: Option<krs_core::bundle::StreamName>,
    /// Secret key of the site, to sign a short receipt that is not the importer's
    #[arg(long, value_name = "FILE", env = "KRS_KEY_FILE", help_heading = "Short receipt")]
    pub(crate) key: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseFile,
    /// The receipt to write; else it goes to standard output. The signature of a site's receipt is written beside it, as
    /// FILE.minisig
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

/// Where a QR code is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QrTarget {
    Terminal,
    Png(Utf8PathBuf),
    Svg(Utf8PathBuf),
}

impl std::str::FromStr for QrTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = Utf8PathBuf::from(text);
        match path.extension() {
            _ if text == "terminal" => Ok(Self::Terminal),
            Some(extension) if extension.eq_ignore_ascii_case("png") => Ok(Self::Png(path)),
            Some(extension) if extension.eq_ignore_ascii_case("svg") => Ok(Self::Svg(path)),
            _ => Err("expected `terminal`, or a file that ends in .png or .svg".to_owned()),
        }
    }
}

impl ReceiptArgs {
    /// The name of the site, where a short receipt has it.
    pub(crate) fn site_name(&self) -> Result<SiteName, String> {
        let name = self.site.as_deref().ok_or("a short receipt names its site: --site NAME")?;
        name.parse()
    }
}
