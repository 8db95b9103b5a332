// SPDX-License-Identifier: Apache-2.0
//! Images of a Docker daemon on this machine, by its socket (Docker Engine API, "Image"), which Podman has, too. The daemon
//! writes them as `docker save` does into a temporary file, which is read as any other archive.
//!
//! `error` ← `context` ← `socket` ← `holdings`, `client` ← `export`.

mod client;
mod context;
mod error;
mod export;
mod holdings;
mod socket;
#[cfg(all(test, unix))]
mod tests;

pub use context::DockerEnvironment;
pub use error::DaemonError;
pub use export::Daemon;
pub use holdings::Holdings;
pub(super) use socket::Socket;
