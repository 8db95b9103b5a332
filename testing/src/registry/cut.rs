// SPDX-License-Identifier: Apache-2.0
//! Connections that break after a number of bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that carries `left` more bytes, read and written.
#[derive(Debug)]
pub(crate) struct BreakingStream<S> {
    inner: S,
    left: u64,
}

impl<S> BreakingStream<S> {
    pub(crate) const fn new(inner: S, left: u64) -> Self {
        Self { inner, left }
    }

    fn room(&self, wanted: usize) -> io::Result<usize> {
        match usize::try_from(self.left).unwrap_or(usize::MAX) {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            left => Ok(left.min(wanted)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BreakingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = self.room(buf.remaining())?;
        let mut part = buf.take(room);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        let read = part.filled().len();
        // Initialised by the read above, through `part`.
        let bytes = part.filled().to_vec();
        buf.put_slice(&bytes);
        self.left -= read as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BreakingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.room(buf.len())?;
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, &buf[..room]))?;
        self.left -= written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
