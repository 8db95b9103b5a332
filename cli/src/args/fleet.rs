// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use krs_core::bundle::StreamName;

use super::{SiteKeyFiles, flag};

/// Show what all sites have, and which of them should share a bundle
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    pub(crate) command: FleetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    Status(FleetStatusArgs),
}

/// Show which site has what, what was sent and never confirmed, and what comes next
///
/// Reads receipts of sites and the catalog. For each site and stream it shows the newest bundle that the site confirmed, how
/// old that is, what the site awaits and refuses, which bundles were sent and never confirmed, and how large the newest bundle
/// of the catalog would be without the layers that the site has. Sites whose bundles are alike form groups, each with the
/// command that makes one bundle for all of them. Queries no registry.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs fleet status prod.catalog
  krs fleet status receipts/ --catalog prod.catalog --site-key berlin=keys/berlin.pub
  krs fleet status /media/usb --catalog prod.catalog --csv > fleet.csv

A receipt that cannot be read or verified is listed with the reason and costs no other; the exit code is
then 6, or 3 where a signature did not fit.")]
pub(crate) struct FleetStatusArgs {
    /// Folders with receipts (NAME.receipt.json, NAME.receipt.txt), drives that have such a folder, receipts of sites, short
    /// receipts as text, or a catalog
    #[arg(value_name = "PATH", required_unless_present = "catalog")]
    pub(crate) paths: Vec<Utf8PathBuf>,
    /// The record of the bundles that went out
    #[arg(long, value_name = "FILE", env = "KRS_CATALOG")]
    pub(crate) catalog: Option<Utf8PathBuf>,
    /// Only this stream
    #[arg(long, value_name = "NAME", env = "KRS_STREAM")]
    pub(crate) stream: Option<StreamName>,
    /// How many percent larger than what each of its sites would get alone a shared bundle may be
    #[arg(
        long,
        value_name = "PERCENT",
        env = "KRS_MAX_OVERHEAD",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(0..=1000)
    )]
    pub(crate) max_overhead: u32,
    /// Print one line per site and stream, with commas between the values (RFC 4180), for spreadsheets
    #[arg(long, env = "KRS_CSV", value_parser = flag())]
    pub(crate) csv: bool,
    #[command(flatten)]
    pub(crate) site_keys: SiteKeyFiles,
}
