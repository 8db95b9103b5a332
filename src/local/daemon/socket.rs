// SPDX-License-Identifier: Apache-2.0
//! Which socket is that of the daemon. Pure.

use camino::{Utf8Path, Utf8PathBuf};

use super::context::DockerHost;
use super::error::DaemonError;

/// Where Docker listens if nothing else is said.
const DEFAULT: &str = "/var/run/docker.sock";

/// The socket of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::local) struct Socket(Utf8PathBuf);

impl Socket {
    /// The socket at this path.
    pub(in crate::local) fn at(path: &Utf8Path) -> Self {
        Self(path.to_owned())
    }

    /// The socket at an address, else the usual one.
    pub(in crate::local) fn of_host(host: Option<&DockerHost>) -> Result<Self, DaemonError> {
        let Some(host) = host.filter(|host| !host.address.is_empty()) else {
            return Ok(Self(DEFAULT.into()));
        };
        match host.address.strip_prefix("unix://") {
            Some("") => Ok(Self(DEFAULT.into())),
            Some(path) if path.starts_with('/') => Ok(Self(path.into())),
            _ => {
                let address = crate::redact::printable(&crate::redact::address(&host.address), 120);
                Err(DaemonError::Host { origin: host.origin.clone(), address })
            }
        }
    }

    pub(super) fn path(&self) -> &Utf8Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classify as _, ErrorKind};

    fn of_host(host: Option<&str>) -> Result<Socket, DaemonError> {
        let host = host.map(|host| DockerHost { address: host.to_owned(), origin: "DOCKER_HOST".to_owned() });
        Socket::of_host(host.as_ref())
    }

    #[test]
    fn only_a_socket_of_this_machine_is_accepted() {
        let of = |host: Option<&str>| of_host(host).map(|socket| socket.path().to_string()).ok();
        for (host, path) in [
            (None, DEFAULT),
            (Some(""), DEFAULT),
            (Some("unix://"), DEFAULT),
            (Some("unix:///run/user/7/docker.sock"), "/run/user/7/docker.sock"),
        ] {
            assert_eq!(of(host).as_deref(), Some(path), "{host:?}");
        }
        for other in [
            "tcp://10.0.0.1:2376",
            "ssh://me@host",
            "npipe:////./pipe/docker_engine",
            "/run/docker.sock",
            "unix://run/docker.sock",
        ] {
            let error = of_host(Some(other)).err();
            assert!(error.is_some_and(|error| error.kind() == ErrorKind::Usage), "{other}");
        }
    }

    #[test]
    fn credentials_in_docker_host_are_not_shown() {
        let error = of_host(Some("ssh://me:SECRET@host")).err().map(|error| error.to_string());
        assert_eq!(error.map(|error| error.contains("SECRET")), Some(false));
    }
}
