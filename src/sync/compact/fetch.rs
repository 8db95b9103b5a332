// SPDX-License-Identifier: Apache-2.0
//! Layers as files in the work folder, each under its digest.

use std::fs::File;
use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{self, StreamExt as _};

use super::choose::Layer;
use super::error::CompactError;
use super::work;
use crate::bundle::{Bundle, sync_folder};
use crate::local::LocalSource;
use crate::oci::digest::{Digest, Hasher, VerifyReader};
use crate::progress::{Activity, Progress};
use crate::registry::{Client, RegistryError};
use crate::sync::file_sink::FileSink;
use crate::sync::source::{ReadError, copy_blob};

/// Where layers are fetched from and written to.
pub(super) struct Fetcher<'a> {
    pub(super) client: &'a Client,
    pub(super) folder: &'a Utf8Path,
    /// Bundles at hand, from which nothing has to be fetched.
    pub(super) bundles: &'a [Arc<Bundle>],
    /// Local sources at hand.
    pub(super) sources: &'a [Arc<LocalSource>],
    pub(super) jobs: usize,
    pub(super) progress: &'a Arc<dyn Progress>,
}

/// Whether a file that an earlier run left has the content of a layer. One that does not is fetched again.
fn is_layer(path: &Utf8Path, digest: &Digest, size: u64) -> bool {
    let Ok(file) = File::open(path) else { return false };
    file.metadata().is_ok_and(|found| found.is_file() && found.len() == size)
        && io::copy(&mut VerifyReader::new(file, *digest, size), &mut io::sink()).is_ok()
}

impl Fetcher<'_> {
    /// Fetches the layers that an earlier run did not leave in the folder. Returns why each of the others is not there.
    pub(super) async fn fetch(&self, layers: &[&Layer]) -> Result<Vec<(Digest, String)>, CompactError> {
        let mut wanted = Vec::new();
        for layer in layers {
            let file = work::file(self.folder, &layer.digest);
            let (digest, size) = (layer.digest, layer.size);
            let checked = tokio::task::spawn_blocking(move || is_layer(&file, &digest, size)).await?;
            if !checked {
                wanted.push(*layer);
            }
        }
        self.progress.begin(Activity::Pull, wanted.iter().map(|layer| layer.size).sum());
        let tasks = wanted.into_iter().map(|layer| async move {
            self.progress.blob_begin(Activity::Pull, &layer.digest, layer.size, &layer.name);
            let result = self.fetch_one(layer).await;
            self.progress.blob_end(&layer.digest);
            (layer.digest, result)
        });
        let results = stream::iter(tasks).buffer_unordered(self.jobs.max(1)).collect::<Vec<_>>().await;
        self.progress.end(Activity::Pull);
        let mut absent = Vec::new();
        for (digest, result) in results {
            match result {
                Ok(()) => {}
                Err(FetchError::Folder(source)) => {
                    return Err(CompactError::Work { folder: self.folder.to_owned(), source });
                }
                Err(FetchError::Absent(reason)) => absent.push((digest, reason)),
            }
        }
        Ok(absent)
    }

    async fn fetch_one(&self, layer: &Layer) -> Result<(), FetchError> {
        let target = work::file(self.folder, &layer.digest);
        let part = Utf8PathBuf::from(format!("{target}.part"));
        let file = File::create(&part).map_err(FetchError::Folder)?;
        let mut sink = FileSink { file, progress: Some(Arc::clone(self.progress)) };
        self.write(layer, &mut sink).await?;
        sink.file.sync_all().map_err(FetchError::Folder)?;
        std::fs::rename(&part, &target).map_err(FetchError::Folder)?;
        sync_folder(self.folder).map_err(FetchError::Folder)
    }

    async fn write(&self, layer: &Layer, sink: &mut FileSink) -> Result<(), FetchError> {
        for bundle in self.bundles {
            let Some(blob) = bundle.blob(&layer.digest).filter(|blob| blob.size == layer.size) else {
                continue;
            };
            sink.clear().map_err(FetchError::Folder)?;
            if io::copy(&mut bundle.reader(blob), &mut sink.file).is_ok() {
                return Ok(());
            }
        }
        let mut reason = "no repository is known to have it".to_owned();
        for source in self.sources {
            // What cannot be read there may be elsewhere.
            if !matches!(source.content(&layer.digest), Ok(Some(_))) {
                continue;
            }
            match copy_blob(source, &layer.digest, layer.size, Hasher::new(), sink) {
                Ok(()) => return Ok(()),
                Err(ReadError::Registry(RegistryError::Sink { source, .. })) => {
                    return Err(FetchError::Folder(source));
                }
                Err(error) => reason = error.to_string(),
            }
        }
        for origin in &layer.origins {
            let repository = self.client.repository(&origin.registry, &origin.repository);
            match repository.blob(&layer.digest, layer.size, sink).await {
                Ok(()) => return Ok(()),
                Err(RegistryError::Sink { source, .. }) => {
                    return Err(FetchError::Folder(source));
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(FetchError::Absent(reason))
    }
}

enum FetchError {
    Folder(io::Error),
    Absent(String),
}
