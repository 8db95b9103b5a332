// SPDX-License-Identifier: Apache-2.0
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use krs_core::bundle::StreamName;
use krs_core::oci::reference::Destination;
use krs_core::sync::push::SetName;

use super::{RegistryArgs, flag, value};

/// Who must have signed a bundle.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct PublicKeys {
    /// Refuse the bundle unless one of these keys signed it; may be repeated. Without it, damage is detected, but the
    /// origin of the bundle is not verified
    #[arg(long = "public-key", value_name = "FILE", env = "KRS_PUBLIC_KEY")]
    pub(crate) files: Vec<Utf8PathBuf>,
}

/// What is asked of a bundle before anything in it is used.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    pub(crate) public_keys: PublicKeys,
    /// Refuse a bundle of another stream
    #[arg(long, value_name = "NAME", env = "KRS_STREAM")]
    pub(crate) stream: Option<StreamName>,
    /// Refuse a bundle with a lower sequence: the last one that was brought to this site
    #[arg(long, value_name = "N", env = "KRS_MIN_SEQUENCE")]
    pub(crate) min_sequence: Option<u64>,
    /// Refuse a bundle that is meant for other sites than this one
    #[arg(long, value_name = "SITE", env = "KRS_AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// Accept a bundle that has expired
    #[arg(long, env = "KRS_IGNORE_EXPIRY", value_parser = flag())]
    pub(crate) ignore_expiry: bool,
}

/// Where the volumes of a bundle lie.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Volumes")]
pub(crate) struct VolumeArgs {
    /// Look for volumes of the bundle in this folder too; may be repeated
    #[arg(long, value_name = "DIR", env = "KRS_VOLUMES")]
    pub(crate) volumes: Vec<Utf8PathBuf>,
}

/// Verify a bundle: signature, freshness, completeness, and the digest of every byte
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs verify prod.krs.tar
  krs verify prod.krs.tar --public-key krs.pub --stream prod --min-sequence 118")]
pub(crate) struct VerifyArgs {
    /// The bundle, or one of its volumes
    #[arg(value_name = "FILE")]
    pub(crate) file: Utf8PathBuf,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Threads that read and hash [default: one for each core]
    #[arg(long, value_name = "N", env = "KRS_THREADS")]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// Show what is in a bundle: images, platforms, sizes, sets, signers, names at the edge
///
/// Reads the manifests of the bundle and no layers; `krs verify` reads everything. Of a folder or drive, all
/// bundles in it are listed, by their content.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs inspect prod.krs.tar
  krs inspect prod.krs.tar --tree
  krs inspect /media/usb
  krs inspect prod.krs.tar --format json | jq '.images[].reference'")]
pub(crate) struct InspectArgs {
    /// The bundle, one of its volumes, or a folder with bundles
    #[arg(value_name = "FILE|DIR")]
    pub(crate) file: Utf8PathBuf,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
    /// Show each image down to its layers
    #[arg(long, env = "KRS_TREE", value_parser = flag())]
    pub(crate) tree: bool,
    #[command(flatten)]
    pub(crate) public_keys: PublicKeys,
}

/// Push all images of a bundle to a registry, directly from the archive
///
/// What the registry has already is not sent again; blobs that it has in another repository are linked. An image
/// gets its tags only when all of it is there and was read back. Without a registry each set goes to its own
/// destinationRegistry, which only a bundle with a valid signature (--public-key) may choose.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs push prod.krs.tar --public-key krs.pub
  krs push prod.krs.tar edge.local:5000 --public-key krs.pub
  krs push prod.krs.tar edge.local:5000 --public-key krs.pub --set shop/berlin
  krs push prod.krs.tar harbor.local/mirror --ca-file harbor-ca.crt --dry-run")]
pub(crate) struct PushArgs {
    /// The bundle, or one of its volumes
    #[arg(value_name = "FILE")]
    pub(crate) file: Utf8PathBuf,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
    /// Destination; the prefix is put in front of every repository [default: the destinationRegistry of each set]
    #[arg(value_name = "REGISTRY[/PREFIX]", value_parser = value::destination)]
    pub(crate) destination: Option<Destination>,
    /// Push the images of this set alone; may be repeated. NAME alone: the sets of this name in all namespaces
    #[arg(long = "set", value_name = "[NAMESPACE/]NAME", env = "KRS_SET", value_delimiter = ',')]
    pub(crate) sets: Vec<SetName>,
    /// Show what each image would be called and which tags would move, and send nothing
    #[arg(long, env = "KRS_DRY_RUN", value_parser = flag())]
    pub(crate) dry_run: bool,
    /// Whether signatures, SBOMs and attestations follow their images. A failure of one is a warning; with `required`
    /// it is an error, after everything else was pushed
    #[arg(
        long,
        value_enum,
        value_name = "all|none|required",
        hide_possible_values = true,
        default_value = "all",
        env = "KRS_PUSH_REFERRERS"
    )]
    pub(crate) referrers: PushReferrers,
    /// Folder for layers that are made of patches, until they are pushed [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR", env = "KRS_SCRATCH")]
    pub(crate) scratch: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Push a bundle that is older than one of its stream that was pushed there before
    #[arg(long, env = "KRS_ALLOW_OLDER", value_parser = flag(), help_heading = super::variables::TRUST)]
    pub(crate) allow_older: bool,
    /// Record stream and sequence of what was pushed in this folder [default: krs in $XDG_STATE_HOME, or
    /// ~/.local/state]
    #[arg(long, value_name = "DIR", env = "KRS_STATE", help_heading = super::variables::TRUST)]
    pub(crate) state: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// What of the signatures, SBOMs and attestations of a bundle is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PushReferrers {
    All,
    None,
    Required,
}

/// Serve a bundle as a read-only registry, directly from the archive
///
/// Images can be pulled by the names that they have in the sets (docker.io/library/nginx) and at the edge
/// (library/nginx), by tag and by digest. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs serve prod.krs.tar
  krs serve prod.krs.tar --listen 0.0.0.0:5000 --tls-cert server.crt --tls-key server.key")]
pub(crate) struct ServeArgs {
    /// The bundle, or one of its volumes
    #[arg(value_name = "FILE")]
    pub(crate) file: Utf8PathBuf,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
    /// An earlier bundle, for layers that this one leaves to the site, or makes of layers there; may be repeated
    #[arg(long, value_name = "BUNDLE", env = "KRS_BASE")]
    pub(crate) base: Vec<Utf8PathBuf>,
    /// Folder for layers that are made of patches, as long as they are served [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR", env = "KRS_SCRATCH")]
    pub(crate) scratch: Option<Utf8PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000",
        env = "KRS_LISTEN",
        value_parser = value::listen
    )]
    pub(crate) listen: SocketAddr,
    /// Serve over TLS with this certificate chain (PEM, leaf first)
    #[arg(long, value_name = "FILE", env = "KRS_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<Utf8PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", env = "KRS_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}
