// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask image`: the importer's image, made of Debian packages and our binary without any daemon; and the images
//! that tests run.

mod dockerfile;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Node;
use xtask::cache::Cache;
use xtask::digest::Digest;
use xtask::files::Files;
use xtask::oci::{Archive, Image, Layer};
use xtask::rootfs::labels::{self, Addresses, IMPORTER_LABELS};
use xtask::rootfs::{Architecture, DebianRoot, IMPORTER, IMPORTER_IMAGE, PACKAGES, USER, importer_layers};
use xtask::run::{self, Result, checkout, step};
use xtask::source::Commit;
use xtask::tools::debian;

/// Arguments of `cargo xtask image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for krs-importer.tar [default: the cache]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Build the importer with the release profile
    #[arg(long)]
    release: bool,
    /// Address of the published sources (https://...), for the label org.opencontainers.image.source
    #[arg(long, value_name = "URL", value_parser = labels::url)]
    source: Option<String>,
    /// Address of the published documentation, for the label org.opencontainers.image.documentation
    #[arg(long, value_name = "URL", value_parser = labels::url)]
    documentation: Option<String>,
    /// Load the image into a running cluster
    #[arg(long)]
    load: bool,
    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "krs", requires = "load")]
    cluster: String,
    /// Only regenerate importer/Dockerfile from the same definition
    #[arg(long, conflicts_with_all = ["out", "release", "source", "documentation", "load"])]
    dockerfile: bool,
}

/// Builds the image; loads it where that was asked for.
pub(crate) fn run(cache: &Cache, args: &Args) -> Result<()> {
    if args.dockerfile {
        let text = dockerfile::dockerfile(env!("CARGO_PKG_VERSION"));
        return Ok(fs::write(checkout().join("importer/Dockerfile"), text)?);
    }
    let out = args.out.clone().unwrap_or_else(|| cache.cluster().join("importer"));
    let addresses =
        Addresses { source: args.source.as_deref(), documentation: args.documentation.as_deref() };
    let archive = importer(cache, &out, args.release, &addresses)?;
    println!("{IMPORTER_IMAGE} in {}", archive.display());
    if args.load {
        let node = Node::new(cache, &args.cluster);
        step(&format!("load it into cluster {}", node.name()), || node.load(&archive))?;
    }
    Ok(())
}

/// Builds the importer and its image into a folder; answers the archive.
pub(crate) fn importer(
    cache: &Cache,
    out: &Path,
    release: bool,
    addresses: &Addresses<'_>,
) -> Result<PathBuf> {
    let binary = step("cargo build krs-importer", || build_importer(release))?;
    let architecture = Architecture::native()?;
    let root = DebianRoot::unpack(cache, architecture, PACKAGES)?;
    step("build the image", || {
        fs::create_dir_all(out)?;
        let commit = Commit::of_checkout();
        let mut own = Files::default();
        own.file(IMPORTER, 0o755, without_debug_information(&binary)?);
        let tars = importer_layers(&root, &[&binary], &own)?;
        let layers = tars.map(Layer::tar);
        let image = Image {
            architecture: architecture.name(),
            layers: &layers,
            user: USER,
            entrypoint: &[&format!("/{IMPORTER}")],
            command: &[],
            labels: labels::labels(IMPORTER_LABELS, commit.as_ref(), addresses),
            created: commit.as_ref().map(|commit| commit.time.as_str()),
        };
        let archive = out.join("krs-importer.tar");
        write(&archive, &image, IMPORTER_IMAGE)?;
        Ok(archive)
    })
}

fn write(archive: &Path, image: &Image<'_>, name: &str) -> Result<()> {
    let (repository, tag) = name.rsplit_once(':').ok_or("the image has no tag")?;
    let mut content = Archive::default();
    let image = content.image(image)?;
    content.name(&image, repository, tag);
    content.write(archive)
}

/// Makes the images that tests run besides the importer, where they are not there; answers their folder.
pub(crate) fn test_images(cache: &Cache) -> Result<PathBuf> {
    let _lock = cache.lock("images.lock")?;
    let folder = cache.cluster().join("images");
    fs::create_dir_all(&folder)?;
    let debs = debian::download(cache, &["busybox-static".to_owned()])?;
    let deb = debs.get("busybox-static").ok_or("busybox-static was not downloaded")?;
    made_of(&folder, "busybox", &deb.version, |archive| {
        let files = busybox(&deb.file)?;
        write_test_image(archive, "krs.test/busybox:1", &files, "0:0", &["/bin/busybox", "sleep", "infinity"])
    })?;
    let registry = fs::read(cache.bin().join("registry"))?;
    made_of(&folder, "registry", &Digest::of(&registry).to_string(), |archive| {
        let mut files = Files::default();
        files.file("registry", 0o755, registry);
        files.folder("tmp", 0o1777);
        write_test_image(archive, "krs.test/registry:3", &files, USER, &["/registry"])
    })?;
    Ok(folder)
}

fn made_of(folder: &Path, name: &str, version: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (archive, stamp) =
        (folder.join(name).with_extension("tar"), folder.join(name).with_extension("stamp"));
    if archive.is_file() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == version) {
        return Ok(());
    }
    step(&format!("build the image {name}"), || make(&archive))?;
    Ok(fs::write(stamp, version)?)
}

fn write_test_image(
    archive: &Path,
    name: &str,
    files: &Files,
    user: &str,
    entrypoint: &[&str],
) -> Result<()> {
    let (layers, labels) = ([Layer::tar(files.tar(0)?)], BTreeMap::new());
    let architecture = Architecture::native()?.name();
    let image =
        Image { architecture, layers: &layers, user, entrypoint, command: &[], labels, created: None };
    write(archive, &image, name)
}

/// Debian's static one, with a link for each of its programs.
fn busybox(deb: &Path) -> Result<Files> {
    let folder = tempfile::tempdir()?;
    run::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(folder.path()))?;
    let program = ["bin/busybox", "usr/bin/busybox"]
        .iter()
        .map(|path| folder.path().join(path))
        .find(|path| path.is_file())
        .ok_or("busybox-static has no busybox")?;
    let mut files = Files::default();
    for applet in run::output(Command::new(&program).arg("--list"))?.lines() {
        files.link(&format!("bin/{applet}"), "busybox");
    }
    files.file("bin/busybox", 0o755, fs::read(&program)?);
    for folder in ["dev", "proc", "sys", "root"] {
        files.folder(folder, 0o755);
    }
    files.folder("tmp", 0o1777);
    files.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n".to_vec(),
    );
    files.file("etc/group", 0o644, b"root:x:0:\n".to_vec());
    Ok(files)
}

fn build_importer(release: bool) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout()).args([
        "build",
        "--locked",
        "--quiet",
        "--package",
        "krs-importer",
        "--bins",
    ]);
    if release {
        cargo.arg("--release");
    }
    run::executable(&mut cargo, "krs-importer")
}

/// A development build has some hundred MB of it. `strip` comes with the C compiler that Rust needs.
fn without_debug_information(binary: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let small = folder.path().join("krs-importer");
    run::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&small).arg(binary))?;
    Ok(fs::read(small)?)
}
