// SPDX-License-Identifier: Apache-2.0
//! Clients of registries, kept from one reconcile to the next, so that connections and tokens are used again.
//!
//! A client belongs to one namespace, one registry, and one version of the credentials and CA certificates that a set of
//! this namespace names: once one of them changes, another client is made and the old one is dropped.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::oci::reference::RegistryHost;
use krs_core::registry::{Client, RegistryError};

use super::edge::{MAX_PAUSES, RETRIES};
use crate::model::clock::is_over;

/// Most clients that are kept; the one that was used longest ago is dropped.
const MAX_CLIENTS: usize = 256;
/// How long a client is kept that nobody uses. Its idle connections are closed before.
const IDLE: Duration = Duration::from_secs(900);
/// How long a client is used at most: another one reads the system's CA certificates again.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// How a registry is reached, credentials aside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Connection {
    pub(super) registry: RegistryHost,
    pub(super) plain_http: bool,
    pub(super) insecure: bool,
    /// By the proxy that the site names for source registries.
    pub(super) proxied: bool,
    /// Namespace, name and version of the object with the CA certificates.
    pub(super) ca_certs: Option<(String, Object)>,
}

/// A Secret or ConfigMap (`kind/name`) and its version.
pub(super) type Object = (String, String);

/// What a client was made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    pub(super) namespace: String,
    pub(super) connection: Connection,
    pub(super) credentials: Option<Object>,
}

impl ClientKey {
    /// The host, and whether it is spoken to without TLS.
    pub(super) fn host(&self) -> (RegistryHost, bool) {
        (self.connection.registry.clone(), self.connection.plain_http)
    }

    /// Whether `other` reaches the same registry with another version of the same credentials and CA certificates.
    fn supersedes(&self, other: &Self) -> bool {
        let name = |object: Option<&Object>| object.map(|(name, _)| name.clone());
        let ca_certs = |key: &Self| name(key.connection.ca_certs.as_ref().map(|(_, object)| object));
        self != other
            && self.namespace == other.namespace
            && self.connection.registry == other.connection.registry
            && name(self.credentials.as_ref()) == name(other.credentials.as_ref())
            && ca_certs(self) == ca_certs(other)
            && self.connection.plain_http == other.connection.plain_http
            && self.connection.insecure == other.connection.insecure
            && self.connection.proxied == other.connection.proxied
    }
}

#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<ClientKey, Entry>>);

struct Entry {
    client: Client,
    made: Timestamp,
    used: Timestamp,
}

impl Entry {
    /// Whether it may continue: a client has a number of retries and a time for pauses for all of its requests.
    fn is_usable(&self, now: Timestamp) -> bool {
        let done = self.client.statistics();
        !is_over(self.made, MAX_AGE, now) && done.retries_left > RETRIES / 2 && done.paused < MAX_PAUSES / 2
    }
}

impl Clients {
    /// The client for `key`; `make` makes one where there is none.
    pub(super) fn get(
        &self,
        key: &ClientKey,
        now: Timestamp,
        make: impl FnOnce() -> Result<Client, RegistryError>,
    ) -> Result<Client, RegistryError> {
        let mut clients = self.0.lock();
        if let Some(entry) = clients.get_mut(key).filter(|entry| entry.is_usable(now)) {
            entry.used = now;
            return Ok(entry.client.clone());
        }
        let client = make()?;
        clients.retain(|other, _| !key.supersedes(other));
        if clients.len() >= MAX_CLIENTS {
            let oldest = clients.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            oldest.map(|key| clients.remove(&key));
        }
        clients.insert(key.clone(), Entry { client: client.clone(), made: now, used: now });
        Ok(client)
    }

    /// Drops the clients that nobody used for some time.
    pub(super) fn drop_idle(&self, now: Timestamp) {
        self.0.lock().retain(|_, entry| !is_over(entry.used, IDLE, now));
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use krs_core::registry::ClientOptions;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    pub(in crate::app::reconcile) fn key(namespace: &str, secret: &str, version: &str) -> ClientKey {
        ClientKey {
            namespace: namespace.to_owned(),
            connection: Connection {
                registry: "edge.local:5000".parse().unwrap(),
                plain_http: false,
                insecure: false,
                proxied: false,
                ca_certs: None,
            },
            credentials: Some((format!("secret/{secret}"), version.to_owned())),
        }
    }

    /// How many clients had to be made for these keys.
    fn made(clients: &Clients, keys: &[ClientKey], now: Timestamp) -> usize {
        let mut made = 0;
        for key in keys {
            let make = || {
                made += 1;
                Client::new(ClientOptions::default())
            };
            clients.get(key, now, make).unwrap();
        }
        made
    }

    #[test]
    fn a_client_is_used_again_until_its_credentials_change_and_never_by_another_namespace() {
        let clients = Clients::default();
        let (old, new) = (key("shop", "edge", "1"), key("shop", "edge", "2"));
        assert_eq!(made(&clients, &[old.clone(), old.clone(), old.clone()], at(0)), 1);
        assert_eq!(made(&clients, &[key("bank", "edge", "1"), key("shop", "other", "1")], at(0)), 2);
        assert_eq!(made(&clients, std::slice::from_ref(&new), at(1)), 1);
        assert!(!clients.0.lock().contains_key(&old), "the client with the old password");
        assert_eq!(clients.0.lock().len(), 3);
        assert_eq!(made(&clients, std::slice::from_ref(&new), at(3601)), 1, "it has reached its age");
    }

    #[test]
    fn idle_clients_are_dropped_and_their_number_is_bounded() {
        let clients = Clients::default();
        let keys = (0..300).map(|n| key(&format!("n{n}"), "edge", "1")).collect::<Vec<_>>();
        made(&clients, &keys, at(0));
        assert_eq!(clients.0.lock().len(), MAX_CLIENTS);
        made(&clients, &keys[299..], at(600));
        clients.drop_idle(at(900));
        assert_eq!(clients.0.lock().keys().collect::<Vec<_>>(), [&keys[299]]);
    }
}
