// SPDX-License-Identifier: Apache-2.0
//! Where the runner finds its files, and how long it waits. Tests have other folders and less patience.

use std::time::Duration;

use camino::Utf8PathBuf;
use krs_core::registry::RetryPolicy;

use crate::model::task::path;

/// Longest time for connecting to a registry: enough for the attempts of Linux at 0, 1, 3 and 7 s.
const CONNECT: Duration = Duration::from_secs(10);
/// How long skopeo may do nothing: a registry hashes and moves a large blob when it has all of it.
const STALL: Duration = Duration::from_secs(900);
/// After this time without anything read or written, it is checked whether the network is blocked.
const IDLE: Duration = Duration::from_secs(60);
/// Where the runner finds its files, and how patient it is.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The destination's credentials; need not exist.
    pub destination: Utf8PathBuf,
    /// The destination's CA certificates; need not exist.
    pub destination_ca: Utf8PathBuf,
    /// The source registry's credentials; need not exist.
    pub source: Utf8PathBuf,
    /// Folder with the file `token`.
    pub token: Utf8PathBuf,
    /// For what is prepared for skopeo.
    pub work: Utf8PathBuf,
    /// For layers that are made of patches.
    pub scratch: Utf8PathBuf,
    /// Where the report goes.
    pub report: Utf8PathBuf,
    /// The program `skopeo`.
    pub skopeo: Utf8PathBuf,
    /// Longest time for connecting to a registry.
    pub connect: Duration,
    /// skopeo is ended when it does nothing for this time.
    pub stall: Duration,
    /// How long skopeo may do nothing before both registries are asked whether they can still be reached, again and again.
    pub idle: Duration,
    /// What is retried, and how often.
    pub retry: RetryPolicy,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            destination: path::DESTINATION.into(),
            destination_ca: path::DESTINATION_CA.into(),
            source: path::SOURCE.into(),
            token: path::TOKEN.into(),
            work: path::WORK.into(),
            scratch: path::SCRATCH.into(),
            report: path::TERMINATION_MESSAGE.into(),
            skopeo: "skopeo".into(),
            connect: CONNECT,
            stall: STALL,
            idle: IDLE,
            retry: RetryPolicy::default(),
        }
    }
}
