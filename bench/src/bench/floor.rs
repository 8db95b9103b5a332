// SPDX-License-Identifier: Apache-2.0
//! The floors: the least work that is needed to transfer the bytes, and to verify them. The measured programs do the same
//! work and more.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::http::{Body, Connection, path_of};
use super::inventory::{Blob, Inventory};
use xtask::run::Result;

/// Connections that push at once.
const CONNECTIONS: usize = 4;
/// The one repository that the floor pushes into: it links nothing.
const REPOSITORY: &str = "floor";
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Programs that are part of this one, so that they are measured as all others are.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Floor {
    /// Sends every blob and manifest once
    Push {
        registry: SocketAddr,
        corpus: PathBuf,
        /// Digests of the images
        #[arg(long, value_name = "FILE")]
        images: PathBuf,
    },
    /// Hashes a file on all cores
    Hash { file: PathBuf },
    /// Reads a file on all cores
    Read { file: PathBuf },
    /// Writes so many bytes and brings them to the disk
    Write { file: PathBuf, bytes: u64 },
}

/// Runs the floor.
pub(crate) fn run(floor: &Floor) -> Result<()> {
    match floor {
        Floor::Push { registry, corpus, images } => {
            let chosen = fs::read_to_string(images)?;
            let inventory = Inventory::read(corpus)?.only(|image| chosen.contains(&image.digest))?;
            push(*registry, &inventory)
        }
        Floor::Hash { file } => on_all_cores(file, true),
        Floor::Read { file } => on_all_cores(file, false),
        Floor::Write { file, bytes } => to_disk(file, *bytes),
    }
}

/// One process that fetches everything once, into files.
pub(crate) fn fetch(registry: &str, inventory: &Inventory, folder: &Path) -> Result<Command> {
    let mut config = "silent\nshow-error\nfail\ncreate-dirs\n".to_owned();
    let accept = inventory.manifests.iter().map(|manifest| manifest.media_type.as_str());
    let accept = accept.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
    writeln!(config, "header = \"Accept: {accept}\"")?;
    let hex = |digest: &str| digest.rsplit(':').next().unwrap_or(digest).to_owned();
    for blob in &inventory.blobs {
        writeln!(config, "url = \"http://{registry}/v2/{}/blobs/{}\"", blob.repository, blob.digest)?;
        writeln!(config, "output = \"fetched/{}\"", hex(&blob.digest))?;
    }
    for manifest in &inventory.manifests {
        writeln!(
            config,
            "url = \"http://{registry}/v2/{}/manifests/{}\"",
            manifest.repository, manifest.digest
        )?;
        writeln!(config, "output = \"fetched/{}\"", hex(&manifest.digest))?;
    }
    let path = folder.join("curl.config");
    fs::write(&path, config)?;
    let mut curl = Command::new("curl");
    curl.args(["--disable", "-Z", "--parallel-max", "6", "--config"]).arg(path);
    Ok(curl)
}

/// POST and PUT of each blob over a few connections, then the manifests.
fn push(registry: SocketAddr, inventory: &Inventory) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        let mut connection = Connection::open(registry)?;
        while let Some(blob) = inventory.blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            push_blob(&mut connection, blob, inventory)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })?;
    let mut connection = Connection::open(registry)?;
    for manifest in &inventory.manifests {
        let bytes = fs::read(inventory.file(&manifest.digest))?;
        let target = format!("/v2/{REPOSITORY}/manifests/{}", manifest.digest);
        let answer = connection.ask("PUT", &target, Body::Bytes(&bytes, &manifest.media_type))?;
        expect(201, answer.status, &manifest.digest)?;
    }
    Ok(())
}

fn push_blob(connection: &mut Connection, blob: &Blob, inventory: &Inventory) -> Result<()> {
    let upload = connection.ask("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), Body::Nothing)?;
    expect(202, upload.status, &blob.digest)?;
    let location = upload.location.ok_or("an upload without a location")?;
    let path = path_of(&location);
    let joint = if path.contains('?') { '&' } else { '?' };
    let file = File::open(inventory.file(&blob.digest))?;
    let target = format!("{path}{joint}digest={}", blob.digest);
    let done = connection.ask("PUT", &target, Body::File(&file, blob.size))?;
    expect(201, done.status, &blob.digest)
}

fn expect(expected: u16, got: u16, digest: &str) -> Result<()> {
    if expected == got { Ok(()) } else { Err(format!("{digest}: status {got}, not {expected}").into()) }
}

/// Reads a file from the disk and not from memory, as `krs verify` does, and hashes it where asked to, in as many parts as
/// there are cores.
fn on_all_cores(file: &Path, hash: bool) -> Result<()> {
    let file = File::open(file)?;
    file.sync_data()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let (size, cores) =
        (file.metadata()?.len(), thread::available_parallelism().map_or(1, usize::from) as u64);
    let part = |n: u64| -> Result<()> {
        let (mut at, end) = (size * n / cores, size * (n + 1) / cores);
        let (mut buffer, mut hasher) = (vec![0; CHUNK], Sha256::new());
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let bytes = buffer.get_mut(..most).unwrap_or_default();
            file.read_exact_at(bytes, at)?;
            at += most as u64;
            if hash {
                hasher.update(bytes);
            }
        }
        std::hint::black_box(hasher.finalize());
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|n| scope.spawn(move || part(n))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

fn to_disk(file: &Path, bytes: u64) -> Result<()> {
    // Not zeros, which some disks compress.
    let mut next = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        next.to_le_bytes()
    });
    let chunk: Vec<u8> = words.take(CHUNK / 8).flatten().collect();
    let file = File::create(file)?;
    let mut at = 0;
    while at < bytes {
        let most = usize::try_from(bytes - at).unwrap_or(CHUNK).min(CHUNK);
        file.write_all_at(chunk.get(..most).unwrap_or_default(), at)?;
        at += most as u64;
    }
    Ok(file.sync_all()?)
}

/// Lets the system forget a file, so that the next reader waits for the disk.
pub(crate) fn forget(file: &Path) -> Result<()> {
    let file = File::open(file)?;
    file.sync_all()?;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Advice, fadvise};
        fadvise(&file, 0, std::num::NonZeroU64::new(file.metadata()?.len()), Advice::DontNeed)?;
    }
    Ok(())
}
