// SPDX-License-Identifier: Apache-2.0
//! Ways to a registry: bad lines, IPv6, certificates by folder, logins of other kinds, registries that lead astray.

use std::net::{IpAddr, Ipv6Addr};

use krs_core::error::{Classify as _, ErrorKind};
use krs_core::registry::{Client, ClientOptions, Keychain};
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Auth, Matcher, Options, Registry, What};

use crate::harness::{Site, client, options};

fn image() -> Image {
    ImageBuilder::new("app").layer_random(1_000_000, 1).layer_random(5_000, 2).build()
}

fn site(source: Options, edge: Options) -> Site {
    let mut site = Site::with(source, edge);
    site.add(&image(), "team/app", "1.0");
    site
}

fn arrived(site: &Site) -> bool {
    image().blobs.iter().all(|(digest, content)| site.edge.blob("team/app", digest).as_ref() == Some(content))
}

#[tokio::test(flavor = "multi_thread")]
async fn t53_a_line_on_which_every_connection_breaks_after_64_kb_carries_everything_both_ways() {
    let bad = || Options { cut_connections: Some(64_000), ..Options::default() };
    let mut site = site(bad(), bad());
    let (bundle, images) = site.open("x.krs.tar").await;
    // 16 cuts for one layer, four times as many as there are tries; each resumes where the last one ended.
    let connections = site.source.connections();
    assert!((16..40).contains(&connections), "{connections} connections");
    let report = site.push(&bundle, &images).await.unwrap();
    assert_eq!(report.targets.len(), 1);
    assert!(arrived(&site) && site.edge.connections() > 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_a_length_that_is_a_lie_leaves_no_archive() {
    for length in [0, 12, 999_999, 1_000_001, 1 << 40] {
        let mut site = site(Options::default(), Options::default());
        site.source.fail(Matcher::blobs().path(image().blobs[0].0), What::LyingLength(length));
        let error = site.bundle(&client(), "x.krs.tar").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable), "{length}: {error}");
        assert!(!site.archive("x.krs.tar").exists(), "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_are_reached_over_ipv6_with_and_without_tls() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("this machine has no IPv6: nothing was tested");
        return;
    }
    let address = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let mut site = site(
        Options { address, ..Options::default() },
        Options { address, tls: true, auth: Auth::bearer("robot", "s3cret"), ..Options::default() },
    );
    assert!(site.source.host().as_str().starts_with("[::1]:"));
    let (bundle, images) = site.open("x.krs.tar").await;
    let keychain =
        Keychain::empty().with(&site.edge.host(), "robot", krs_core::redact::Secret::new("s3cret"));
    let ca_files = site.edge.ca_file().map(ToOwned::to_owned).into_iter().collect();
    let client = Client::new(ClientOptions { keychain, ca_files, ..options() }).unwrap();
    let destination = site.edge.host().to_string().parse().unwrap();
    let silent = crate::harness::silent();
    krs_core::sync::push::push(&client, &bundle, &images, &destination, 4, &silent).await.unwrap();
    assert!(arrived(&site));
}

#[tokio::test(flavor = "multi_thread")]
async fn t56_authority_and_client_certificate_come_from_the_folder_of_the_registry() {
    let strict = Options { tls: true, client_certificate: true, ..Options::default() };
    let mut site = site(strict, Options::default());
    let certs = site.archive("certs.d");
    let folder = certs.join(site.source.host().as_str());
    std::fs::create_dir_all(&folder).unwrap();
    let with_folder = || Client::new(ClientOptions { certs_dirs: vec![certs.clone()], ..options() }).unwrap();
    std::fs::write(folder.join("site.crt"), site.source.ca_pem().unwrap()).unwrap();
    let error = site.resolve(&with_folder()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "without the certificate: {error}");
    let identity = site.source.client_identity().unwrap().clone();
    std::fs::write(folder.join("client.cert"), identity.certificate).unwrap();
    std::fs::write(folder.join("client.key"), identity.key).unwrap();
    site.bundle(&with_folder(), "x.krs.tar").await.unwrap();
    // A certificate whose key is not there is named, not passed over.
    std::fs::remove_file(folder.join("client.key")).unwrap();
    let error = site.resolve(&with_folder()).await.unwrap_err();
    assert!(error.to_string().contains("client.key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_logs_in_like_a_password_also_when_tokens_run_out_in_the_middle() {
    let auth = || Auth::bearer("robot", "identity-token");
    let mut site = site(Options { auth: auth(), ..Options::default() }, Options::default());
    let text =
        format!(r#"{{"auths":{{"{}/team":{{"identitytoken":"identity-token"}}}}}}"#, site.source.host());
    let keychain = Keychain::from_bytes("auth.json", text.as_bytes()).unwrap();
    let client = Client::new(ClientOptions { keychain, ..options() }).unwrap();
    let plan = site.plan(&client).await;
    site.source.expire_tokens();
    site.source.fail(Matcher::blobs().once(), What::CutAfter(400_000));
    let (path, silent) = (site.archive("x.krs.tar"), crate::harness::silent());
    krs_core::sync::pull::pull(&client, &plan, Default::default(), &path, 1, &silent).await.unwrap();
    let tokens = site.source.requests().iter().filter(|request| request.path == "/token").count();
    assert!((2..=4).contains(&tokens), "{tokens} tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn t57_no_credentials_follow_a_redirect_that_is_not_allowed() {
    let thief = Registry::start(Options { tls: true, ..Options::default() });
    let auth = Auth::basic("robot", "s3cret");
    let mut site =
        site(Options { auth: auth.clone(), ..Options::default() }, Options { auth, ..Options::default() });
    let mut keychain = Keychain::empty();
    for registry in [&site.source, &site.edge] {
        keychain = keychain.with(&registry.host(), "robot", krs_core::redact::Secret::new("s3cret"));
    }
    let client = || Client::new(ClientOptions { keychain: keychain.clone(), ..options() }).unwrap();
    site.source.fail(Matcher::any(), What::Realm("https://evil.example/token".to_owned()));
    let error = site.resolve(&client()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trust, "{error}");
    site.source.clear_faults();
    let path = site.bundle(&client(), "x.krs.tar").await.unwrap();
    let bundle = krs_core::bundle::Bundle::open(&path, &krs_core::bundle::Policy::default()).unwrap();
    let (images, bundle) = (bundle.images().unwrap(), std::sync::Arc::new(bundle));
    for location in ["file:///etc/passwd", "http://me:pw@127.0.0.1{path}", "gopher://127.0.0.1{path}"] {
        site.edge.clear_faults();
        site.edge.fail(Matcher::any().method("POST"), What::Location(location.to_owned()));
        let destination = site.edge.host().to_string().parse().unwrap();
        let silent = crate::harness::silent();
        let error = krs_core::sync::push::push(&client(), &bundle, &images, &destination, 1, &silent)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Trust, "{location}: {error}");
    }
    let elsewhere = format!("{}{{path}}", thief.url().replace("https", "http"));
    site.edge.clear_faults();
    site.edge.fail(Matcher::any().method("POST"), What::Location(elsewhere));
    let destination = site.edge.host().to_string().parse().unwrap();
    let silent = crate::harness::silent();
    assert!(krs_core::sync::push::push(&client(), &bundle, &images, &destination, 1, &silent).await.is_err());
    assert!(thief.requests().iter().all(|request| !request.had_authorization));
}
