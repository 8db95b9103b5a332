// SPDX-License-Identifier: Apache-2.0
//! Why the importer does not run.

use std::time::Duration;

use thiserror::Error;

use crate::app::start::StepError;
use crate::app::tls;
use crate::model::config::ConfigError;

/// How long everything may take to come to an end.
pub(super) const STOPPING: Duration = Duration::from_secs(25);

/// Why the importer does not run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum RunError {
    /// The configuration is not acceptable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A list of registries in the configuration is not acceptable.
    #[error("{field}: {detail}")]
    Registries {
        field: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// There is no way to the API server.
    #[error("the API server cannot be reached: {0}")]
    Kube(#[from] kube::Error),
    /// The surroundings do not say where the API server is.
    #[error("nothing says where the API server is: {0}")]
    JobContext(#[from] kube::config::InferConfigError),
    /// The certificate of the embedded registry cannot be made or kept.
    #[error("the certificate of the embedded registry cannot be made: {0}")]
    Tls(#[from] tls::TlsError),
    /// The embedded registry cannot be started.
    #[error(transparent)]
    Serve(#[from] krs_core::sync::serve::ServeError),
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    /// A part of the importer ended by itself.
    #[error("{0} ended by itself")]
    Ended(&'static str),
    /// A part of the importer broke off.
    #[error("a task of the importer failed: {0}")]
    Panicked(tokio::task::JoinError),
    /// The Lease cannot be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Another process is this importer by now.
    #[error(
        "{0} holds the Lease of the importer by now: this process was cut off from the API server for too long"
    )]
    Superseded(String),
    /// Signals of the system cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// Something was still under way when the time to stop was over.
    #[error("not everything stopped within {} s", STOPPING.as_secs())]
    Late,
}

/// Why the importer has no Lease.
#[derive(Debug, Error)]
#[error("the Lease of the importer cannot be read or written: {0}{help}", help = help(.0))]
pub struct LeaseError(#[source] pub(super) kube::Error);

fn help(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            "; install the chart's RBAC (`helm upgrade`): that of 0.1 has no Leases"
        }
        _ => "",
    }
}

impl StepError for LeaseError {
    fn is_temporary(&self) -> bool {
        true
    }
}
