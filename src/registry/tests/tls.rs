// SPDX-License-Identifier: Apache-2.0
//! Which certificates are trusted, and what is said about those that are not. (T-56)

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use super::*;
use crate::error::{Classify, ErrorKind};
use crate::oci::reference::RegistryHost;
use crate::registry::host::{HTTPS_PORT, is_listed};
use crate::registry::transport::tls::read_folders;

/// A server with a certificate for `name` from a CA of its own, and the CA in a file.
async fn server(name: &str) -> (Server, TempDir, Utf8PathBuf) {
    serving(name, |_| Reply::ok(b"x")).await
}

pub(super) async fn serving(
    name: &str,
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Server, TempDir, Utf8PathBuf) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "site CA");
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let server = Server::start_with(Some(Arc::new(config).into()), handler).await;
    let folder = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(folder.path()).unwrap().join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    (server, folder, file)
}

#[tokio::test]
async fn t56_a_certificate_of_an_unknown_ca_is_always_refused() {
    let (server, _folder, ca) = server("127.0.0.1").await;
    let error = fetch(&server.repository(), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("a CA that is not trusted"), "{error}");
    let help = error.help().unwrap();
    assert!(help.contains("--ca-file") && !help.contains("--plain-http"), "it speaks TLS: {help}");
    assert_eq!(server.requests().len(), 0, "nothing was sent, with or without TLS");

    let trusting = ClientOptions { ca_files: vec![ca], ..options() };
    assert_eq!(fetch(&server.repository_with(trusting), b"x").await.unwrap(), b"x");
    let insecure = ClientOptions { insecure: vec![server.host.clone()], ..options() };
    assert_eq!(fetch(&server.repository_with(insecure), b"x").await.unwrap(), b"x");
}

#[tokio::test]
async fn t56_certs_d_adds_trust_for_one_host_only() {
    let (server, folder, ca) = server("127.0.0.1").await;
    let certs = Utf8Path::from_path(folder.path()).unwrap().join("certs.d");
    let write_ca = |host: &str| {
        std::fs::create_dir_all(certs.join(host)).unwrap();
        std::fs::copy(&ca, certs.join(host).join("site.crt")).unwrap();
    };
    let trusting = || ClientOptions { certs_dirs: vec![certs.clone()], ..options() };
    write_ca("127.0.0.1:1");
    let error = fetch(&server.repository_with(trusting()), b"x").await.unwrap_err().to_string();
    assert!(error.contains("trusted are those of the system)"), "{error}");
    write_ca(server.host.as_str());
    assert_eq!(fetch(&server.repository_with(trusting()), b"x").await.unwrap(), b"x");
    std::fs::write(certs.join(server.host.as_str()).join("broken.crt"), "x").unwrap();
    let error = fetch(&server.repository_with(trusting()), b"x").await.unwrap_err();
    assert!(error.to_string().contains("broken.crt"), "{error}");
}

#[tokio::test]
async fn t56_a_certificate_for_another_name_is_refused() {
    let (server, _folder, ca) = server("other.example").await;
    let trusting = ClientOptions { ca_files: vec![ca], ..options() };
    let error = fetch(&server.repository_with(trusting), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("not for this name, but for other.example"), "{error}");
    assert!(error.help().unwrap().contains("write a name that the certificate is for"));
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_host_and_the_same_host_with_the_usual_port_are_one() {
    let hosts =
        |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<RegistryHost>>();
    let listed = |list: &str, host: &str| is_listed(&hosts(&[list]), &host.parse().unwrap(), HTTPS_PORT);
    for (one, other) in [("a.example:443", "a.example"), ("[::1]:443", "[::1]"), ("a.example", "a.example")] {
        assert!(listed(one, other) && listed(other, one), "{one} {other}");
    }
    for (one, other) in
        [("a.example:80", "a.example"), ("a.example:8443", "a.example"), ("[::1]:4430", "[::1]")]
    {
        assert!(!listed(one, other) && !listed(other, one), "{one} {other}");
    }
    let folder = tempfile::tempdir().unwrap();
    let certs = vec![Utf8Path::from_path(folder.path()).unwrap().to_owned()];
    let found = |host: &str| read_folders(&certs, &host.parse().unwrap()).unwrap().is_some();
    std::fs::create_dir(certs[0].join("a.example:443")).unwrap();
    std::fs::create_dir(certs[0].join("b.example")).unwrap();
    for host in ["a.example", "a.example:443", "b.example", "b.example:443"] {
        assert!(found(host), "{host}");
    }
    for host in ["a.example:5000", "b.example:80", "c.example"] {
        assert!(!found(host), "{host}");
    }
}

#[tokio::test]
async fn t57_storage_without_tls_needs_a_flag_that_names_it() {
    let storage = Server::start(|_| Reply::ok(b"x")).await;
    let away = storage.url("/bucket/x");
    let (server, _folder, ca) = serving("127.0.0.1", move |_| Reply::new(307).with("location", &away)).await;
    let with = |http_redirects: Vec<RegistryHost>| {
        server.repository_with(ClientOptions { ca_files: vec![ca.clone()], http_redirects, ..options() })
    };
    for others in [Vec::new(), vec!["127.0.0.1:1".parse().unwrap()]] {
        let error = fetch(&with(others), b"x").await.unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
        let help = error.help().unwrap();
        assert!(help.contains(&format!("--allow-http-redirect {}", storage.host)), "{help}");
    }
    assert_eq!(storage.requests().len(), 0);
    assert_eq!(fetch(&with(vec![storage.host.clone()]), b"x").await.unwrap(), b"x");
}
