// SPDX-License-Identifier: Apache-2.0
//! What the corpus holds, as data: layers, and images made of them.

/// What a layer holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    /// The files of Debian packages.
    Debs(&'static [&'static str]),
    /// The files of Debian packages, but what slim images leave out: documentation, manual pages and translations.
    SlimDebs(&'static [&'static str]),
    /// The same of the last point release: before security updates.
    ReleasedSlimDebs(&'static [&'static str]),
    /// The files of Debian packages, each with a later time: as a build that is not reproducible writes them.
    LaterDebs(&'static [&'static str]),
    /// A program in Go with this number in it.
    Program(u8),
    /// The files of wheels, as an installer puts them: `NAME==VERSION`.
    Wheels(&'static [&'static str]),
    /// Wheels as they are, so that nothing is left to compress.
    Wheelhouse(&'static [&'static str]),
    /// The files of Debian packages, dealt out to so many layers.
    Dealt(&'static [&'static str], usize),
    /// One text file: path and content.
    Text(&'static str, &'static str),
}

/// Who compresses a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Go's compress/gzip, as most builders of images.
    Go,
    /// zlib.
    Zlib,
    /// pgzip, as parallel builders.
    Pgzip,
    /// zstd, level 3.
    Zstd,
    /// Nobody: a plain tar.
    Plain,
}

impl Writer {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Go => "Go compress/gzip",
            Self::Zlib => "zlib",
            Self::Pgzip => "pgzip",
            Self::Zstd => "zstd",
            Self::Plain => "none",
        }
    }
}

/// A layer, which any number of images may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) id: &'static str,
    pub(crate) arch: &'static str,
    pub(crate) writer: Writer,
    pub(crate) content: Content,
}

/// The family of media types of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Oci,
    Docker,
}

/// What kind of image it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// One platform: the layers' ids, base first.
    Image(&'static [&'static str]),
    /// An index with an image for each architecture.
    Index(&'static [(&'static str, &'static [&'static str])]),
    /// An index with one image and its attestation, as BuildKit writes it.
    Attested(&'static [&'static str]),
    /// A Helm chart.
    Chart,
    /// An artifact that refers to the image with this name and tag: a list of what is in it. It gets a tag, and so does
    /// the index of the referrers tag schema.
    Sbom(&'static str, &'static str),
}

/// An image, or an artifact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) format: Format,
    pub(crate) kind: Kind,
    pub(crate) note: &'static str,
}

/// All images of a corpus.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) layers: &'static [Layer],
    pub(crate) images: &'static [Image],
}

use Content::{Dealt, Debs, Text, Wheelhouse, Wheels};
use Format::{Docker, Oci};
use Kind::{Attested, Chart, Index, Sbom};
use Writer::{Go, Pgzip, Plain, Zlib, Zstd};

pub(crate) const fn layer(id: &'static str, arch: &'static str, writer: Writer, content: Content) -> Layer {
    Layer { id, arch, writer, content }
}

pub(crate) const fn image(
    name: &'static str,
    tag: &'static str,
    format: Format,
    kind: Kind,
    note: &'static str,
) -> Image {
    Image { name, tag, format, kind, note }
}

const BASE: &[&str] = &[
    "base-files",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "bash",
    "coreutils",
    "libtinfo6",
    "libselinux1",
    "libpcre2-8-0",
    "perl-base",
    "libssl3",
    "openssl",
    "ca-certificates",
    "tzdata",
];

/// More than 1 GB.
pub(crate) const FULL: Recipe = Recipe {
    layers: &[
        layer(
            "wheelhouse",
            "amd64",
            Pgzip,
            Wheelhouse(&[
                "catboost==1.2.8",
                "ray==2.46.0",
                "jaxlib==0.6.0",
                "opencv-python-headless==4.11.0.86",
            ]),
        ),
        layer("chromium", "amd64", Pgzip, Debs(&["chromium", "chromium-common"])),
        layer("firefox", "amd64", Go, Debs(&["firefox-esr"])),
        layer("golang", "amd64", Go, Debs(&["golang-1.19-go", "golang-1.19-src"])),
        layer("java", "amd64", Go, Debs(&["openjdk-17-jre-headless"])),
        layer("java-zstd", "amd64", Zstd, Debs(&["openjdk-17-jre-headless"])),
        layer("compilers", "amd64", Zlib, Debs(&["gcc-12", "cpp-12", "libllvm14", "libllvm15"])),
        layer("pyarrow", "amd64", Go, Wheels(&["pyarrow==20.0.0"])),
        layer("docker", "amd64", Go, Debs(&["docker.io", "containerd", "runc"])),
        layer("monitoring", "amd64", Go, Debs(&["prometheus", "etcd-server"])),
        layer("scipy", "amd64", Zlib, Wheels(&["scipy==1.15.3"])),
        layer("numpy", "amd64", Pgzip, Wheels(&["numpy==2.2.6"])),
        layer("sklearn", "amd64", Go, Wheels(&["scikit-learn==1.6.1"])),
        layer("pandas", "amd64", Go, Wheels(&["pandas==2.2.3"])),
        layer("pandas-old", "amd64", Go, Wheels(&["pandas==2.2.2"])),
        layer("postgres", "amd64", Zlib, Debs(&["postgresql-15", "postgresql-client-15", "libpq5"])),
        layer("base", "amd64", Go, Debs(BASE)),
        layer("base-arm64", "arm64", Go, Debs(BASE)),
        layer(
            "python",
            "amd64",
            Zlib,
            Debs(&[
                "python3.11-minimal",
                "libpython3.11-minimal",
                "libpython3.11-stdlib",
                "libexpat1",
                "libffi8",
            ]),
        ),
        layer("hundred", "amd64", Go, Dealt(&["perl-modules-5.36", "libperl5.36", "vim-runtime"], 99)),
        layer("redis", "amd64", Plain, Debs(&["redis-tools", "redis-server"])),
        layer("nginx", "amd64", Go, Debs(&["nginx", "nginx-common"])),
        layer("nginx-arm64", "arm64", Go, Debs(&["nginx", "nginx-common"])),
        layer("conf-1", "amd64", Go, Text("etc/app/app.conf", "workers = 4\n")),
        layer("conf-2", "amd64", Go, Text("etc/app/app.conf", "workers = 8\n")),
    ],
    images: &[
        image("library/base", "12", Oci, Kind::Image(&["base"]), "the base of most others"),
        image("library/python", "3.11", Oci, Kind::Image(&["base", "python"]), "shared base, zlib layer"),
        image(
            "science/notebook",
            "1.0",
            Oci,
            Kind::Image(&["base", "python", "numpy", "scipy", "pandas-old", "conf-1"]),
            "gzip by Go, zlib and pgzip in one image",
        ),
        image(
            "science/notebook",
            "2.0",
            Oci,
            Kind::Image(&["base", "python", "numpy", "scipy", "pandas", "conf-1"]),
            "v2: one layer changed",
        ),
        image(
            "science/train",
            "1.0",
            Oci,
            Kind::Image(&["base", "python", "numpy", "sklearn", "pyarrow"]),
            "shares layers",
        ),
        image(
            "science/wheelhouse",
            "1.0",
            Oci,
            Kind::Image(&["base", "python", "wheelhouse"]),
            "a layer of 300 MB",
        ),
        image("library/java", "17", Oci, Kind::Image(&["base", "java"]), "gzip by Go"),
        image("library/java", "17-zstd", Oci, Kind::Image(&["base", "java-zstd"]), "zstd layer"),
        image("tools/browser", "1.0", Oci, Kind::Image(&["base", "chromium"]), "gzip by pgzip"),
        image("tools/firefox", "1.0", Docker, Kind::Image(&["base", "firefox"]), "Docker media types"),
        image("tools/golang", "1.19", Oci, Kind::Image(&["base", "golang"]), "gzip by Go"),
        image("tools/compilers", "12", Oci, Kind::Image(&["base", "compilers"]), "gzip by zlib"),
        image("platform/docker", "20.10", Docker, Kind::Image(&["base", "docker"]), "Docker media types"),
        image(
            "platform/monitoring",
            "1.0",
            Oci,
            Attested(&["base", "monitoring", "conf-1"]),
            "attestation index",
        ),
        image(
            "platform/monitoring",
            "1.1",
            Oci,
            Attested(&["base", "monitoring", "conf-2"]),
            "v2: one layer changed",
        ),
        image("library/postgres", "15", Oci, Kind::Image(&["base", "postgres", "conf-1"]), "gzip by zlib"),
        image(
            "library/postgres",
            "15.1",
            Oci,
            Kind::Image(&["base", "postgres", "conf-2"]),
            "v2: one layer changed",
        ),
        image("library/redis", "7", Oci, Kind::Image(&["base", "redis"]), "a layer without compression"),
        image(
            "library/nginx",
            "1.22",
            Oci,
            Index(&[("amd64", &["base", "nginx"]), ("arm64", &["base-arm64", "nginx-arm64"])]),
            "index of two platforms",
        ),
        image(
            "library/nginx",
            "1.22-docker",
            Docker,
            Index(&[("amd64", &["base", "nginx"]), ("arm64", &["base-arm64", "nginx-arm64"])]),
            "Docker manifest list",
        ),
        image("tools/hundred", "1.0", Oci, Kind::Image(&["base", "hundred"]), "100 layers"),
        image("charts/demo", "1.0.0", Oci, Chart, "Helm chart"),
        image("library/base", "sbom", Oci, Sbom("library/base", "12"), "referrer of library/base:12"),
    ],
};

const SMALL_BASE: &[&str] = &["base-files", "libc6", "libgcc-s1", "zlib1g"];

/// About 20 MB: one of each kind.
pub(crate) const SMALL: Recipe = Recipe {
    layers: &[
        layer("large", "amd64", Pgzip, Debs(&["libpython3.11-stdlib", "perl-base"])),
        layer("tools", "amd64", Zlib, Debs(&["bash", "libtinfo6"])),
        layer("tools-zstd", "amd64", Zstd, Debs(&["bash", "libtinfo6"])),
        layer("base", "amd64", Go, Debs(SMALL_BASE)),
        layer("base-arm64", "arm64", Go, Debs(SMALL_BASE)),
        layer("busybox", "amd64", Go, Debs(&["busybox-static"])),
        layer("busybox-arm64", "arm64", Go, Debs(&["busybox-static"])),
        layer("hundred", "amd64", Go, Dealt(&["tzdata"], 99)),
        layer("plain", "amd64", Plain, Debs(&["libtinfo6"])),
        layer("conf-1", "amd64", Go, Text("etc/app/app.conf", "workers = 4\n")),
        layer("conf-2", "amd64", Go, Text("etc/app/app.conf", "workers = 8\n")),
    ],
    images: &[
        image("library/base", "12", Oci, Kind::Image(&["base"]), "the base of most others"),
        image("library/app", "1.0", Oci, Kind::Image(&["base", "tools", "conf-1"]), "gzip by zlib"),
        image("library/app", "2.0", Oci, Kind::Image(&["base", "tools", "conf-2"]), "v2: one layer changed"),
        image("library/app", "1.0-zstd", Oci, Kind::Image(&["base", "tools-zstd"]), "zstd layer"),
        image(
            "library/large",
            "1.0",
            Oci,
            Kind::Image(&["base", "large"]),
            "the largest layer, gzip by pgzip",
        ),
        image("library/plain", "1.0", Oci, Kind::Image(&["base", "plain"]), "a layer without compression"),
        image("library/docker", "1.0", Docker, Kind::Image(&["base", "tools"]), "Docker media types"),
        image(
            "library/busybox",
            "1.35",
            Oci,
            Index(&[("amd64", &["busybox"]), ("arm64", &["busybox-arm64"])]),
            "index of two platforms",
        ),
        image(
            "library/busybox",
            "1.35-docker",
            Docker,
            Index(&[("amd64", &["base", "busybox"]), ("arm64", &["base-arm64", "busybox-arm64"])]),
            "Docker manifest list",
        ),
        image("platform/attested", "1.0", Oci, Attested(&["base", "conf-1"]), "attestation index"),
        image("tools/hundred", "1.0", Oci, Kind::Image(&["base", "hundred"]), "100 layers"),
        image("charts/demo", "1.0.0", Oci, Chart, "Helm chart"),
        image("library/base", "sbom", Oci, Sbom("library/base", "12"), "referrer of library/base:12"),
    ],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::updates::{SMALL_UPDATES, UPDATES};
    use super::*;

    fn layers_of(kind: Kind) -> Vec<&'static str> {
        match kind {
            Kind::Image(layers) | Attested(layers) => layers.to_vec(),
            Index(platforms) => platforms.iter().flat_map(|(_, layers)| layers.iter().copied()).collect(),
            Chart | Sbom(..) => Vec::new(),
        }
    }

    #[test]
    fn a_recipe_uses_every_layer_it_makes_and_no_other() {
        for recipe in [FULL, SMALL, UPDATES, SMALL_UPDATES] {
            let made: BTreeSet<&str> = recipe.layers.iter().map(|layer| layer.id).collect();
            let used: BTreeSet<&str> = recipe.images.iter().flat_map(|image| layers_of(image.kind)).collect();
            assert_eq!(made, used);
            assert_eq!(made.len(), recipe.layers.len(), "two layers have one id");
        }
    }

    #[test]
    fn both_recipes_have_every_kind_of_image_and_every_writer() {
        for recipe in [FULL, SMALL] {
            let has = |wanted: fn(&Image) -> bool| recipe.images.iter().any(wanted);
            assert!(has(|image| matches!(image.kind, Index(_)) && image.format == Oci));
            assert!(has(|image| matches!(image.kind, Index(_)) && image.format == Docker));
            assert!(has(|image| matches!(image.kind, Kind::Image(_)) && image.format == Docker));
            assert!(has(|image| matches!(image.kind, Attested(_))));
            assert!(has(|image| matches!(image.kind, Chart)));
            assert!(has(|image| matches!(image.kind, Sbom(..))));
            for writer in [Go, Zlib, Pgzip, Zstd, Plain] {
                assert!(recipe.layers.iter().any(|layer| layer.writer == writer), "{writer:?}");
            }
        }
    }

    #[test]
    fn no_two_images_share_a_name_and_tag() {
        for recipe in [FULL, SMALL] {
            let names: BTreeSet<_> = recipe.images.iter().map(|image| (image.name, image.tag)).collect();
            assert_eq!(names.len(), recipe.images.len());
        }
    }
}
