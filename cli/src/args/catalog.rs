// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use krs_core::bundle::StreamName;

use super::SiteKeyFiles;

/// Show and complete the record of bundles and receipts
///
/// `krs bundle --catalog FILE` adds one line of JSON per bundle: what it contains, for which sites, and which layers a site
/// has after it. `krs catalog add` adds what receipts confirm. `--against catalog:SITE` makes a delta against what the site
/// confirmed, and `--against catalog:STREAM@SEQUENCE` against one bundle, without the earlier files.
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

/// List the bundles of a catalog, and which sites confirmed them
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

/// Record receipts of sites, and bundles that were made without --catalog
///
/// Reads the manifests in each bundle, and what each receipt confirms. What the catalog has already is not recorded again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs catalog add prod.catalog berlin.receipt.json --site-key berlin=keys/berlin.pub
  krs catalog add prod.catalog prod-117.krs.tar")]
pub(crate) struct CatalogAddArgs {
    /// The catalog; it is made if it is absent
    #[arg(value_name = "FILE")]
    pub(crate) file: Utf8PathBuf,
    /// Bundles, receipts of sites, folders with receipts, short receipts as text, or `-` for receipts on standard input
    #[arg(required = true, value_name = "BUNDLE|RECEIPT")]
    pub(crate) sources: Vec<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) site_keys: SiteKeyFiles,
}
