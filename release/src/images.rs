// SPDX-License-Identifier: Apache-2.0
//! The images of a release, each for all of its platforms in one OCI archive.

use std::process::Command;

use crate::build::{Built, Program};
use crate::payload::{Texts, gzip};
use crate::target::Target;
use crate::{LICENSES, VERSION};
use xtask::cache::Cache;
use xtask::files::Files;
use xtask::oci::{Archive, Image, Layer};
use xtask::rootfs::labels::{self, Addresses, IMPORTER_LABELS, KRS_LABELS};
use xtask::rootfs::{Architecture, DebianRoot, IMPORTER, IMPORTER_IMAGE, PACKAGES, USER, importer_layers};
use xtask::run::{self, Result, step};
use xtask::source::Commit;

/// `localhost`, as of the importer's image: no node requests it from a registry of somebody else.
const KRS_IMAGE: &str = concat!("localhost/krs:", env!("CARGO_PKG_VERSION"));
/// With a shell.
const KRS_CI_IMAGE: &str = concat!("localhost/krs:", env!("CARGO_PKG_VERSION"), "-ci");
const KRS: &str = "usr/bin/krs";
const BUSYBOX: &str = "usr/bin/busybox";
/// The programs of Debian: of Git, all commands and the one that fetches over HTTPS.
const CI_PROGRAMS: &[&str] = &["usr/bin/git", "usr/lib/git-core/git-remote-http", BUSYBOX];

/// An image of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReleaseImage {
    /// `krs` and CA certificates.
    Krs,
    /// The same with Git and the shell and programs of BusyBox, as CI systems need them for a job.
    KrsCi,
    Importer,
}

/// All images.
pub(crate) const ALL: &[ReleaseImage] = &[ReleaseImage::Krs, ReleaseImage::KrsCi, ReleaseImage::Importer];

impl ReleaseImage {
    /// The name of its archive.
    pub(crate) fn file_name(self) -> String {
        let name = match self {
            Self::Krs => "krs",
            Self::KrsCi => "krs-ci",
            Self::Importer => "krs-importer",
        };
        format!("{name}-{VERSION}.oci.tar")
    }

    /// Its name in the archive.
    pub(crate) const fn image_name(self) -> &'static str {
        match self {
            Self::Krs => KRS_IMAGE,
            Self::KrsCi => KRS_CI_IMAGE,
            Self::Importer => IMPORTER_IMAGE,
        }
    }

    const fn program(self) -> Program {
        match self {
            Self::Krs | Self::KrsCi => Program::Krs,
            Self::Importer => Program::Importer,
        }
    }

    /// Where its program is.
    const fn path(self) -> &'static str {
        match self {
            Self::Krs | Self::KrsCi => KRS,
            Self::Importer => IMPORTER,
        }
    }

    /// The archive, of what was built.
    pub(crate) fn archive(
        self,
        cache: &Cache,
        built: &Built,
        texts: &Texts,
        commit: &Commit,
    ) -> Result<Vec<u8>> {
        step(&format!("image {}", self.image_name()), || {
            let mut archive = Archive::default();
            let mut images = Vec::new();
            for (target, binary) in built.of(self.program()) {
                let tars = self.tars(cache, *target, binary, texts)?;
                let layers = tars.iter().map(|tar| Ok(Layer::gzip(tar, gzip(tar)?)));
                let layers = layers.collect::<Result<Vec<_>>>()?;
                let name = target.architecture().name();
                images.push((name, archive.image(&self.image(*target, &layers, commit))?));
            }
            let index = archive.index(images)?;
            let (repository, tag) = self.image_name().rsplit_once(':').ok_or("an image has no tag")?;
            archive.name(&index, repository, tag);
            archive.bytes()
        })
    }

    fn image<'a>(self, target: Target, layers: &'a [Layer], commit: &'a Commit) -> Image<'a> {
        let of_image = match self {
            Self::Krs | Self::KrsCi => KRS_LABELS,
            Self::Importer => IMPORTER_LABELS,
        };
        Image {
            architecture: target.architecture().name(),
            layers,
            // The checkout of a CI job belongs to root, in most systems.
            user: if self == Self::KrsCi { "0:0" } else { USER },
            entrypoint: match self {
                Self::Krs => &["/usr/bin/krs"],
                Self::KrsCi => &[],
                Self::Importer => &["/usr/bin/krs-importer"],
            },
            command: if self == Self::KrsCi { &["/bin/sh"] } else { &[] },
            labels: labels::labels(of_image, Some(commit), &Addresses::default()),
            created: Some(&commit.time),
        }
    }

    /// Its layers, base first.
    fn tars(self, cache: &Cache, target: Target, binary: &[u8], texts: &Texts) -> Result<Vec<Vec<u8>>> {
        let unpack = |packages: &[&str]| DebianRoot::unpack(cache, target.architecture(), packages);
        let mut own = Files::default();
        own.file(self.path(), 0o755, binary.to_vec());
        for (name, text) in [("LICENSE", &texts.license), (LICENSES, &texts.third_party)] {
            own.file(&format!("usr/share/doc/{}/{name}", self.program().name()), 0o644, text.clone());
        }
        Ok(match self {
            Self::Importer => importer_layers(&unpack(PACKAGES)?, &[], &own)?.into(),
            Self::Krs => vec![unpack(&["ca-certificates"])?.base()?.tar(0)?, own.tar(0)?],
            Self::KrsCi => {
                let root = unpack(&["ca-certificates", "git", "busybox-static"])?;
                let mut base = root.base()?;
                base.link("bin", "usr/bin");
                vec![base.tar(0)?, ci_programs(cache, &root)?.tar(0)?, own.tar(0)?]
            }
        })
    }
}

/// Git, and BusyBox under the names of its programs.
fn ci_programs(cache: &Cache, root: &DebianRoot) -> Result<Files> {
    let mut files = root.programs(CI_PROGRAMS, &[])?;
    files.link("usr/lib/git-core/git-remote-https", "git-remote-http");
    // Git warns where it is missing.
    files.folder("usr/share/git-core/templates", 0o755);
    // Only the one for this machine can be asked.
    let native = DebianRoot::unpack(cache, Architecture::native()?, &["busybox-static"])?;
    for applet in run::output(Command::new(native.path(BUSYBOX)).arg("--list"))?.lines() {
        if applet != "busybox" {
            files.link(&format!("usr/bin/{applet}"), "busybox");
        }
    }
    Ok(files)
}

impl Target {
    /// Of its images.
    pub(crate) const fn architecture(self) -> Architecture {
        match self {
            Self::Amd64 => Architecture::Amd64,
            Self::Arm64 => Architecture::Arm64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_where_the_image_starts_them() {
        let commit = Commit { revision: "1".to_owned(), time: "t".to_owned(), seconds: 1 };
        for image in ALL {
            let config = image.image(Target::Arm64, &[], &commit);
            let starts = config.entrypoint.first().or(config.command.first()).copied();
            let expected = match image {
                ReleaseImage::Krs => format!("/{KRS}"),
                ReleaseImage::KrsCi => "/bin/sh".to_owned(),
                ReleaseImage::Importer => format!("/{IMPORTER}"),
            };
            assert_eq!(starts, Some(expected.as_str()));
            assert_eq!(config.user == "0:0", *image == ReleaseImage::KrsCi);
        }
        // `bin` must be free for the link to the folder with the shell.
        assert!(xtask::rootfs::LINKS.iter().all(|(link, _)| *link != "bin"));
    }
}
