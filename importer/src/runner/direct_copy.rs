// SPDX-License-Identifier: Apache-2.0
//! Copies the blobs of one manifest without skopeo, after that has failed: either the registries say why in a way that
//! a person can use, or the manifest is an artifact that skopeo does not copy, and gets across all the same.

use std::io;
use std::sync::Arc;

use krs_core::crd::reason;
use krs_core::error::ErrorKind;
use krs_core::oci::{Descriptor, MAX_MANIFEST};
use krs_core::registry::{BlobContent, BlobPush, BlobSink, BlobSource, RegistryError, Repository};

use super::failure::Failure;
use super::role::EndpointRole;

/// Largest blob that is kept in memory meanwhile; larger ones are read twice.
const MAX_BLOB: u64 = 32 << 20;

/// A blob in memory; nothing of it is kept where it is too large.
struct Buffer {
    bytes: Vec<u8>,
    keep: bool,
}

impl BlobSink for Buffer {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.keep {
            self.bytes.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
            self.bytes.extend_from_slice(bytes);
        }
        Ok(())
    }
}

struct BufferedContent(Vec<u8>);

impl BlobSource for BufferedContent {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }
}

/// Copies `blobs`, which skopeo did not. Every blob is read and hashed; the first that the source does not give, or the edge
/// does not take, ends it, and the registry's own words say why.
pub(super) async fn copy(
    source: &Repository,
    role: EndpointRole,
    edge: &Repository,
    blobs: &[&Descriptor],
) -> Result<(), Failure> {
    let at_edge = |error| Failure::registry(EndpointRole::Destination, &error);
    for blob in blobs {
        if edge.has_blob_for_push(&blob.digest, blob.size).await.map_err(at_edge)? {
            continue;
        }
        // Before the source is read: whether the edge takes blobs at all.
        edge.mount_blob(&blob.digest, None).await.map_err(at_edge)?;
        let buffer = read(source, role, blob, MAX_BLOB).await?;
        if buffer.keep {
            let held = Arc::new(BufferedContent(buffer.bytes));
            edge.push_blob(&blob.digest, blob.size, held, None).await.map_err(at_edge)?;
        } else {
            relay(source, role, edge, blob).await?;
        }
    }
    Ok(())
}

/// Reads a blob; its content is kept where it has at most `limit` bytes.
async fn read(
    source: &Repository,
    role: EndpointRole,
    blob: &Descriptor,
    limit: u64,
) -> Result<Buffer, Failure> {
    let mut buffer = Buffer { bytes: Vec::new(), keep: blob.size <= limit };
    let read = source.blob(&blob.digest, blob.size, &mut buffer).await;
    read.map_err(|error| Failure::registry(role, &error))?;
    Ok(buffer)
}

/// The content of a blob that is small enough for a manifest.
pub(super) async fn fetch(
    source: &Repository,
    role: EndpointRole,
    blob: &Descriptor,
) -> Result<Vec<u8>, Failure> {
    if blob.size > MAX_MANIFEST {
        let text = format!("{} is too large for a manifest", blob.digest);
        return Err(Failure::new(reason::COPY_FAILED, ErrorKind::Other, &text));
    }
    read(source, role, blob, MAX_MANIFEST).await.map(|buffer| buffer.bytes)
}

/// Sends a blob whose content is here.
pub(super) async fn send(edge: &Repository, blob: &Descriptor, bytes: Vec<u8>) -> Result<(), Failure> {
    let pushed = edge.push_blob(&blob.digest, blob.size, Arc::new(BufferedContent(bytes)), None).await;
    pushed.map(drop).map_err(|error| Failure::registry(EndpointRole::Destination, &error))
}

/// Sends a blob of any size as it is read from the source.
pub(super) async fn stream(
    source: &Repository,
    role: EndpointRole,
    edge: &Repository,
    blob: &Descriptor,
) -> Result<(), Failure> {
    let held = source.has_blob(&blob.digest, blob.size).await;
    if !held.map_err(|error| Failure::registry(role, &error))? {
        let text = format!(
            "{}: layer {} lies outside of it (`urls`), from where only krs bundle downloads: make a bundle of the image, or push it with all of its layers",
            role.name(),
            blob.digest
        );
        return Err(Failure::new(reason::IMAGE_NOT_FOUND, ErrorKind::Incomplete, &text));
    }
    relay(source, role, edge, blob).await
}

/// Sends a blob as it is read from the source, without keeping it.
async fn relay(
    source: &Repository,
    role: EndpointRole,
    edge: &Repository,
    blob: &Descriptor,
) -> Result<(), Failure> {
    let content = BlobContent::Elsewhere(Box::new(source.clone()));
    let (digest, size) = (blob.digest, blob.size);
    let push = BlobPush { digest, size, content, mount_from: None, transfers: None };
    let failed = |error: RegistryError| {
        use RegistryError as E;
        // Both sides fail in one request. What is missing or damaged was read; the edge refuses what it is sent.
        let is_source = match &error {
            E::NotFound { .. } | E::Content { .. } => true,
            error => error.registry() == Some(source.registry()) && source.registry() != edge.registry(),
        };
        Failure::registry(if is_source { role } else { EndpointRole::Destination }, &error)
    };
    edge.send_blob(&push).await.map(drop).map_err(failed)
}
