// SPDX-License-Identifier: Apache-2.0
//! Images that are in no registry: OCI image layouts as folders or tars, archives of `docker save`, exports of containerd,
//! and what a Docker daemon has.
//!
//! A tar is indexed and read in place, never unpacked: its entries are names for bytes, and no name of an archive becomes a
//! path of the file system.
//!
//! `limits`, `location`, `daemon` ← `error` ← `tar_index` ← `store` ← `listing` ← `layout`, `docker_archive` ← `source`.

mod daemon;
mod docker_archive;
mod error;
mod layout;
mod limits;
mod listing;
mod location;
mod source;
mod store;
mod tar_index;
#[cfg(test)]
mod tests;

pub use daemon::{Daemon, DaemonError, DockerEnvironment, Holdings};
pub use error::{ArchiveError, FileError, LocalError};
pub use location::{Location, ParseLocationError};
pub use source::{LocalSource, Referrer};
pub use store::Content;
