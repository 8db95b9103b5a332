// SPDX-License-Identifier: Apache-2.0
//! Finds images in a daemon, and exports them into a temporary file.

use std::fs::File;
use std::io;

use camino::Utf8Path;
use tokio::io::AsyncWriteExt as _;

use super::client::{Request, Timeouts};
use super::error::DaemonError;
use super::holdings::{Holdings, Inspection, names_of};
use super::socket::Socket;
use crate::oci::reference::Reference;

/// Largest export, in bytes.
const MAX_EXPORT: u64 = 1 << 40;
/// Bytes that an export may have beside four times the size of its images: a tar has at least 1 KiB for each file.
const EXPORT_OVERHEAD: u64 = 1 << 30;
/// Most bytes of the names in one request: `http::Uri` takes less than 64 KiB.
const MAX_NAMES: usize = 60_000;

/// A daemon as a source of images.
#[derive(Debug)]
pub struct Daemon {
    location: String,
    socket: Socket,
    timeouts: Timeouts,
    overhead: u64,
}

impl Daemon {
    pub(in crate::local) fn new(socket: Socket) -> Self {
        let location =
            format!("docker-daemon:{}", crate::redact::printable(socket.path().as_str(), usize::MAX));
        Self { location, socket, timeouts: Timeouts::default(), overhead: EXPORT_OVERHEAD }
    }

    /// As a user names it, with its socket.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Shorter times and fewer bytes, for tests.
    #[cfg(all(test, unix))]
    pub(super) fn with_limits(mut self, timeouts: Timeouts, overhead: u64) -> Self {
        (self.timeouts, self.overhead) = (timeouts, overhead);
        self
    }

    /// What the daemon has of these images. It is asked for each by its digest, and if it does not know that, by its tag.
    ///
    /// # Errors
    /// [`DaemonError`]. An image that the daemon does not have is no error.
    pub async fn find<'a>(
        &self,
        references: impl IntoIterator<Item = &'a Reference>,
    ) -> Result<Holdings, DaemonError> {
        let mut holdings = Holdings::default();
        for reference in references {
            for name in names_of(reference) {
                let path = format!("/images/{name}/json");
                let request = Request { socket: &self.socket, path: &path, name: &name };
                if let Some(image) = request.json::<Inspection>(self.timeouts).await? {
                    holdings.add(reference, name, image);
                    break;
                }
            }
        }
        Ok(holdings)
    }

    /// Exports images into a file in `folder` that has no name, and is gone when it is closed. `on_progress` gets the
    /// number of bytes of each part that arrives. `None`: there is nothing to export.
    ///
    /// # Errors
    /// [`DaemonError`]. An export that ends too early is one if the daemon says its end; else it is a tar without its end.
    pub(in crate::local) async fn export(
        &self,
        holdings: &Holdings,
        folder: &Utf8Path,
        on_progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<File>, DaemonError> {
        if holdings.names.is_empty() {
            return Ok(None);
        }
        let query = holdings.names.iter().map(|name| format!("names={name}")).collect::<Vec<_>>().join("&");
        if query.len() > MAX_NAMES {
            return Err(DaemonError::TooMany { count: holdings.names.len() });
        }
        let size = holdings.total_size();
        let limit = size.saturating_mul(4).saturating_add(self.overhead).min(MAX_EXPORT);
        let write_error = |source: io::Error| DaemonError::Write { folder: folder.to_owned(), source };
        let path = format!("/images/get?{query}");
        let request = Request { socket: &self.socket, path: &path, name: "the export of images" };
        let mut archive = request.archive(self.timeouts).await?;
        let mut file = tokio::fs::File::from_std(tempfile::tempfile_in(folder).map_err(write_error)?);
        let mut written = 0_u64;
        while let Some(bytes) = archive.next().await? {
            written = written.saturating_add(bytes.len() as u64);
            if written > limit {
                return Err(DaemonError::TooLarge { socket: self.socket.path().to_owned(), limit, size });
            }
            file.write_all(&bytes).await.map_err(write_error)?;
            on_progress(bytes.len() as u64);
        }
        file.flush().await.map_err(write_error)?;
        Ok(Some(file.into_std().await))
    }
}
