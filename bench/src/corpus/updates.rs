// SPDX-License-Identifier: Apache-2.0
//! Images before and after updates as they occur, as data: tag 1 is before, tag 2 after. Images of one folder are updated
//! together.

use super::recipe::Content::{Debs, LaterDebs, OldDebs, Program, Wheels};
use super::recipe::Format::Oci;
use super::recipe::Writer::{Go, Pgzip, Zlib};
use super::recipe::{Image, Kind, Recipe, image, layer};

const BASE: &[&str] = &[
    "base-files",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "bash",
    "coreutils",
    "libtinfo6",
    "perl-base",
    "libssl3",
    "openssl",
    "ca-certificates",
    "tzdata",
    "liblzma5",
    "libpcre2-8-0",
    "libexpat1",
    "apt",
    "libapt-pkg6.0",
];
const NGINX: &[&str] = &["nginx", "nginx-common", "redis-server", "redis-tools", "curl", "libcurl4"];
const POSTGRES: &[&str] = &["postgresql-15", "postgresql-client-15", "libpq5"];
const PYTHON: &[&str] =
    &["python3.11", "libpython3.11-stdlib", "python3.11-minimal", "libpython3.11-minimal"];
const JAVA: &[&str] = &["openjdk-17-jre-headless"];

/// About 300 MB before, and as much after.
pub(crate) const UPDATES: Recipe = Recipe {
    layers: &[
        layer("java-1", "amd64", Go, OldDebs(JAVA)),
        layer("java-2", "amd64", Go, Debs(JAVA)),
        layer("base-1", "amd64", Go, OldDebs(BASE)),
        layer("base-2", "amd64", Go, Debs(BASE)),
        layer("postgres-1", "amd64", Pgzip, OldDebs(POSTGRES)),
        layer("postgres-2", "amd64", Pgzip, Debs(POSTGRES)),
        layer("python-1", "amd64", Pgzip, OldDebs(PYTHON)),
        layer("python-2", "amd64", Pgzip, Debs(PYTHON)),
        layer("nginx-1", "amd64", Zlib, OldDebs(NGINX)),
        layer("nginx-2", "amd64", Zlib, Debs(NGINX)),
        layer("wheels-1", "amd64", Go, Wheels(&["numpy==2.2.4", "pandas==2.2.2", "scipy==1.15.2"])),
        layer("wheels-2", "amd64", Go, Wheels(&["numpy==2.2.5", "pandas==2.2.3", "scipy==1.15.3"])),
        layer("program-1", "amd64", Go, Program(1)),
        layer("program-2", "amd64", Go, Program(2)),
        layer("again-1", "amd64", Go, Debs(&["git"])),
        layer("again-2", "amd64", Go, LaterDebs(&["git"])),
    ],
    images: &[
        before("patch-day/base", &["base-1"]),
        before("patch-day/java", &["base-1", "java-1"]),
        before("patch-day/postgres", &["base-1", "postgres-1"]),
        before("patch-day/python", &["base-1", "python-1"]),
        before("patch-day/nginx", &["base-1", "nginx-1"]),
        before("patch-release/analysis", &["wheels-1"]),
        before("go-program/service", &["program-1"]),
        before("times-only/git", &["again-1"]),
        after("patch-day/base", &["base-2"]),
        after("patch-day/java", &["base-2", "java-2"]),
        after("patch-day/postgres", &["base-2", "postgres-2"]),
        after("patch-day/python", &["base-2", "python-2"]),
        after("patch-day/nginx", &["base-2", "nginx-2"]),
        after("patch-release/analysis", &["wheels-2"]),
        after("go-program/service", &["program-2"]),
        after("times-only/git", &["again-2"]),
    ],
};

const SMALL_BASE: &[&str] = &["perl-base", "liblzma5", "openssl"];

/// About 15 MB, in seconds.
pub(crate) const SMALL_UPDATES: Recipe = Recipe {
    layers: &[
        layer("base-1", "amd64", Go, OldDebs(SMALL_BASE)),
        layer("base-2", "amd64", Go, Debs(SMALL_BASE)),
        layer("python-1", "amd64", Pgzip, OldDebs(&["libpython3.11-stdlib"])),
        layer("python-2", "amd64", Pgzip, Debs(&["libpython3.11-stdlib"])),
        layer("program-1", "amd64", Go, Program(1)),
        layer("program-2", "amd64", Go, Program(2)),
        layer("again-1", "amd64", Zlib, Debs(&["bash"])),
        layer("again-2", "amd64", Zlib, LaterDebs(&["bash"])),
    ],
    images: &[
        before("patch-day/base", &["base-1"]),
        before("patch-day/python", &["base-1", "python-1"]),
        before("go-program/service", &["program-1"]),
        before("times-only/bash", &["again-1"]),
        after("patch-day/base", &["base-2"]),
        after("patch-day/python", &["base-2", "python-2"]),
        after("go-program/service", &["program-2"]),
        after("times-only/bash", &["again-2"]),
    ],
};

const fn before(name: &'static str, layers: &'static [&'static str]) -> Image {
    image(name, "1", Oci, Kind::Image(layers), "v1")
}

const fn after(name: &'static str, layers: &'static [&'static str]) -> Image {
    image(name, "2", Oci, Kind::Image(layers), "v2: updated")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_there_before_and_after_with_as_many_layers() {
        for recipe in [UPDATES, SMALL_UPDATES] {
            let of = |tag: &str| {
                let images = recipe.images.iter().filter(|image| image.tag == tag);
                let count = |image: &Image| match image.kind {
                    Kind::Image(layers) => layers.len(),
                    _ => 0,
                };
                images.map(|image| (image.name, count(image))).collect::<Vec<_>>()
            };
            assert_eq!(of("1"), of("2"));
        }
    }
}
