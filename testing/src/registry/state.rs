// SPDX-License-Identifier: Apache-2.0
//! What the registry holds: blobs once for all repositories, manifests and tags per repository.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use krs_core::oci::digest::{Digest, Hasher};
use serde_json::Value;

/// Content of up to so many bytes stays in memory; larger content goes to a file.
const IN_MEMORY: usize = 256 << 10;

/// Content at rest.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Small.
    Memory(Bytes),
    /// Large; the file goes with the last reader.
    File(Arc<StoredFile>),
}

/// A file that is removed when nobody needs it any more.
#[derive(Debug)]
pub(crate) struct StoredFile {
    path: PathBuf,
    len: u64,
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.len,
        }
    }

    /// Up to `most` bytes from `offset`.
    pub(crate) fn read(&self, offset: u64, most: usize) -> std::io::Result<Bytes> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(most);
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start + left))
            }
            Self::File(file) => {
                let mut buffer = vec![0; left];
                let mut file = File::open(&file.path)?;
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut buffer)?;
                Ok(buffer.into())
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<u8> {
        self.read(0, usize::MAX).unwrap().to_vec()
    }
}

/// Content on its way in: hashed as it comes, and moved to a file when it gets large.
#[derive(Debug, Default)]
pub(crate) struct IncomingContent {
    buffer: Vec<u8>,
    file: Option<(File, PathBuf)>,
    hasher: Hasher,
}

impl IncomingContent {
    pub(crate) fn len(&self) -> u64 {
        self.hasher.bytes()
    }

    pub(crate) fn write(&mut self, state: &State, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        if let Some((file, _)) = &mut self.file {
            return file.write_all(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > IN_MEMORY {
            let path = state.new_path();
            let mut file = File::create_new(&path)?;
            file.write_all(&self.buffer)?;
            self.buffer = Vec::new();
            self.file = Some((file, path));
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> (Digest, Content) {
        let hasher = std::mem::take(&mut self.hasher);
        let len = hasher.bytes();
        let content = match self.file.take() {
            Some((_, path)) => Content::File(Arc::new(StoredFile { path, len })),
            None => Content::Memory(std::mem::take(&mut self.buffer).into()),
        };
        (hasher.finish(), content)
    }
}

impl Drop for IncomingContent {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.file {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A manifest or index as it came.
#[derive(Debug, Clone)]
pub(crate) struct StoredManifest {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// What one repository holds.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    pub(crate) blobs: HashSet<Digest>,
    /// In the order of their digests, so that listings are the same each time.
    pub(crate) manifests: BTreeMap<Digest, StoredManifest>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

impl Repository {
    pub(crate) fn digest_of(&self, reference: &str) -> Option<Digest> {
        self.tags.get(reference).copied().or_else(|| reference.parse().ok())
    }

    pub(crate) fn manifest(&self, reference: &str) -> Option<(Digest, StoredManifest)> {
        let digest = self.digest_of(reference)?;
        Some((digest, self.manifests.get(&digest)?.clone()))
    }
}

/// The digests that a manifest or index names.
fn named(bytes: &[u8]) -> Vec<Digest> {
    let json = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let lists = ["layers", "manifests"].into_iter().filter_map(|field| json[field].as_array());
    let descriptors = lists.flatten().chain(json.get("config"));
    descriptors.filter_map(|descriptor| descriptor["digest"].as_str()?.parse().ok()).collect()
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    pub(crate) blobs: HashMap<Digest, Content>,
    pub(crate) repositories: BTreeMap<String, Repository>,
    /// Running uploads by their id.
    pub(crate) uploads: HashMap<String, Arc<tokio::sync::Mutex<Option<IncomingContent>>>>,
}

impl Stock {
    pub(crate) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// The blob, where the repository has it.
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<Content> {
        self.repositories.get(repository)?.blobs.get(digest)?;
        self.blobs.get(digest).cloned()
    }

    /// Removes manifests that neither a tag nor another manifest names, and blobs that no manifest does.
    pub(crate) fn collect_garbage(&mut self) {
        for repository in self.repositories.values_mut() {
            let mut marked = HashSet::new();
            let mut wanted = repository.tags.values().copied().collect::<Vec<_>>();
            while let Some(digest) = wanted.pop() {
                if marked.insert(digest)
                    && let Some(manifest) = repository.manifests.get(&digest)
                {
                    wanted.extend(named(&manifest.bytes));
                }
            }
            repository.manifests.retain(|digest, _| marked.contains(digest));
            repository.blobs.retain(|digest| marked.contains(digest));
        }
        let Self { blobs, repositories, .. } = self;
        let wanted = repositories.values().flat_map(|repository| &repository.blobs).collect::<HashSet<_>>();
        blobs.retain(|digest, _| wanted.contains(digest));
    }

    pub(crate) fn add_blob(&mut self, repository: &str, digest: Digest, content: Content) {
        self.blobs.entry(digest).or_insert(content);
        self.repository(repository).blobs.insert(digest);
    }
}

/// What the registry holds, and the folder for the large part of it.
#[derive(Debug)]
pub(crate) struct State {
    folder: tempfile::TempDir,
    next: AtomicU64,
    stock: Mutex<Stock>,
}

impl State {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("krs-registry-").tempdir().unwrap();
        Self { folder, next: AtomicU64::new(0), stock: Mutex::default() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn new_path(&self) -> PathBuf {
        self.folder().join(format!("content-{}", self.number()))
    }

    /// Content that is already complete here.
    pub(crate) fn store(&self, bytes: &[u8]) -> (Digest, Content) {
        let mut incoming = IncomingContent::default();
        incoming.write(self, bytes).unwrap();
        incoming.finish()
    }
}
