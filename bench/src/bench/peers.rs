// SPDX-License-Identifier: Apache-2.0
//! The commands of other programs for the same work, as data. Each is used in its fastest way.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::inventory::Image;
use xtask::cache::Cache;
use xtask::run::{Result, on_path};

/// Another program.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) program: &'static str,
    /// The arguments that print its version.
    pub(crate) version: &'static [&'static str],
    /// How it brings images into a folder.
    pub(crate) fetch: Way,
    /// How it brings them from there into a registry.
    pub(crate) push: Way,
    /// How the folder is filled that it pushes from, where not by its own `fetch`.
    pub(crate) fill: Option<Way>,
}

/// Images, a registry and a folder become calls, one after the other.
pub(crate) type Way = fn(&str, &[Image], &Path) -> Result<Vec<Vec<String>>>;

/// All of them.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        program: "skopeo",
        version: &["--version"],
        fetch: |registry, images, folder| {
            Ok(each(images, |image| {
                let (from, to) = (format!("docker://{}", at(registry, image)), layout("oci:", folder, image));
                // An OCI layout holds no Docker manifests for skopeo: it converts them.
                words("--insecure-policy copy --quiet --all --src-tls-verify=false", [from, to])
            }))
        },
        push: |registry, images, folder| {
            Ok(each(images, |image| {
                let (from, to) = (layout("oci:", folder, image), format!("docker://{}", at(registry, image)));
                words("--insecure-policy copy --quiet --all --dest-tls-verify=false", [from, to])
            }))
        },
        fill: None,
    },
    Peer {
        program: "oras",
        version: &["version"],
        fetch: |registry, images, folder| {
            Ok(each(images, |image| {
                let ends = [at(registry, image), layout("", folder, image)];
                words("cp --no-tty --concurrency 6 --from-plain-http --to-oci-layout", ends)
            }))
        },
        push: |registry, images, folder| {
            Ok(each(images, |image| {
                let ends = [layout("", folder, image), at(registry, image)];
                words("cp --no-tty --concurrency 6 --from-oci-layout --to-plain-http", ends)
            }))
        },
        fill: None,
    },
    Peer {
        program: "regctl",
        version: &["version"],
        fetch: |registry, images, folder| {
            let host = format!("--host reg={registry},tls=disabled image copy");
            Ok(each(images, |image| words(&host, [at(registry, image), layout("ocidir://", folder, image)])))
        },
        push: |registry, images, folder| {
            let host = format!("--host reg={registry},tls=disabled image copy");
            Ok(each(images, |image| words(&host, [layout("ocidir://", folder, image), at(registry, image)])))
        },
        fill: None,
    },
    Peer {
        program: "crane",
        version: &["version"],
        fetch: |registry, images, folder| {
            let from = images.iter().map(|image| at(registry, image));
            let to = folder.join("layout").display().to_string();
            Ok(vec![words("pull --insecure --format=oci", from.chain([to]))])
        },
        push: |registry, images, folder| {
            let from = |image: &Image| folder.join(image.label()).display().to_string();
            Ok(each(images, |image| words("push --insecure", [from(image), at(registry, image)])))
        },
        // It pushes a layout with one image only.
        fill: Some(|registry, images, folder| {
            let to = |image: &Image| folder.join(image.label()).display().to_string();
            Ok(each(images, |image| words("pull --insecure --format=oci", [at(registry, image), to(image)])))
        }),
    },
    Peer {
        program: "imgpkg",
        version: &["--version"],
        fetch: |registry, images, folder| {
            let mut lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n".to_owned();
            for image in images {
                writeln!(lock, "- image: {registry}/{}@{}", image.name, image.digest)?;
            }
            let path = folder.join("images.yml");
            fs::write(&path, lock)?;
            let (path, tar) = (path.display().to_string(), folder.join("all.tar").display().to_string());
            Ok(vec![words(
                &format!("copy --lock {path} --registry-insecure --concurrency 6 --to-tar"),
                [tar],
            )])
        },
        push: |registry, _, folder| {
            let tar = folder.join("all.tar").display().to_string();
            let to = format!("{registry}/bench/all");
            Ok(vec![words(
                "copy --registry-insecure --concurrency 6",
                ["--tar".into(), tar, "--to-repo".into(), to],
            )])
        },
        fill: None,
    },
    Peer {
        program: "hauler",
        version: &["version"],
        fetch: |registry, images, folder| {
            let mut list = "apiVersion: content.hauler.cattle.io/v1\nkind: Images\nmetadata: {name: bench}\n\
                            spec:\n  images:\n"
                .to_owned();
            for image in images {
                writeln!(list, "  - name: {}", at(registry, image))?;
            }
            fs::write(folder.join("list.yaml"), list)?;
            let (store, shown) = (folder.join("store").display().to_string(), folder.display().to_string());
            let sync = words(
                "store sync --no-progress -j 6 -s",
                [store.clone(), "-f".into(), format!("{shown}/list.yaml")],
            );
            Ok(vec![sync, words("store save -s", [store, "-f".into(), format!("{shown}/haul.tar.zst")])])
        },
        push: |registry, _, folder| {
            let (store, shown) = (folder.join("loaded").display().to_string(), folder.display().to_string());
            let load = words("store load -s", [store.clone(), "-f".into(), format!("{shown}/haul.tar.zst")]);
            Ok(vec![load, words("store copy --plain-http -s", [store, format!("registry://{registry}")])])
        },
        fill: None,
    },
];

/// Those that are there.
pub(crate) fn found(cache: &Cache) -> Vec<(&'static Peer, PathBuf)> {
    let find = |program: &str| {
        Some(cache.bin().join(program)).filter(|path| path.is_file()).or_else(|| on_path(program))
    };
    PEERS.iter().filter_map(|peer| Some((peer, find(peer.program)?))).collect()
}

/// The calls as commands.
pub(crate) fn commands(program: &Path, calls: Vec<Vec<String>>) -> Vec<Command> {
    let command = |arguments: Vec<String>| {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    };
    calls.into_iter().map(command).collect()
}

fn each(images: &[Image], call: impl Fn(&Image) -> Vec<String>) -> Vec<Vec<String>> {
    images.iter().map(call).collect()
}

fn at(registry: &str, image: &Image) -> String {
    format!("{registry}/{}:{}", image.name, image.tag)
}

fn layout(scheme: &str, folder: &Path, image: &Image) -> String {
    format!("{scheme}{}:{}", folder.join("layout").display(), image.label())
}

fn words(text: &str, more: impl IntoIterator<Item = String>) -> Vec<String> {
    text.split(' ').map(str::to_owned).chain(more).collect()
}
