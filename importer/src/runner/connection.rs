// SPDX-License-Identifier: Apache-2.0
//! Whether a registry can be reached, before it is needed: skopeo has no time limit for connecting, and a network
//! that drops packets says nothing by itself. (T-212)

use std::time::Instant;

use super::failure::Failure;
use super::side::Side;

/// Fails where no connection can be made within the limit. Any other failure is for the requests that need an answer.
pub(super) async fn check(side: &Side<'_>) -> Result<(), Failure> {
    let (role, registry, limit) = (side.which.name(), &side.registry, side.connect_limit());
    tracing::info!(role, %registry, "connecting");
    let client = side.probe()?;
    let began = Instant::now();
    // Connecting has its own limit, with DNS and TLS; that a registry takes long to answer is no failure to connect.
    let Ok(answer) = tokio::time::timeout(limit.saturating_mul(2), client.ping(registry)).await else {
        tracing::warn!(role, %registry, "connected, and no answer to GET /v2/ yet");
        return Ok(());
    };
    match answer {
        Err(error) if error.is_connection_timeout() => {
            let failure = Failure::no_connection(side.which, registry, side.port());
            // Nothing can be copied without the registry.
            return Err(Failure { for_all: true, ..failure });
        }
        Err(error) => tracing::debug!(role, %registry, "{error}"),
        Ok(()) => {}
    }
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(role, %registry, milliseconds, "connected");
    Ok(())
}
