// SPDX-License-Identifier: Apache-2.0
//! Which redirects are followed, and which credentials the client sends there. Pure functions over addresses. (T-57)

use std::net::IpAddr;

use http::{Method, StatusCode};
use url::{Host, Url};

use crate::oci::reference::RegistryHost;
use crate::registry::failure::redirect_refusal::RedirectRefusal;
use crate::registry::host::{HTTP_PORT, authority, is_listed};

/// Longest chain of redirects that is followed.
pub(in crate::registry) const MAX_HOPS: usize = 5;

/// Longest address that is followed, in bytes. Pre-signed ones have a few thousand.
const MAX_URL: usize = 16 << 10;

/// How near an address is to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// A public address, or a name.
    Far,
    /// A private network.
    Private,
    /// This machine, or a link-local address (cloud metadata services).
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
pub(in crate::registry) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

fn resolve(from: &Url, location: &str) -> Result<Url, RedirectRefusal> {
    if location.len() > MAX_URL {
        return Err(RedirectRefusal::TooLong);
    }
    let target = from.join(location).map_err(|_| RedirectRefusal::NotAnAddress)?;
    if !matches!(target.scheme(), "http" | "https") || target.host().is_none() {
        return Err(RedirectRefusal::Scheme);
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err(RedirectRefusal::Credentials);
    }
    Ok(target)
}

/// The rules for redirects of a registry.
#[derive(Debug, Clone, Copy)]
pub(in crate::registry) struct Bounds<'a> {
    /// The registry (or token server) of the first request.
    pub(in crate::registry) home: &'a Url,
    /// Hosts that may be reached by http from https.
    pub(in crate::registry) unencrypted: &'a [RegistryHost],
    /// Whether content is to be sent to the target.
    pub(in crate::registry) upload: bool,
}

impl Bounds<'_> {
    fn check(&self, from: &Url, target: Url) -> Result<Url, RedirectRefusal> {
        let upload = self.upload;
        if from.scheme() == "https" && target.scheme() == "http" {
            let host = authority(&target);
            let named = host.parse().is_ok_and(|name| is_listed(self.unencrypted, &name, HTTP_PORT));
            if !named {
                return Err(RedirectRefusal::Unencrypted { host, upload });
            }
        }
        let inward = if upload {
            target.host() != self.home.host() && nearness(&target) > nearness(self.home)
        } else {
            nearness(&target) == Nearness::Local && nearness(self.home) != Nearness::Local
        };
        if inward { Err(RedirectRefusal::Inward { upload }) } else { Ok(target) }
    }

    /// The target of a redirect of the request to `from`.
    pub(in crate::registry) fn next_hop(&self, from: &Url, location: &str) -> Result<Url, RedirectRefusal> {
        self.check(from, resolve(from, location)?)
    }

    /// Where an upload continues: the address is relative, of the registry itself, or of another server.
    ///
    /// A registry behind a proxy often names itself without its port, or with `http` if the proxy terminates TLS. Such an
    /// address of the registry's own host is corrected.
    pub(in crate::registry) fn upload_target(
        &self,
        from: &Url,
        location: &str,
    ) -> Result<Url, RedirectRefusal> {
        let (home, mut target) = (self.home, resolve(from, location)?);
        let renamed = target.scheme() != home.scheme() || target.path().starts_with("/v2/");
        if target.host() == home.host()
            && renamed
            && (target.port().is_none() || target.port() == home.port())
        {
            let set = target.set_scheme(home.scheme()).and_then(|()| target.set_port(home.port()));
            set.map_err(|()| RedirectRefusal::NotAnAddress)?;
        }
        self.check(home, target)
    }
}

/// Whether a redirect with this status is followed for a request that sends content. After the others a client may send a
/// GET to the target (RFC 9110, section 15.4), which does not push the blob.
pub(in crate::registry) fn check_method_kept(
    method: &Method,
    status: StatusCode,
    from: &Url,
    location: &str,
) -> Result<(), RedirectRefusal> {
    let sends = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if !sends || matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return Ok(());
    }
    let target = from.join(location).ok();
    let to_https = target.is_some_and(|target| {
        from.scheme() == "http" && target.scheme() == "https" && target.host() == from.host()
    });
    Err(RedirectRefusal::MethodLost { method: method.clone(), status, to_https })
}

/// Whether a token server that the registry at `home` names may be requested for a token;
/// `with_credentials`: whether it may receive the registry's credentials. `also` lists further hosts that may.
///
/// Credentials may go to the registry's own host and to hosts of the same domain (`auth.docker.io` for
/// `registry-1.docker.io`, `gitlab.example.com` for `registry.example.com`).
pub(in crate::registry) fn check_realm(
    home: &Url,
    realm: &Url,
    with_credentials: bool,
    also: &[RegistryHost],
) -> Result<(), &'static str> {
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err("the URL contains credentials");
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
    let named = realm.host_str().is_some_and(|host| also.iter().any(|other| other.host() == host));
    if !with_credentials || same_host || both_local || named || same_domain(home, realm) {
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
        let allowed = ["minio.example:9000".parse().unwrap()];
        let bounds = Bounds { home: &home, unencrypted: &allowed, upload: false };
        let hop = |to: &str| bounds.next_hop(&url("https://registry.example/v2/a/blobs/x"), to);
        assert_eq!(
            hop("https://cdn.example.net/x?sig=1").unwrap().as_str(),
            "https://cdn.example.net/x?sig=1"
        );
        assert_eq!(hop("/other").unwrap().as_str(), "https://registry.example/other");
        assert!(hop("https://10.0.0.7:9000/bucket/x").is_ok(), "object storage in the same network");
        assert!(hop("http://minio.example:9000/bucket/x").is_ok(), "a host that was named");
        for bad in [
            "http://cdn.example.net/x",
            "http://minio.example/x",
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
        let bounds = Bounds { home: &home, unencrypted: &[], upload: true };
        let to = |location: &str| bounds.upload_target(&url("https://registry.example/v2/a/"), location);
        assert_eq!(to("/v2/a/u?_state=1").unwrap().as_str(), "https://registry.example/v2/a/u?_state=1");
        assert_eq!(to("http://registry.example/v2/u").unwrap().as_str(), "https://registry.example/v2/u");
        assert!(to("https://storage.example.net/u").is_ok());
        for bad in ["https://192.168.1.1/", "https://127.0.0.1:8080/u", "http://storage.example.net/u"] {
            assert!(to(bad).is_err(), "{bad}");
        }
        let near = url("http://127.0.0.1:5000/");
        let bounds = Bounds { home: &near, ..bounds };
        assert!(bounds.upload_target(&near, "http://127.0.0.1:6000/u").is_ok());
    }

    #[test]
    fn addresses_of_uploads_that_a_proxy_made_wrong_are_restored() {
        let to = |home: &str, location: &str| {
            let home = url(home);
            let bounds = Bounds { home: &home, unencrypted: &[], upload: true };
            bounds.upload_target(&home.join("/v2/a/blobs/uploads/").unwrap(), location).map(String::from)
        };
        for (home, location, restored) in [
            (
                "http://edge:5000",
                "http://edge/v2/a/blobs/uploads/1?s=2",
                "http://edge:5000/v2/a/blobs/uploads/1?s=2",
            ),
            ("https://edge:5000", "https://edge/v2/u", "https://edge:5000/v2/u"),
            ("https://edge:8443", "http://edge/v2/u", "https://edge:8443/v2/u"),
            ("https://edge:8443", "http://edge:8443/v2/u", "https://edge:8443/v2/u"),
            ("https://edge", "http://edge/v2/u", "https://edge/v2/u"),
            ("http://edge:5000", "//edge/v2/u", "http://edge:5000/v2/u"),
            // Not the registry's own address, so it is not corrected.
            ("http://edge:5000", "http://edge/storage/u", "http://edge/storage/u"),
            ("http://edge:5000", "http://edge:6000/v2/u", "http://edge:6000/v2/u"),
            ("https://edge:5000", "https://other/v2/u", "https://other/v2/u"),
        ] {
            assert_eq!(to(home, location).as_deref(), Ok(restored), "{home} {location}");
        }
        let registry = "edge".parse().unwrap();
        for location in ["http://registry:5000/v2/u", "http://127.0.0.1:5000/v2/u", "https://10.0.0.7/v2/u"] {
            let refusal = to("https://edge.example", location).unwrap_err();
            assert!(refusal.help(&registry).contains("X-Forwarded-Host"), "{location}: {refusal}");
        }
    }

    #[test]
    fn content_is_sent_on_by_307_and_308_only() {
        let from = url("http://edge/v2/a/blobs/uploads/");
        let keeps = |method: &Method, status: u16, to: &str| {
            check_method_kept(method, StatusCode::from_u16(status).unwrap(), &from, to)
        };
        for method in [Method::POST, Method::PUT, Method::PATCH] {
            assert!([307, 308].iter().all(|status| keeps(&method, *status, "/x").is_ok()));
            for status in [301, 302, 303] {
                let refusal = keeps(&method, status, "https://edge/x").unwrap_err();
                assert!(refusal.to_string().contains(method.as_str()), "{refusal}");
                assert!(refusal.help(&"edge".parse().unwrap()).contains("--plain-http edge"));
            }
        }
        assert!([301, 302, 303].iter().all(|status| keeps(&Method::GET, *status, "/x").is_ok()));
    }

    #[test]
    fn t57_credentials_go_to_the_registrys_own_domain_only() {
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
        assert!(check_realm(&home, &other, true, &["sso.example.org".parse().unwrap()]).is_ok());
    }
}
