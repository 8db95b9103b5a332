// SPDX-License-Identifier: Apache-2.0
//! A blob as the body of a request: read in pieces and hashed. A damaged blob is never sent completely.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::oci::digest::{ContentMismatch, Digest, Hasher, check};
use crate::registry::content::blob::io::BlobSource;
use crate::registry::content::blob::relay::Relay;
use crate::registry::failure::error::{RegistryError, SourceError};
use crate::registry::limits::counters::Counters;
use crate::registry::limits::rate_limiter::RateLimiter;

/// Bytes that are read at once; two such pieces are in memory for each upload.
const PIECE: usize = 256 << 10;

/// What was read of the source so far, in all attempts: every byte is hashed once, in order.
#[derive(Debug, Default)]
pub(in crate::registry) struct SourceHash {
    pub(in crate::registry) hasher: Hasher,
    pub(in crate::registry) error: Option<RegistryError>,
}

/// Where the pieces of a body come from.
pub(in crate::registry) enum Feed {
    /// Read here, one piece ahead, on a thread that may block.
    Source { source: Arc<dyn BlobSource>, reading: Option<JoinHandle<Result<Bytes, SourceError>>> },
    /// A download that runs at the same time. If the body ends without an error, it goes back to `kept` for the next part.
    Relay { relay: Option<Relay>, what: String, kept: Arc<Mutex<Option<Relay>>> },
}

/// The bytes `next..end` of a blob as the body of a request.
pub(in crate::registry) struct UploadBody {
    pub(in crate::registry) feed: Feed,
    pub(in crate::registry) digest: Digest,
    pub(in crate::registry) size: u64,
    pub(in crate::registry) hashing: Arc<Mutex<SourceHash>>,
    pub(in crate::registry) next: u64,
    pub(in crate::registry) end: u64,
    pub(in crate::registry) left: u64,
    /// A piece that must not be sent yet.
    pub(in crate::registry) held: Option<(Pin<Box<Sleep>>, Bytes)>,
    pub(in crate::registry) rate_limiter: Arc<RateLimiter>,
    pub(in crate::registry) sent: Arc<AtomicU64>,
    pub(in crate::registry) counters: Arc<Counters>,
}

/// Hashes a piece. The last piece of a blob is only handed out when the entire blob matches its digest, so that a registry
/// never gets all of a damaged blob.
fn hash_piece(
    hashing: &Mutex<SourceHash>,
    digest: Digest,
    size: u64,
    start: u64,
    piece: &[u8],
) -> Result<(), ContentMismatch> {
    let mut hashing = hashing.lock();
    let known = usize::try_from(hashing.hasher.bytes().saturating_sub(start)).unwrap_or(usize::MAX);
    if let Some(new) = piece.get(known..) {
        hashing.hasher.update(new);
    }
    if start + piece.len() as u64 == size {
        check(hashing.hasher.clone(), digest, size)?;
    }
    Ok(())
}

/// Reads and hashes one piece.
fn read_piece(
    source: &dyn BlobSource,
    digest: Digest,
    size: u64,
    hashing: &Mutex<SourceHash>,
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
    hash_piece(hashing, digest, size, start, &piece)?;
    Ok(piece.into())
}

impl UploadBody {
    /// Size of the next piece.
    fn room(&self) -> usize {
        let max = self.rate_limiter.piece(PIECE);
        usize::try_from(self.end - self.next).unwrap_or(max).min(max)
    }

    fn read_ahead(&mut self) {
        let length = self.room();
        let Feed::Source { source, reading } = &mut self.feed else { return };
        if length == 0 || reading.is_some() {
            return;
        }
        let piece = (self.next, length);
        self.next += length as u64;
        let (source, hashing) = (Arc::clone(source), Arc::clone(&self.hashing));
        let (digest, size) = (self.digest, self.size);
        let read = move || read_piece(&*source, digest, size, &hashing, piece);
        *reading = Some(tokio::task::spawn_blocking(read));
    }

    /// The next piece; `None` is the end.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, RegistryError>>> {
        self.read_ahead();
        let (digest, size, room) = (self.digest, self.size, self.room());
        let of_source = |source| RegistryError::Source { digest, source };
        match &mut self.feed {
            Feed::Source { reading, .. } => {
                let Some(running) = reading.as_mut() else { return Poll::Ready(None) };
                let outcome = ready!(Pin::new(running).poll(context));
                *reading = None;
                self.read_ahead();
                Poll::Ready(Some(match outcome {
                    Ok(read) => read.map_err(of_source),
                    Err(error) => Err(of_source(SourceError::Read(io::Error::other(error)))),
                }))
            }
            Feed::Relay { relay, what, .. } => {
                let Some(relay) = relay.as_mut().filter(|_| room > 0) else { return Poll::Ready(None) };
                let start = relay.position();
                let Some(came) = ready!(relay.poll_next(context, room)) else {
                    let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Poll::Ready(Some(Err(of_source(SourceError::Read(ended)))));
                };
                let piece = came.and_then(|piece| {
                    let hashed = hash_piece(&self.hashing, digest, size, start, &piece);
                    let wrong = |source| RegistryError::Content { what: what.clone(), source };
                    hashed.map_err(wrong).map(|()| piece)
                });
                self.next += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                Poll::Ready(Some(piece))
            }
        }
    }

    fn leaves(&mut self, piece: Bytes) -> Option<Result<Frame<Bytes>, io::Error>> {
        let length = piece.len() as u64;
        self.left = self.left.saturating_sub(length);
        self.sent.fetch_add(length, Ordering::Relaxed);
        self.counters.add_sent(length);
        if self.left == 0
            && let Feed::Relay { relay, kept, .. } = &mut self.feed
        {
            *kept.lock() = relay.take();
        }
        Some(Ok(Frame::data(piece)))
    }
}

impl Body for UploadBody {
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
        let error = match ready!(self.poll_piece(context)) {
            None => return Poll::Ready(None),
            Some(Ok(piece)) => {
                let wait = self.rate_limiter.take(piece.len() as u64);
                if wait.is_zero() {
                    return Poll::Ready(self.leaves(piece));
                }
                self.held = Some((Box::pin(tokio::time::sleep(wait)), piece));
                return self.poll_frame(context);
            }
            Some(Err(error)) => error,
        };
        self.hashing.lock().error = Some(error);
        Poll::Ready(Some(Err(io::Error::other("the source failed"))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
