// SPDX-License-Identifier: Apache-2.0
//! Where a registry may send the client, and what the client takes there. Pure functions over addresses. (T-57)

use std::net::IpAddr;

use url::{Host, Url};

/// Longest chain of redirects that is followed.
pub(super) const MAX_HOPS: usize = 5;

/// Longest address that is followed, in bytes. Pre-signed ones have a few thousand.
const MAX_URL: usize = 16 << 10;

/// How near an address is to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// Anywhere, or a name of which that is not known.
    Far,
    /// A private network.
    Private,
    /// This machine, or what only its own link reaches (cloud metadata services).
    Local,
}

fn nearness(url: &Url) -> Nearness {
    let address = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let local = name == "localhost" || name.ends_with(".localhost");
            return if local { Nearness::Local } else { Nearness::Far };
        }
        None => return Nearness::Local,
    };
    let local = match address {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
    };
    let private = match address {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    match (local, private) {
        (true, _) => Nearness::Local,
        (false, true) => Nearness::Private,
        (false, false) => Nearness::Far,
    }
}

/// Whether both addresses are of one server: scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

fn resolve(from: &Url, location: &str) -> Result<Url, &'static str> {
    if location.len() > MAX_URL {
        return Err("the address is too long");
    }
    let target = from.join(location).map_err(|_| "it is not an address")?;
    if !matches!(target.scheme(), "http" | "https") || target.host().is_none() {
        return Err("only http and https are followed");
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err("the address carries a login");
    }
    Ok(target)
}

/// Where a redirect leads: `from` is what was requested, `home` the registry (or token server) that was asked
/// first.
pub(super) fn next_hop(home: &Url, from: &Url, location: &str) -> Result<Url, &'static str> {
    let target = resolve(from, location)?;
    if from.scheme() == "https" && target.scheme() == "http" {
        return Err("it leads from https to http");
    }
    if nearness(&target) == Nearness::Local && nearness(home) != Nearness::Local {
        return Err("it leads from a registry elsewhere to this machine or its link");
    }
    Ok(target)
}

/// Where an upload goes on: the address is relative, of the registry itself, or of another server.
pub(super) fn upload_target(home: &Url, from: &Url, location: &str) -> Result<Url, &'static str> {
    let mut target = resolve(from, location)?;
    // A registry behind a proxy that ends TLS often says http about itself.
    let renamed = target.scheme() != home.scheme() && target.host() == home.host();
    if renamed && (target.port().is_none() || target.port() == home.port()) {
        let set = target.set_scheme(home.scheme()).and_then(|()| target.set_port(home.port()));
        set.map_err(|()| "it is not an address")?;
    }
    if home.scheme() == "https" && target.scheme() == "http" {
        return Err("it leads from https to http");
    }
    if target.host() != home.host() && nearness(&target) > nearness(home) {
        return Err("it leads from a registry elsewhere into a private network or to this machine");
    }
    Ok(target)
}

/// Whether a token server that the registry at `home` names may be asked for a token; with `login`, whether it
/// may be sent the registry's credentials. `also` lists further hosts that may.
///
/// Credentials may go to the registry's own host and to hosts of the same domain (`auth.docker.io` for
/// `registry-1.docker.io`, `gitlab.example.com` for `registry.example.com`).
pub(super) fn check_realm(home: &Url, realm: &Url, login: bool, also: &[&str]) -> Result<(), &'static str> {
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err("the address carries a login");
    }
    let same_host = realm.host().is_some() && realm.host() == home.host();
    let both_local = nearness(realm) == Nearness::Local && nearness(home) == Nearness::Local;
    match realm.scheme() {
        "https" => {}
        "http" if home.scheme() == "http" && (same_host || both_local) => {}
        "http" => return Err("it is not encrypted (http)"),
        _ => return Err("only http and https are used"),
    }
    if nearness(realm) == Nearness::Local && !both_local {
        return Err("it is this machine or its link, and the registry is not");
    }
    let named = realm.host_str().is_some_and(|host| also.contains(&host));
    if !login || same_host || both_local || named || same_domain(home, realm) {
        return Ok(());
    }
    Err("it is not a host of the registry's own domain")
}

/// Whether two names belong to one domain, without a list of public suffixes: the last two parts are the same,
/// or the last three below suffixes such as `co.uk`.
fn same_domain(a: &Url, b: &Url) -> bool {
    let (Some(Host::Domain(a)), Some(Host::Domain(b))) = (a.host(), b.host()) else { return false };
    let domain = |name: &str| {
        let parts = name.trim_end_matches('.').rsplit('.').map(str::to_owned).collect::<Vec<_>>();
        let second = parts.get(1)?;
        let shared = parts.first()?.len() == 2
            && (second.len() <= 3 || matches!(second.as_str(), "gouv" | "info" | "name" | "school"));
        parts.get(..if shared { 3 } else { 2 }).map(<[String]>::to_vec)
    };
    matches!((domain(a), domain(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn t57_redirects_stay_on_the_web_and_never_lose_encryption() {
        let home = url("https://registry.example/v2/");
        let hop = |to: &str| next_hop(&home, &url("https://registry.example/v2/a/blobs/x"), to);
        assert_eq!(
            hop("https://cdn.example.net/x?sig=1").unwrap().as_str(),
            "https://cdn.example.net/x?sig=1"
        );
        assert_eq!(hop("/other").unwrap().as_str(), "https://registry.example/other");
        assert!(hop("https://10.0.0.7:9000/bucket/x").is_ok(), "object storage in the same network");
        for bad in [
            "http://cdn.example.net/x",
            "file:///etc/passwd",
            "https://me:pw@cdn.example.net/",
            "https://127.0.0.1/x",
            "https://localhost/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::ffff:127.0.0.1]/x",
            "https://[fe80::1]/x",
            "https://",
        ] {
            assert!(hop(bad).is_err(), "{bad}");
        }
        assert!(hop(&format!("/{}", "x".repeat(20_000))).is_err());
    }

    #[test]
    fn t57_uploads_do_not_leave_for_private_networks() {
        let home = url("https://registry.example/");
        let to = |location: &str| upload_target(&home, &url("https://registry.example/v2/a/"), location);
        assert_eq!(to("/v2/a/u?_state=1").unwrap().as_str(), "https://registry.example/v2/a/u?_state=1");
        assert_eq!(to("http://registry.example/v2/u").unwrap().as_str(), "https://registry.example/v2/u");
        assert!(to("https://storage.example.net/u").is_ok());
        for bad in ["https://192.168.1.1/", "https://127.0.0.1:8080/u", "http://storage.example.net/u"] {
            assert!(to(bad).is_err(), "{bad}");
        }
        let near = url("http://127.0.0.1:5000/");
        assert!(upload_target(&near, &near, "http://127.0.0.1:6000/u").is_ok());
    }

    #[test]
    fn t57_logins_go_to_the_registrys_own_domain_only() {
        let may = |registry: &str, realm: &str| check_realm(&url(registry), &url(realm), true, &[]).is_ok();
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://registry.example.com", "https://gitlab.example.com/jwt/auth"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://harbor.example.co.uk:8443", "https://harbor.example.co.uk/service/token"),
            ("https://10.1.1.1:5000", "https://10.1.1.1:5001/auth"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/auth"),
            ("http://edge:5000", "http://edge:5001/auth"),
        ] {
            assert!(may(registry, realm), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("https://registry.example.com", "https://evil.example.net/token"),
            ("https://registry.example.com", "http://registry.example.com/token"),
            ("https://registry.example.co.uk", "https://evil.co.uk/token"),
            ("https://10.1.1.1:5000", "https://10.1.1.2/auth"),
            ("https://registry.example.com", "https://127.0.0.1/auth"),
            ("http://registry.example.com", "http://auth.example.com/auth"),
            ("https://edge:5000", "https://other:5000/auth"),
            ("https://a.example.com", "https://u:p@a.example.com/auth"),
            ("https://example.com", "https://example.com.evil.net/auth"),
        ] {
            assert!(!may(registry, realm), "{registry} {realm}");
        }
        let (home, other) = (url("https://a.example.com"), url("https://sso.example.org/t"));
        assert!(
            check_realm(&home, &other, false, &[]).is_ok(),
            "without a login any https host may be asked"
        );
        assert!(check_realm(&home, &other, true, &["sso.example.org"]).is_ok());
    }
}
