// SPDX-License-Identifier: Apache-2.0
//! Names of hosts: default ports, and the names of Docker Hub. Uses no layer of the registry client.

use url::Url;

use crate::oci::reference::RegistryHost;

/// The port of TLS.
pub(in crate::registry) const HTTPS_PORT: u16 = 443;
/// The port of HTTP without TLS.
pub(in crate::registry) const HTTP_PORT: u16 = 80;

/// A name without `default_port`: 443 with TLS, 80 without. `HOST` and `HOST:443` are one registry, however a
/// reference, a flag or a folder writes it.
pub(in crate::registry) fn without_default_port(host: &RegistryHost, default_port: u16) -> &str {
    let name = host.as_str();
    name.strip_suffix(&format!(":{default_port}")).unwrap_or(name)
}

/// Whether `host` is one of `list`, with or without `default_port`.
pub(in crate::registry) fn is_listed(list: &[RegistryHost], host: &RegistryHost, default_port: u16) -> bool {
    let name = without_default_port(host, default_port);
    list.iter().any(|listed| without_default_port(listed, default_port) == name)
}

/// The host that serves the API of a registry: for Docker Hub its name differs from the registry's.
pub(in crate::registry) fn hub_api_host(registry: &RegistryHost) -> &str {
    match registry.as_str() {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// The registry whose API a host of Docker Hub serves; `None` for any other host.
pub(in crate::registry) fn hub_registry_for(host: &RegistryHost) -> Option<RegistryHost> {
    (host.as_str() == "registry-1.docker.io").then(|| "docker.io".parse().ok()).flatten()
}

/// `host` or `host:port` of a URL, as registries are named.
pub(in crate::registry) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a URL points to this machine.
pub(in crate::registry) fn is_loopback(url: &Url) -> bool {
    authority(url).parse::<RegistryHost>().is_ok_and(|host| host.is_loopback())
}
