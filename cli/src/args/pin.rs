// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;
use krs_core::sync::pin::TagPattern;

use super::{RegistryArgs, flag};

const EXAMPLES: &str = "\
Examples:
  krs pin sites
  krs pin sites --refresh --tag-pattern 'trivy-db:*' --tag-pattern '*:latest'
  krs pin sites --check
  kustomize build overlays/prod | krs pin - | krs bundle - -o prod.krs.tar

Only the digests change in the files: comments, quotes and layout stay. With `-` the result goes to
standard output. An image that cannot be looked up stays as it is, all others are written.";

/// Write the digests of images into the EdgeImageSets, in place
///
/// Looks up each reference that has a tag and no digest, and writes the digest of the manifest or index that the tag
/// points to now: `registry/image:tag@sha256:…`. References with a digest stay as they are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PinArgs {
    /// Folders of Git checkouts, files, or `-` for rendered YAML on standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<Utf8PathBuf>,
    /// Look up references with a tag and a digest too, and replace the digest if the tag moved
    #[arg(long, env = "KRS_REFRESH", value_parser = flag(), help_heading = "Pin")]
    pub(crate) refresh: bool,
    /// Refresh only references whose name and tag match, e.g. `trivy-db:2`, `*:latest` or `ghcr.io/team/*:1.*`; may be
    /// repeated. A pattern may begin behind any `/` of the name; `*` stands for any characters, `?` for one
    #[arg(
        long,
        value_name = "GLOB",
        env = "KRS_TAG_PATTERN",
        value_delimiter = ',',
        requires = "refresh",
        help_heading = "Pin"
    )]
    pub(crate) tag_pattern: Vec<TagPattern>,
    /// Write nothing: list what would change, and end with exit code 10 if anything would
    #[arg(long, env = "KRS_CHECK", value_parser = flag(), help_heading = "Pin")]
    pub(crate) check: bool,
    /// Fail for an image that does not have one of the platforms requested by its set; without this option an image
    /// fails only if it is an index that has none of them
    #[arg(long, env = "KRS_REQUIRE_PLATFORMS", value_parser = flag(), help_heading = "Pin")]
    pub(crate) require_platforms: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
