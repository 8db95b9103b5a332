// SPDX-License-Identifier: Apache-2.0
//! Why the images of a daemon cannot be read.

use std::io;

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::error::{Classify, ErrorKind, io_kind};

/// What works with every daemon.
const EXPORT: &str = "docker save -o FILE IMAGE…, and --from docker-archive:FILE";

/// Why the images of a daemon cannot be read. `socket` is the path of its socket.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// `DOCKER_HOST` or a context names something else than a socket of this machine.
    #[error(
        "{origin} is `{address}`: krs reads images only from a daemon on this machine, by a socket (unix://PATH)"
    )]
    Host {
        /// The variable or the context.
        origin: String,
        /// The address, without credentials.
        address: String,
    },
    /// The context of Docker cannot be read.
    #[error("cannot find the daemon of the Docker context `{name}` ({source_name}): {detail}")]
    Context {
        /// The context.
        name: String,
        /// What names it.
        source_name: String,
        /// What failed.
        detail: String,
    },
    /// This system has no such sockets.
    #[error("krs cannot read the images of a Docker daemon on this operating system")]
    System,
    /// Nothing listens there, or this user may not connect.
    #[error("cannot connect to a Docker daemon at {socket}: {source}")]
    Connect {
        /// The socket.
        socket: Utf8PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The daemon did not answer, or the connection was lost.
    #[error("the Docker daemon at {socket} gave no complete response to {request}: {detail}")]
    Response {
        /// The socket.
        socket: Utf8PathBuf,
        /// What was requested.
        request: String,
        /// What happened.
        detail: String,
    },
    /// It answered with an error.
    #[error("the Docker daemon at {socket} refuses {request}: HTTP status {status}{detail}")]
    Refused {
        /// The socket.
        socket: Utf8PathBuf,
        /// What was requested.
        request: String,
        /// The HTTP status.
        status: u16,
        /// Its message with a leading `: `, or nothing.
        detail: String,
    },
    /// The export is much larger than the images are said to be.
    #[error("the Docker daemon at {socket} sends more than {limit} bytes for images of {size} bytes")]
    TooLarge {
        /// The socket.
        socket: Utf8PathBuf,
        /// Bytes that are accepted.
        limit: u64,
        /// Bytes of the images, by what the daemon says.
        size: u64,
    },
    /// The temporary file cannot be written.
    #[error("cannot write the images of the Docker daemon to a temporary file in {folder}: {source}")]
    Write {
        /// Where temporary files are.
        folder: Utf8PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// More images than fit into one request.
    #[error("the sets name {count} images of the Docker daemon, with more text than fits into one request")]
    TooMany {
        /// How many.
        count: usize,
    },
}

impl Classify for DaemonError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Host { .. } | Self::Context { .. } | Self::System | Self::TooMany { .. } => {
                ErrorKind::Usage
            }
            Self::Connect { .. } | Self::Response { .. } => ErrorKind::Unavailable,
            Self::Refused { status, .. } if *status >= 500 => ErrorKind::Unavailable,
            Self::Refused { .. } => ErrorKind::Other,
            Self::TooLarge { .. } => ErrorKind::Corrupt,
            Self::Write { source, .. } => io_kind(source),
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Context { .. } => {
                "`docker context ls` lists the contexts. Or name the socket: --from docker-daemon:/PATH/OF/SOCKET"
                    .to_owned()
            }
            Self::Host { .. } | Self::System => {
                format!("export the images on the machine of the daemon: {EXPORT}")
            }
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("run krs as a user who may use the daemon, or export the images: {EXPORT}")
            }
            Self::Connect { .. } => format!(
                "start the daemon, or name its socket: --from docker-daemon:/run/user/1000/docker.sock (`docker context inspect` and `podman info` show it). If it runs elsewhere: {EXPORT}"
            ),
            Self::Write { .. } => {
                "name a folder with enough space for the images, uncompressed, in the variable TMPDIR"
                    .to_owned()
            }
            Self::TooMany { .. } => format!("export the images yourself: {EXPORT}"),
            Self::Response { .. } | Self::Refused { .. } | Self::TooLarge { .. } => {
                format!("the log of the daemon says more. Without the API: {EXPORT}")
            }
        })
    }
}
