// SPDX-License-Identifier: Apache-2.0
//! Whether a registry can be reached, before it is needed: skopeo has no time limit for connecting, and a network
//! that drops packets says nothing by itself. (T-212)

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::endpoint::RegistryEndpoint;
use super::failure::Failure;
use super::role::EndpointRole;

/// Fails where no connection can be made within the limit. Any other failure is for the requests that need an answer.
pub(super) async fn check(side: &RegistryEndpoint<'_>) -> Result<(), Failure> {
    let (role, registry, limit) = (side.role.name(), &side.registry, side.connect_limit());
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
            let failure = Failure::no_connection(side.role, registry, side.port());
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

/// The failure of a connection to `remote` that nothing was acknowledged on for `silent`, while new connections to both
/// sides can be made. (T-265)
pub(super) async fn blocked(
    sides: [&RegistryEndpoint<'_>; 2],
    remote: SocketAddr,
    silent: Duration,
) -> Failure {
    let mut found = Vec::with_capacity(sides.len());
    for side in sides {
        found.push((side, addresses(side).await));
    }
    let at = of_address(found.iter().map(|(side, addresses)| (side.role, addresses)), remote);
    let sides = found.into_iter().map(|(side, _)| side).filter(|side| at.is_none_or(|at| at == side.role));
    let names = sides.map(|side| format!("{} {}", side.role.name(), side.registry)).collect::<Vec<_>>();
    Failure::blocked(&names.join(" or "), remote, silent)
}

/// The addresses of a side; none where its name cannot be resolved in time.
async fn addresses(side: &RegistryEndpoint<'_>) -> BTreeSet<SocketAddr> {
    let lookup = tokio::net::lookup_host((side.registry.host().to_owned(), side.port()));
    let found = tokio::time::timeout(side.connect_limit(), lookup).await;
    found.ok().and_then(Result::ok).into_iter().flatten().collect()
}

/// Which side an address is one of. None where both or neither have it: one host for both, a proxy, or storage that a
/// registry redirects to.
fn of_address<'a>(
    sides: impl Iterator<Item = (EndpointRole, &'a BTreeSet<SocketAddr>)>,
    remote: SocketAddr,
) -> Option<EndpointRole> {
    let mut having = sides.filter(|(_, addresses)| addresses.contains(&remote)).map(|(role, _)| role);
    having.next().filter(|_| having.next().is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t265_the_side_of_a_connection_is_the_one_that_has_its_address_and_the_other_has_not() {
        let addresses = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect::<BTreeSet<_>>();
        let (source, edge) = (addresses(&["10.0.0.1:443", "10.0.0.2:443"]), addresses(&["10.0.0.2:443"]));
        let side = |remote: &str| {
            let sides = [(EndpointRole::Source, &source), (EndpointRole::Destination, &edge)];
            of_address(sides.into_iter(), remote.parse().unwrap())
        };
        assert_eq!(side("10.0.0.1:443"), Some(EndpointRole::Source));
        assert_eq!(side("10.0.0.2:443"), None, "both have it");
        assert_eq!(side("10.0.0.1:3128"), None, "a proxy");
    }
}
