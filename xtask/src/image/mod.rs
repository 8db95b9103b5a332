// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask image`: the importer's image, made of Debian packages and our binary without any daemon; and the images
//! that tests run.

mod archive;
mod definition;
mod labels;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::archive::Image;
use self::definition::{
    DEBIAN, FILES, IMPORTER, LINKS, PACKAGES, PROGRAMS, ROOTS, ROOTS_FILE, SCRATCH, USER,
};
pub(crate) use self::labels::Addresses;
use crate::cluster::Node;
use xtask::cache::Cache;
use xtask::digest::Digest;
use xtask::files::Files;
use xtask::run::{self, Result, checkout, step};
use xtask::source::Commit;
use xtask::tools::debian;

/// The name of the importer's image in its archive, as the chart asks for it: `localhost`, so that no node ever asks a registry
/// of somebody else for it.
pub(crate) const IMPORTER_IMAGE: &str = concat!("localhost/krs-importer:", env!("CARGO_PKG_VERSION"));

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
        let text = definition::dockerfile(env!("CARGO_PKG_VERSION"));
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
    let root = unpack_debian(cache)?;
    step("build the image", || {
        fs::create_dir_all(out)?;
        let commit = Commit::of_checkout();
        let labels = labels::labels(commit.as_ref(), addresses);
        let mut own = Files::default();
        own.file(IMPORTER, 0o755, without_debug_information(&binary)?);
        let layers = [base(&root)?.tar(0)?, programs(&root, &binary)?.tar(0)?, own.tar(0)?];
        let archive = out.join("krs-importer.tar");
        let (repository, tag) = IMPORTER_IMAGE.rsplit_once(':').ok_or("the image has no tag")?;
        let start = format!("/{IMPORTER}");
        let entrypoint = &[start.as_str()];
        let created = commit.as_ref().map(|commit| commit.time.as_str());
        Image { repository, tag, layers: &layers, user: USER, entrypoint, labels, created }
            .write(&archive)?;
        Ok(archive)
    })
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
        write_test_image(
            archive,
            ("krs.test/busybox", "1"),
            &files,
            "0:0",
            &["/bin/busybox", "sleep", "infinity"],
        )
    })?;
    let registry = fs::read(cache.bin().join("registry"))?;
    made_of(&folder, "registry", &Digest::of(&registry).to_string(), |archive| {
        let mut files = Files::default();
        files.file("registry", 0o755, registry);
        files.folder("tmp", 0o1777);
        write_test_image(archive, ("krs.test/registry", "3"), &files, USER, &["/registry"])
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
    (repository, tag): (&str, &str),
    files: &Files,
    user: &str,
    entrypoint: &[&str],
) -> Result<()> {
    let (layers, labels) = ([files.tar(0)?], BTreeMap::new());
    Image { repository, tag, layers: &layers, user, entrypoint, labels, created: None }.write(archive)
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

/// The packages of [`definition`], unpacked into a folder of the cache that is named after their versions.
fn unpack_debian(cache: &Cache) -> Result<PathBuf> {
    let _lock = cache.lock("images.lock")?;
    let debs = debian::closure(cache, DEBIAN, PACKAGES)?;
    let names: Vec<_> =
        debs.iter().map(|deb| deb.file_name().unwrap_or_default().to_string_lossy()).collect();
    let digest = Digest::of(names.join("\n").as_bytes());
    let parent = cache.cluster().join("debian");
    let root = parent.join(digest.hex().get(..16).unwrap_or_default());
    if root.is_dir() {
        return Ok(root);
    }
    step(&format!("unpack {} packages of Debian {DEBIAN}", debs.len()), || {
        if parent.exists() {
            fs::remove_dir_all(&parent)?;
        }
        let partial = parent.join("partial");
        fs::create_dir_all(&partial)?;
        for deb in &debs {
            run::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&partial))?;
        }
        Ok(fs::rename(&partial, &root)?)
    })?;
    Ok(root)
}

/// What does not change with any program.
fn base(root: &Path) -> Result<Files> {
    let mut files = Files::default();
    for (path, content) in FILES {
        files.file(path, 0o644, content.as_bytes().to_vec());
    }
    for folder in SCRATCH {
        files.folder(folder, 0o1777);
    }
    for (link, target) in LINKS {
        if root.join(target).is_dir() {
            files.link(link, target);
        }
    }
    let mut roots: Vec<PathBuf> =
        fs::read_dir(root.join(ROOTS))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    roots.sort();
    let mut all = Vec::new();
    for root in roots {
        all.extend(fs::read(root)?);
    }
    files.file(ROOTS_FILE, 0o644, all);
    Ok(files)
}

/// Debian's programs, and the libraries that they and the importer load.
fn programs(root: &Path, importer: &Path) -> Result<Files> {
    let mut files = Files::default();
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let path = root.join(program);
        files.file(program, 0o755, fs::read(&path)?);
        libraries.extend(loaded(root, &path)?);
    }
    libraries.extend(loaded(root, importer)?);
    for library in libraries {
        let below = library.strip_prefix(root)?.to_str().ok_or("a library has a strange name")?;
        files.file(below, fs::metadata(&library)?.permissions().mode() & 0o777, fs::read(&library)?);
    }
    Ok(files)
}

/// The files that the loader of that system would load for a program, the loader included.
fn loaded(root: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let (loader, folder) = match std::env::consts::ARCH {
        "x86_64" => ("usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
        "aarch64" => ("usr/lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
        other => return Err(format!("no image is built for {other}").into()),
    };
    let (loader, folder) = (root.join(loader), root.join(folder));
    let list = run::output(
        Command::new(&loader)
            .arg("--inhibit-cache")
            .arg("--library-path")
            .arg(&folder)
            .arg("--list")
            .arg(program),
    )?;
    let mut files = vec![loader];
    for line in list.lines() {
        // NAME => PATH (ADDRESS); the loader and the kernel's page have no arrow.
        let Some((name, found)) = line.trim().split_once(" => ") else { continue };
        let path = Path::new(found.split(" (").next().unwrap_or_default());
        if path.starts_with(&folder) {
            files.push(path.to_owned());
        } else if !path.ends_with("ld-linux-x86-64.so.2") && !path.ends_with("ld-linux-aarch64.so.1") {
            return Err(format!("{}: Debian {DEBIAN} has no {name}", program.display()).into());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_and_its_documentation_name_the_image_that_is_built() {
        let text = |path: &str| fs::read_to_string(checkout().join(path)).unwrap_or_default();
        let (repository, tag) = IMPORTER_IMAGE.rsplit_once(':').unwrap_or_default();
        assert!(text("importer/chart/values.yaml").contains(&format!("\n  repository: {repository}\n")));
        assert!(text("importer/chart/Chart.yaml").contains(&format!("\nappVersion: {tag}\n")));
        assert!(text("docs/install.md").contains(&format!("`{IMPORTER_IMAGE}`")));
    }

    #[test]
    fn the_image_runs_as_somebody_who_is_not_root_and_is_in_passwd() {
        let id = USER.split(':').next().unwrap_or_default();
        assert_ne!(id, "0");
        assert!(
            FILES.iter().any(|(path, text)| *path == "etc/passwd" && text.contains(&format!(":{id}:{id}:")))
        );
    }
}
