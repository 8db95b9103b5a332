// SPDX-License-Identifier: Apache-2.0
//! A blob as the body of a request: read piece by piece, hashed, and never sent whole when it is damaged.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::BlobSource;
use super::client::Counters;
use super::error::SourceError;
use super::pace::Pace;
use super::transport::lock;
use crate::digest::{ContentMismatch, Digest, Hasher, check};

/// Bytes that are read at once; two such pieces are in memory for each upload.
const PIECE: usize = 256 << 10;

/// What was read of the source so far, over all tries: every byte is hashed once, in order.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    pub(super) hasher: Hasher,
    pub(super) error: Option<SourceError>,
}

/// The bytes `next..end` of a blob as the body of a request; reads one piece ahead on a thread that may block.
pub(super) struct Outgoing {
    pub(super) source: Arc<dyn BlobSource>,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) hashing: Arc<Mutex<Hashing>>,
    pub(super) next: u64,
    pub(super) end: u64,
    pub(super) left: u64,
    pub(super) reading: Option<JoinHandle<Result<Bytes, SourceError>>>,
    /// A piece that may not leave yet.
    pub(super) held: Option<(Pin<Box<Sleep>>, Bytes)>,
    pub(super) pace: Arc<Pace>,
    pub(super) sent: Arc<AtomicU64>,
    pub(super) counters: Arc<Counters>,
}

/// Reads and hashes one piece. The last piece of a blob is only handed out when the whole is what it should be,
/// so that a registry never gets all of a damaged blob.
fn read_piece(
    source: &dyn BlobSource,
    digest: Digest,
    size: u64,
    hashing: &Mutex<Hashing>,
    (start, length): (u64, usize),
) -> Result<Bytes, SourceError> {
    let mut piece = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read_at(start + filled as u64, rest) {
            Ok(0) => {
                let got = start + filled as u64;
                return Err(ContentMismatch::Size { digest, expected: size, got }.into());
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SourceError::Read(error)),
        }
    }
    let mut hashing = lock(hashing);
    let known = usize::try_from(hashing.hasher.bytes().saturating_sub(start)).unwrap_or(usize::MAX);
    if let Some(new) = piece.get(known..) {
        hashing.hasher.update(new);
    }
    if start + length as u64 == size {
        check(hashing.hasher.clone(), digest, size)?;
    }
    Ok(piece.into())
}

impl Outgoing {
    fn read_ahead(&mut self) {
        if self.next == self.end || self.reading.is_some() {
            return;
        }
        let most = self.pace.piece(PIECE);
        let length = usize::try_from(self.end - self.next).unwrap_or(most).min(most);
        let piece = (self.next, length);
        self.next += length as u64;
        let (source, hashing) = (Arc::clone(&self.source), Arc::clone(&self.hashing));
        let (digest, size) = (self.digest, self.size);
        let read = move || read_piece(&*source, digest, size, &hashing, piece);
        self.reading = Some(tokio::task::spawn_blocking(read));
    }

    fn leaves(&mut self, piece: Bytes) -> Option<Result<Frame<Bytes>, io::Error>> {
        let length = piece.len() as u64;
        self.left = self.left.saturating_sub(length);
        self.sent.fetch_add(length, Ordering::Relaxed);
        self.counters.sent.fetch_add(length, Ordering::Relaxed);
        Some(Ok(Frame::data(piece)))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some((sleep, _)) = self.held.as_mut() {
            ready!(sleep.as_mut().poll(context));
            let piece = self.held.take().map(|(_, piece)| piece);
            return Poll::Ready(piece.and_then(|piece| self.leaves(piece)));
        }
        self.read_ahead();
        let Some(reading) = self.reading.as_mut() else { return Poll::Ready(None) };
        let outcome = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let error = match outcome {
            Ok(Ok(piece)) => {
                self.read_ahead();
                let wait = self.pace.take(piece.len() as u64);
                if wait.is_zero() {
                    return Poll::Ready(self.leaves(piece));
                }
                self.held = Some((Box::pin(tokio::time::sleep(wait)), piece));
                return self.poll_frame(context);
            }
            Ok(Err(error)) => error,
            Err(error) => SourceError::Read(io::Error::other(error)),
        };
        lock(&self.hashing).error = Some(error);
        Poll::Ready(Some(Err(io::Error::other("the source failed"))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
