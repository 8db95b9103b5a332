// SPDX-License-Identifier: Apache-2.0
//! What is renewed while the importer runs: its Lease, and the certificate of the embedded registry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use krs_core::error::chain;
use tokio::sync::watch;

use super::error::RunError;
use crate::adapters::lease::{self, Leases};
use crate::app::registry::Certificate;
use crate::app::tls::{self, ServerIdentity};
use crate::model::config::Config;

/// How long to wait before the Lease is asked for again.
pub(super) const LEASE_RETRY: Duration = Duration::from_secs(2);

/// How often the Secret with the certificate of the embedded registry is read.
const RENEWAL: Duration = Duration::from_secs(6 * 3600);
/// How often the certificate is compared with the clock, which somebody may have set meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(60);
/// Least time between two attempts to renew a certificate that is due.
const RENEWAL_RETRY: Duration = Duration::from_secs(600);

/// Renews the Lease. Ends once another process has it.
pub(super) async fn renew_lease(leases: &Leases) -> RunError {
    let mut wait = leases.times().renew;
    loop {
        tokio::time::sleep(wait).await;
        wait = match leases.acquire().await {
            Ok(lease::Attempt::Held) => leases.times().renew,
            Ok(lease::Attempt::HeldBy(other)) => return RunError::Superseded(other),
            Ok(lease::Attempt::Contended) => LEASE_RETRY,
            Err(error) => {
                tracing::warn!(error = chain(&error), "the Lease of the importer cannot be renewed, retried");
                LEASE_RETRY
            }
        };
    }
}

/// Shows new certificates in time. Never ends.
pub(super) async fn renew_certificate(
    client: kube::Client,
    config: Arc<Config>,
    shown: Certificate,
    mut identity: ServerIdentity,
    ca: watch::Sender<String>,
) {
    let mut read = Instant::now();
    loop {
        tokio::time::sleep(CLOCK_CHECK).await;
        let due = || identity.is_due(&config.registry.host, jiff::Timestamp::now());
        if read.elapsed() < RENEWAL && (read.elapsed() < RENEWAL_RETRY || !due()) {
            continue;
        }
        read = Instant::now();
        let now = match tls::identity(&client, &config.namespace, &config.registry.host).await {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(error = chain(&error), "the certificate cannot be renewed, retried");
                continue;
            }
        };
        if now.certificate == identity.certificate {
            continue;
        }
        match shown.replace(&now) {
            Ok(()) => {
                tracing::info!("the embedded registry serves a new certificate");
                ca.send_replace(now.ca.clone());
                identity = now;
            }
            Err(error) => tracing::warn!(error = chain(&error), "the new certificate cannot be used"),
        }
    }
}
