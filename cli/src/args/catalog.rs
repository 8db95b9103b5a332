// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use krs_core::bundle::StreamName;

/// Show and complete the record of the bundles that went out
///
/// `krs bundle --catalog FILE` adds one line of JSON per bundle: what it contains, for which sites, and which layers a site
/// has after it. `--against catalog:STREAM@SEQUENCE` makes a delta from that line alone, without the earlier file.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct CatalogArgs {
    #[command(subcommand)]
    pub(crate) command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    Show(CatalogShowArgs),
    Add(CatalogAddArgs),
}

/// List the bundles of a catalog
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  krs catalog show prod.catalog --stream prod")]
pub(crate) struct CatalogShowArgs {
    /// The catalog
    #[arg(value_name = "FILE")]
    pub(crate) file: Utf8PathBuf,
    /// Only bundles of this stream
    #[arg(long, value_name = "NAME", env = "KRS_STREAM")]
    pub(crate) stream: Option<StreamName>,
    /// Only bundles that are meant for this site, or for any
    #[arg(long, value_name = "NAME", env = "KRS_SITE")]
    pub(crate) site: Option<String>,
}

/// Record bundles that were made without --catalog
///
/// Reads the manifests in each bundle. A bundle that the catalog has already is not recorded again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  krs catalog add prod.catalog prod-117.krs.tar")]
pub(crate) struct CatalogAddArgs {
    /// The catalog; it is made if it is absent
    #[arg(value_name = "FILE")]
    pub(crate) file: Utf8PathBuf,
    /// The bundles
    #[arg(required = true, value_name = "BUNDLE")]
    pub(crate) bundles: Vec<Utf8PathBuf>,
}
