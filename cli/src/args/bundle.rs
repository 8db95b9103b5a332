// SPDX-License-Identifier: Apache-2.0
use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, ValueEnum};
use krs_core::bundle::StreamName;
use krs_core::local::Location;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::RegistryHost;
use krs_core::sync::compact::Mode;
use krs_core::sync::resolve::Referrers;

use super::{PassphraseFile, RegistryArgs, SiteKeyFiles, flag, format_version, size};

const EXAMPLES: &str = "\
Examples:
  krs bundle . -o prod.krs.tar
  krs bundle sites/berlin --stream berlin --key krs.key -o /media/usb/berlin.krs.tar
  kustomize build overlays/prod | krs bundle - -o prod.krs.tar
  krs bundle . --against berlin.receipt.json -o delta.krs.tar
  krs bundle . --against berlin.receipt.json --compact -o patches.krs.tar
  krs bundle . --from docker-archive:app.tar -o prod.krs.tar
  krs bundle . --from docker-daemon: -o prod.krs.tar
  krs bundle . --volume-size 3900MiB -o /media/usb/prod.krs.tar

The same commit gives the same archive, byte for byte, where every reference has a digest.
If one image cannot be fetched, no archive is written, and every failed image is named. What
was fetched stays beside the file as FILE.part, with --compact also in FILE.compact; the same
command, also with changed sets, resumes from it.";

/// Write all images of a Git checkout's EdgeImageSets into one archive
///
/// Reads the EdgeImageSets below each PATH, resolves their images, fetches every blob once, and
/// writes a tar that is an OCI image layout. The file gets its name only after everything in it was verified.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// The archive to write, by convention NAME.krs.tar
    #[arg(
        short = 'o',
        long = "output",
        alias = "file",
        value_name = "FILE",
        env = "KRS_OUTPUT",
        required_unless_present = "dry_run",
        help_heading = "Bundle"
    )]
    pub(crate) file: Option<Utf8PathBuf>,
    /// Read blobs from this earlier bundle instead of fetching them; may be repeated
    #[arg(long, value_name = "BUNDLE", env = "KRS_REUSE", help_heading = "Bundle")]
    pub(crate) reuse: Vec<Utf8PathBuf>,
    /// Remember in this folder how layers are compressed, so that the next bundle with --compact looks only at new
    /// layers [default: krs-recipes beside the archive]
    #[arg(long, value_name = "DIR", env = "KRS_RECIPES", help_heading = "Bundle")]
    pub(crate) recipes: Option<Utf8PathBuf>,
    /// Download a layer that lies outside of its registry (`urls`) from this host also where its address is private, or
    /// cannot be checked behind a proxy; may be repeated. Public addresses need no entry
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        env = "KRS_FOREIGN_LAYER_HOST",
        value_delimiter = ',',
        help_heading = "Registries"
    )]
    pub(crate) foreign_layer_host: Vec<RegistryHost>,
    /// Write the archive even if some images cannot be fetched: it lists them, and the exit code is 6
    #[arg(long, env = "KRS_KEEP_GOING", value_parser = flag(), help_heading = "Bundle")]
    pub(crate) keep_going: bool,
    /// Show what would be written, and fetch only what describes it
    #[arg(long, env = "KRS_DRY_RUN", value_parser = flag(), help_heading = "Bundle")]
    pub(crate) dry_run: bool,
    /// Replace a bundle of another stream that has the name. What is not a bundle is never replaced
    #[arg(long, env = "KRS_BUNDLE_FORCE", value_parser = flag(), help_heading = "Bundle")]
    pub(crate) force: bool,
    /// Fail unless the sets are those of a commit, without uncommitted changes
    #[arg(long, env = "KRS_REQUIRE_CLEAN", value_parser = flag(), help_heading = "Bundle")]
    pub(crate) require_clean: bool,
    /// Fail if no key is given, so that a missing CI variable does not lead to an unsigned bundle
    #[arg(long, env = "KRS_REQUIRE_SIGNATURE", value_parser = flag(), help_heading = "Signing")]
    pub(crate) require_signature: bool,
    /// Sign the archive with this secret key (of krs keygen or minisign)
    #[arg(long, value_name = "FILE", env = "KRS_KEY_FILE", help_heading = "Signing")]
    pub(crate) key: Option<Utf8PathBuf>,
    #[command(flatten, next_help_heading = "Signing")]
    pub(crate) passphrase: PassphraseFile,
}

/// Whether patches are made, and how much time they may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompactMode {
    Fast,
    Small,
    Max,
    #[value(alias = "none", alias = "false")]
    Off,
}

impl PlanArgs {
    /// How patches are made; `None`: no layer travels as a patch.
    pub(crate) fn patches(&self) -> Option<Mode> {
        match self.compact? {
            CompactMode::Fast => Some(Mode::Fast),
            CompactMode::Small => Some(Mode::Small),
            CompactMode::Max => Some(Mode::Max),
            CompactMode::Off => None,
        }
    }

    /// What is meant as the value of `--compact`, and is taken as a folder because a space is before it.
    pub(crate) fn mode_among_paths(&self) -> Option<&Utf8Path> {
        self.compact?;
        let is_mode =
            |path: &Utf8PathBuf| CompactMode::from_str(path.as_str(), false).is_ok() && !path.exists();
        self.paths.iter().find(|path| is_mode(path)).map(Utf8PathBuf::as_path)
    }
}

/// Show what `krs bundle` would write: images, sizes, what is shared, what the site has
///
/// Fetches only what describes the images. The same as `krs bundle --dry-run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs plan sites/berlin
  krs plan sites/berlin --against berlin.receipt.json --target /media/usb --rate 4MB
  krs plan sites/berlin --against berlin.receipt.json --compact")]
pub(crate) struct PlanOnlyArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Folder that the bundle is to be written to: whether it has the space, and can hold such files
    #[arg(long, value_name = "DIR", env = "KRS_TARGET", help_heading = "Plan")]
    pub(crate) target: Option<Utf8PathBuf>,
    /// Bytes per second of the network, to estimate the duration
    #[arg(long, value_name = "SIZE", env = "KRS_RATE", value_parser = size::bytes, help_heading = "Plan")]
    pub(crate) rate: Option<u64>,
}

/// What decides about the content of a bundle.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Folders of Git checkouts, files, or `-` for rendered YAML on standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<Utf8PathBuf>,
    /// Read images from here before their registries: an OCI image layout, an archive of `docker save`, or the Docker daemon
    /// or Podman of this machine (the socket of DOCKER_HOST or of the Docker context, or docker-daemon:/PATH/OF/SOCKET); may be
    /// repeated, the first that has an image counts. By its digest if the set has one, else by its name. All other images come
    /// from their registries
    #[arg(
        long,
        value_name = "oci:DIR|oci-archive:FILE|docker-archive:FILE|docker-daemon:",
        env = "KRS_FROM",
        help_heading = "Bundle"
    )]
    pub(crate) from: Vec<Location>,
    /// Name of the stream that the bundle belongs to [default: that of krs.yaml, else `default`]
    #[arg(long, value_name = "NAME", env = "KRS_STREAM", help_heading = "Bundle")]
    pub(crate) stream: Option<StreamName>,
    /// Number in the stream; must grow from bundle to bundle [default: the commit's time in seconds where every
    /// reference has a digest, else the present time]
    #[arg(long, value_name = "N", env = "KRS_SEQUENCE", help_heading = "Bundle")]
    pub(crate) sequence: Option<u64>,
    /// A site that the bundle is meant for; may be repeated [default: those of krs.yaml, else any]
    #[arg(long, value_name = "SITE", env = "KRS_AUDIENCE", value_delimiter = ',', help_heading = "Bundle")]
    pub(crate) audience: Vec<String>,
    /// Time from which the bundle is refused: a time (2027-01-31T12:00:00Z), a date, or a duration from now (30d)
    #[arg(long, value_name = "TIME|DURATION", env = "KRS_NOT_AFTER", help_heading = "Bundle")]
    pub(crate) not_after: Option<String>,
    /// Platforms of images whose sets list no platforms; may be repeated [default: those of krs.yaml,
    /// else all that an image has]
    #[arg(
        long,
        value_name = "OS/ARCH",
        env = "KRS_PLATFORM",
        value_delimiter = ',',
        help_heading = "Bundle"
    )]
    pub(crate) platform: Vec<Platform>,
    /// Fail if an image does not have one of the platforms requested by a set or --platform, or only has one of
    /// another architecture that runs there too; without this option an image fails only if it has none of them
    #[arg(long, env = "KRS_REQUIRE_PLATFORMS", value_parser = flag(), help_heading = "Bundle")]
    pub(crate) require_platforms: bool,
    /// Leave out the layers that the site has: by a receipt (a file, a folder of them, or a short one as text), by an
    /// earlier bundle that arrived there, or by the catalog (catalog:SITE, catalog:STREAM@SEQUENCE); may be repeated, and
    /// then only what all sites have is left out
    #[arg(long, value_name = "FILE|DIR|RECEIPT|catalog:NAME", env = "KRS_AGAINST", help_heading = "Bundle")]
    pub(crate) against: Vec<Utf8PathBuf>,
    /// Put patches in place of layers: only what differs from the layers that the site has (--against) travels, and what
    /// several layers share travels once. Sites restore every layer bit for bit, in scratch space. `fast` takes seconds,
    /// `small` looks for the smaller of two patches for each file, `max` has a longer window for first bundles,
    /// and `off` makes none, whatever KRS_COMPACT says
    #[arg(
        long,
        value_enum,
        value_name = "fast|small|max|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "small",
        hide_possible_values = true,
        env = "KRS_COMPACT",
        help_heading = "Bundle"
    )]
    compact: Option<CompactMode>,
    /// The record of the bundles that went out: `krs bundle` adds a line for each, and `--against catalog:…` reads it
    #[arg(long, value_name = "FILE", env = "KRS_CATALOG", help_heading = "Bundle")]
    pub(crate) catalog: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) site_keys: SiteKeyFiles,
    /// Write volumes FILE.001, FILE.002 and so on of this size, for media that cannot hold it as one file [example:
    /// 3900MiB for FAT]
    #[arg(long, value_name = "SIZE", env = "KRS_VOLUME_SIZE", value_parser = size::volume_size, help_heading = "Bundle")]
    pub(crate) volume_size: Option<u64>,
    /// Which signatures, SBOMs and attestations travel with the images: all, none, or those of these artifact types. One
    /// that cannot be read costs a warning, not the image; with `required` all travel and the image fails without them.
    /// Artifacts of cosign that have no artifact type are selected by the media type of their layers [default: all]
    #[arg(
        long,
        value_name = "all|none|required|TYPE[,TYPE...]",
        env = "KRS_REFERRERS",
        value_parser = referrers,
        help_heading = "Bundle"
    )]
    pub(crate) referrers: Option<Referrers>,
    /// Write no later version of the format than this one, for sites with an older krs: 1 is what krs 0.1 reads. What
    /// needs a later version is left out with a warning, or refused where leaving it out would change the image [default: the lowest version that can express the bundle]
    #[arg(
        long,
        value_name = "N",
        env = "KRS_FORMAT_VERSION",
        value_parser = format_version(),
        help_heading = "Bundle"
    )]
    pub(crate) format_version: Option<u32>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// `all`, `none`, `required`, or media types (RFC 6838) with commas between them.
fn referrers(text: &str) -> Result<Referrers, String> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    match text {
        "all" => Ok(Referrers::All),
        "none" => Ok(Referrers::None),
        "required" => Ok(Referrers::Required),
        types => types
            .split(',')
            .map(|of| match of.trim().split_once('/') {
                Some((kind, rest)) if part(kind) && part(rest) => Ok(of.trim().to_owned()),
                _ => Err(format!(
                    "`{}` is not an artifact type, e.g. application/spdx+json; nor is it all, none or required",
                    krs_core::redact::printable(of, 100)
                )),
            })
            .collect::<Result<_, _>>()
            .map(Referrers::Types),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referrers_are_all_none_required_or_types() {
        assert_eq!(referrers("all"), Ok(Referrers::All));
        assert_eq!(referrers("none"), Ok(Referrers::None));
        assert_eq!(referrers("required"), Ok(Referrers::Required));
        let types = ["application/spdx+json", "application/vnd.dev.cosign.simplesigning.v1+json"];
        let both = Referrers::Types(types.map(str::to_owned).to_vec());
        assert_eq!(referrers(&types.join(", ")), Ok(both));
        for wrong in ["", "some", "all,none", "a/b,", "a/b/c", "a /b"] {
            assert!(referrers(wrong).is_err(), "{wrong}");
        }
    }
}
