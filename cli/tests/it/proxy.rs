// SPDX-License-Identifier: Apache-2.0
//! Registries behind a proxy, as the usual variables name it.

use krs_testing::proxy::{Proxy, ProxyRequest};
use krs_testing::registry::{Options, UNRESOLVED};

use crate::harness::{Outcome, Site, app};

/// A site whose source registry is only reached through a proxy, under a name that nobody resolves.
fn behind_a_proxy(tls: bool) -> (Site, Proxy) {
    let mut site = Site::with(Options { tls, ..Options::default() });
    site.add(&app("web", 2), "team/web", "1.0");
    site.checkout.write("sites/berlin.yaml", site.set().replace(site.source.host().as_str(), UNRESOLVED));
    site.checkout.commit("Behind a proxy");
    let proxy = Proxy::start(site.source.host().to_string().parse().unwrap());
    (site, proxy)
}

fn bundle(site: &Site, variables: &[(&str, &str)], more: &[&str]) -> Outcome {
    let arguments = ["bundle", site.checkout.path().as_str(), "-o", "a.krs.tar", "--retries", "0"];
    site.desk.krs_env(variables, &[&arguments, more].concat())
}

#[test]
fn t310_a_variable_that_names_no_proxy_is_not_ignored() {
    let (site, _proxy) = behind_a_proxy(true);
    for value in ["u:hunter2@::nonsense", "socks5://127.0.0.1:1080"] {
        for name in ["HTTPS_PROXY", "ALL_PROXY"] {
            let message = format!("{name} is not the address of a proxy that krs can use");
            let outcome = bundle(&site, &[(name, value)], &[]).failed(2, &[&message, "http://HOST:PORT"]);
            assert!(!outcome.err.contains("hunter2"), "{outcome}");
        }
    }
}

#[test]
fn https_goes_through_a_tunnel_with_the_proxys_credentials_and_no_proxy_goes_around_it() {
    let (site, proxy) = behind_a_proxy(true);
    let url = format!("http://courier:hunter2@{}", proxy.address());
    let ca = site.source.ca_file().unwrap().to_string();
    bundle(&site, &[("HTTPS_PROXY", &url)], &["--ca-file", &ca]).ok();
    let tunnel =
        ProxyRequest { method: "CONNECT".into(), target: format!("{UNRESOLVED}:443"), had_credentials: true };
    let requests = proxy.requests();
    assert!(!requests.is_empty() && requests.iter().all(|one| *one == tunnel), "{requests:?}");

    let around = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "other.example,registry.invalid")];
    let outcome = bundle(&site, &around, &["--ca-file", &ca]).failed(8, &[UNRESOLVED]);
    assert!(!outcome.err.contains("hunter2"), "{outcome}");
    assert_eq!(proxy.requests().len(), requests.len());
}

#[test]
fn a_host_is_the_same_with_the_port_that_goes_without_saying() {
    let (site, proxy) = behind_a_proxy(true);
    let url = format!("http://{}", proxy.address());
    let named = format!("{UNRESOLVED}:443");
    bundle(&site, &[("HTTPS_PROXY", &url)], &["--insecure-registry", &named]).ok();
}

#[test]
fn http_goes_through_the_proxy_too_and_loopback_never_does() {
    let (site, proxy) = behind_a_proxy(false);
    let url = format!("http://{}", proxy.address());
    bundle(&site, &[("HTTP_PROXY", &url)], &["--plain-http", &format!("{UNRESOLVED}:80")]).ok();
    let requests = proxy.requests();
    let first = format!("http://{UNRESOLVED}/v2/team/web/");
    assert!(
        !requests.is_empty() && requests.iter().all(|one| one.target.starts_with(&first)),
        "{requests:?}"
    );

    let mut near = Site::new();
    near.add(&app("web", 2), "team/web", "1.0");
    near.commit();
    bundle(&near, &[("HTTP_PROXY", &url), ("HTTPS_PROXY", &url), ("ALL_PROXY", &url)], &[]).ok();
    assert_eq!(proxy.requests().len(), requests.len());
}

#[test]
fn a_proxy_that_is_not_there_is_reported_to_be_the_trouble() {
    let (site, _) = behind_a_proxy(true);
    let nobody = krs_testing::process::free_address();
    let url = format!("http://{nobody}");
    let outcome = bundle(&site, &[("HTTPS_PROXY", &url)], &[]).failed(8, &[UNRESOLVED, "NO_PROXY"]);
    assert!(!site.desk.path("a.krs.tar").exists(), "{outcome}");
}

#[test]
fn t117_a_proxy_that_wants_credentials_is_named() {
    let (site, _) = behind_a_proxy(true);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut head);
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\
                           content-length: 0\r\nconnection: close\r\n\r\n";
            let _ = std::io::Write::write_all(&mut stream, refusal.as_bytes());
        }
    });
    bundle(&site, &[("HTTPS_PROXY", &url)], &[])
        .failed(8, &["the proxy", "407", "http://USER:PASSWORD@PROXY"]);
    let plain = ["--plain-http", UNRESOLVED];
    bundle(&site, &[("HTTP_PROXY", &url)], &plain).failed(1, &["407", "http://USER:PASSWORD@PROXY"]);
}
