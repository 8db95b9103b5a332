// SPDX-License-Identifier: Apache-2.0
//! One layer: files of packages, in a tar with nothing of this machine or day in it, compressed as real builders do.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use tar::{Archive, Builder, EntryType, Header};

use super::layout::Layout;
use super::packages::Packages;
use super::recipe::{Content, Layer, Writer};
use super::wheel::Wheel;
use xtask::cache::Cache;
use xtask::digest::{Digest, HashWriter};
use xtask::run::{self, Result};

/// The time of every file that a package gives none for: 2026-01-01.
const MTIME: u64 = 1_767_225_600;
/// How much later a build is that changes nothing but times: 30 days.
const LATER: u64 = 30 * 24 * 3600;
/// A small server; a number in it changes.
const PROGRAM: &str = include_str!("service.go.txt");
/// Python, so that it is zlib itself and nothing that resembles it.
const ZLIB: &str = "import gzip,shutil,sys; \
     f=gzip.GzipFile('','wb',6,sys.stdout.buffer,0); shutil.copyfileobj(sys.stdin.buffer,f,1<<20); f.close()";

/// A finished layer.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// The digest of the tar.
    pub(crate) diff_id: Digest,
    pub(crate) writer: Writer,
}

/// Makes the layers of one entry of the recipe: one, or as many as its files are dealt out to.
pub(crate) fn build(cache: &Cache, packages: &Packages, out: &Layout, layer: &Layer) -> Result<Vec<Built>> {
    if let Content::Dealt(debs, parts) = layer.content {
        let mut files = Vec::new();
        for name in debs {
            for_each_entry(&packages.deb(name, layer)?.file, |mut entry| {
                if entry.header().entry_type() == EntryType::Regular {
                    let mut data = Vec::new();
                    entry.read_to_end(&mut data)?;
                    files.push((entry.header().clone(), entry.path()?.into_owned(), data));
                }
                Ok(())
            })?;
        }
        return (0..parts)
            .map(|part| {
                compress(cache, out, layer.writer, |tar| {
                    for (header, path, data) in files.iter().skip(part).step_by(parts) {
                        append(tar, header, path, data.as_slice())?;
                    }
                    Ok(())
                })
            })
            .collect();
    }
    let built = compress(cache, out, layer.writer, |tar| match layer.content {
        Content::Debs(debs) | Content::Dealt(debs, _) => add_debs(packages, layer, debs, &KEEP_ALL, tar),
        Content::SlimDebs(debs) | Content::ReleasedSlimDebs(debs) => {
            let change = Change { later: 0, left_out: is_documentation };
            add_debs(packages, layer, debs, &change, tar)
        }
        Content::LaterDebs(debs) => {
            add_debs(packages, layer, debs, &Change { later: LATER, ..KEEP_ALL }, tar)
        }
        Content::Program(number) => {
            let program = program(number)?;
            append(tar, &header(0o755, program.len() as u64), Path::new("usr/bin/service"), &*program)
        }
        Content::Wheels(wheels) => wheels.iter().try_for_each(|wheel| {
            let mut wheel = Wheel::open(packages.wheel(wheel)?)?;
            wheel.for_each_file(|path, mode, data| {
                let path = Path::new("usr/lib/python3/dist-packages").join(path);
                append(tar, &header(mode, data.len() as u64), &path, data)
            })
        }),
        Content::Wheelhouse(wheels) => wheels.iter().try_for_each(|wheel| {
            let path = packages.wheel(wheel)?;
            let file = File::open(path)?;
            let header = header(0o644, file.metadata()?.len());
            let name = path.file_name().ok_or("a wheel has no name")?;
            append(tar, &header, &Path::new("opt/wheels").join(name), file)
        }),
        Content::Text(path, text) => {
            append(tar, &header(0o644, text.len() as u64), Path::new(path), text.as_bytes())
        }
    })?;
    Ok(vec![built])
}

type Tar<'a> = Builder<HashWriter<&'a mut dyn Write>>;

/// Builds a program in Go: a server with the parts of the standard library that most have.
fn program(number: u8) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let source = PROGRAM.replace("NUMBER", &number.to_string());
    std::fs::write(folder.path().join("main.go"), source)?;
    std::fs::write(folder.path().join("go.mod"), "module example.com/service\n\ngo 1.21\n")?;
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-buildvcs=false", "-o", "service", "."]).current_dir(folder.path());
    run::run(go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").env("GOWORK", "off"))?;
    Ok(std::fs::read(folder.path().join("service"))?)
}

/// How the files of packages come into a layer.
struct Change {
    /// Seconds after the time that the package states.
    later: u64,
    /// Which paths do not.
    left_out: fn(&Path) -> bool,
}

const KEEP_ALL: Change = Change { later: 0, left_out: |_| false };

/// What Debian's slim images leave out.
fn is_documentation(path: &Path) -> bool {
    let is_below = |folder: &str| path.starts_with(Path::new("usr/share").join(folder));
    let is_copyright = path.file_name().is_some_and(|name| name == "copyright");
    is_below("doc") && !is_copyright || ["info", "lintian", "locale", "man"].into_iter().any(is_below)
}

/// The files of packages.
fn add_debs(
    packages: &Packages,
    layer: &Layer,
    debs: &[&str],
    change: &Change,
    tar: &mut Tar<'_>,
) -> Result<()> {
    let mut paths = BTreeSet::new();
    for name in debs {
        for_each_entry(&packages.deb(name, layer)?.file, |entry| {
            let path = plain(&entry.path()?);
            // Packages share folders; a layer names each once.
            if path.as_os_str().is_empty() || (change.left_out)(&path) || !paths.insert(path.clone()) {
                return Ok(());
            }
            let mut header = entry.header().clone();
            header.set_mtime(header.mtime().unwrap_or(MTIME) + change.later);
            if let Some(target) = entry.link_name()? {
                let target =
                    if header.entry_type() == EntryType::Link { plain(&target) } else { target.into_owned() };
                let mut clean = clean(&header);
                Ok(tar.append_link(&mut clean, path, target)?)
            } else {
                append(tar, &header, &path, entry)
            }
        })?;
    }
    Ok(())
}

fn for_each_entry(
    deb: &Path,
    mut each: impl FnMut(tar::Entry<'_, std::process::ChildStdout>) -> Result<()>,
) -> Result<()> {
    let mut child = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn()?;
    let mut archive = Archive::new(child.stdout.take().ok_or("dpkg-deb has no output")?);
    for entry in archive.entries()? {
        each(entry?)?;
    }
    // What follows the end mark must be read too, or dpkg-deb complains of a broken pipe.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    wait(&mut child, "dpkg-deb")
}

fn append(tar: &mut Tar<'_>, header: &Header, path: &Path, data: impl Read) -> Result<()> {
    Ok(tar.append_data(&mut clean(header), plain(path), data)?)
}

/// The header with nothing in it but what a container needs.
fn clean(from: &Header) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(from.entry_type());
    header.set_mode(from.mode().unwrap_or(0o644));
    header.set_uid(from.uid().unwrap_or(0));
    header.set_gid(from.gid().unwrap_or(0));
    header.set_mtime(from.mtime().unwrap_or(MTIME));
    header.set_size(from.size().unwrap_or(0));
    header
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_mtime(MTIME);
    header.set_size(size);
    header
}

fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Writes a tar through a compressor into the layout.
fn compress(
    cache: &Cache,
    out: &Layout,
    writer: Writer,
    fill: impl FnOnce(&mut Tar<'_>) -> Result<()>,
) -> Result<Built> {
    let file = out.temporary()?;
    let copy = file.reopen()?;
    let (diff_id, digest, size) = match writer {
        Writer::Plain => {
            let mut hashed = HashWriter::new(copy);
            let diff_id = write_tar(&mut hashed, fill)?;
            let (digest, size) = hashed.finish();
            (diff_id, digest, size)
        }
        Writer::Zstd => {
            let mut encoder = zstd::Encoder::new(HashWriter::new(copy), 3)?;
            let diff_id = write_tar(&mut encoder, fill)?;
            let (digest, size) = encoder.finish()?.finish();
            (diff_id, digest, size)
        }
        Writer::Go | Writer::Pgzip | Writer::Zlib => {
            let mut command = match writer {
                Writer::Zlib => Command::new("python3"),
                _ => Command::new(cache.bin().join("krs-gzip")),
            };
            match writer {
                Writer::Zlib => command.args(["-c", ZLIB]),
                Writer::Pgzip => command.arg("pgzip"),
                _ => command.arg("go"),
            };
            let (mut filter, stdin) = Filter::start(&mut command, copy)?;
            let mut stdin = io::BufWriter::with_capacity(1 << 18, stdin);
            let diff_id = write_tar(&mut stdin, fill)?;
            drop(stdin);
            let (digest, size) = filter.finish()?;
            (diff_id, digest, size)
        }
    };
    out.keep(file, &digest)?;
    Ok(Built { digest, size, diff_id, writer })
}

fn write_tar(to: &mut dyn Write, fill: impl FnOnce(&mut Tar<'_>) -> Result<()>) -> Result<Digest> {
    let mut tar = Builder::new(HashWriter::new(to));
    fill(&mut tar)?;
    let mut hashed = tar.into_inner()?;
    hashed.flush()?;
    Ok(hashed.finish().0)
}

/// A program between our tar and a file.
struct Filter {
    child: Child,
    reader: Option<JoinHandle<io::Result<(Digest, u64)>>>,
}

impl Filter {
    fn start(command: &mut Command, to: File) -> Result<(Self, ChildStdin)> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("a compressor has no input")?;
        let mut stdout = child.stdout.take().ok_or("a compressor has no output")?;
        let reader = thread::spawn(move || {
            let mut hashed = HashWriter::new(to);
            io::copy(&mut stdout, &mut hashed)?;
            Ok(hashed.finish())
        });
        Ok((Self { child, reader: Some(reader) }, stdin))
    }

    fn finish(&mut self) -> Result<(Digest, u64)> {
        let reader = self.reader.take().ok_or("a compressor was finished twice")?;
        let result = reader.join().map_err(|_| "reading a compressor's output failed")?;
        wait(&mut self.child, "a compressor")?;
        Ok(result?)
    }
}

fn wait(child: &mut Child, name: &str) -> Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed: {status}").into()) }
}
