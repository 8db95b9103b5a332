// SPDX-License-Identifier: Apache-2.0
//! Layers that lie outside of registries.

use super::*;

/// An image whose first layer lies at `urls`, and that layer.
fn foreign(urls: &[String]) -> (Image, Digest, Vec<u8>) {
    let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let image =
        ImageBuilder::new("win").docker().platform("windows/amd64").layer_type(kind).layer_random(90_000, 5);
    let image = image.build_with(|manifest| manifest["layers"][0]["urls"] = json!(urls));
    let (digest, bytes) = image.blobs.last().cloned().unwrap();
    (image, digest, bytes)
}

/// Bundles what the site has; `elsewhere` is trusted, and downloaded from where it is named.
async fn pulled(site: &mut Site, elsewhere: &Registry, named: bool) -> Result<(), PullError> {
    let ca = elsewhere.ca_file().unwrap().to_owned();
    // Credentials for a registry at that host: they are not for whoever wrote the manifest to have them sent.
    let keychain = Keychain::empty().with(&elsewhere.host(), "robot", Secret::new("s3cret"));
    let client = Client::new(ClientOptions { ca_files: vec![ca], keychain, ..options() }).unwrap();
    let plan = site.plan(&client).await;
    let foreign_hosts = if named { vec![elsewhere.host()] } else { Vec::new() };
    let options = PullOptions { foreign_hosts, ..PullOptions::from(2) };
    let path = site.archive("foreign.krs.tar");
    pull(&client, &plan, Signatures::default(), &path, options, &silent()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn t95_a_foreign_layer_comes_from_the_registry_where_that_has_it_and_is_sent_to_the_edge() {
    let mut site = site();
    let (image, digest, bytes) = foreign(&["https://layers.invalid/x".to_owned()]);
    site.add(&index(&[(&image, None)]), "team/win", "1");
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    assert_eq!(site.edge.blob("team/win", &digest), Some(bytes));
    assert_eq!(site.edge.manifest("team/win", &image.digest.to_string()).unwrap().1, image.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn t95_a_foreign_layer_is_downloaded_from_a_host_that_was_named_and_never_from_a_private_one() {
    let elsewhere = Registry::start(Options { tls: true, ..Options::default() });
    let at = |path: &str| format!("{}/v2/{path}", elsewhere.url());
    let (_, digest, bytes) = foreign(&[]);
    let good = at(&format!("base/blobs/{digest}"));
    let (image, digest, _) = foreign(&[at("gone/blobs/sha256:00"), good]);
    elsewhere.put_blob("base", &bytes);
    let mut site = site();
    site.add(&image, "team/win", "1");
    site.source.delete_blob(&digest);

    let error = pulled(&mut site, &elsewhere, false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trust, "{error}");
    assert!(error.to_string().contains("a loopback address"), "{error}");
    let flag = format!("--foreign-layer-host {}", elsewhere.host());
    assert!(error.help().unwrap().contains(&flag), "{:?}", error.help());
    assert_eq!(elsewhere.connections(), 0, "no connection was made");

    pulled(&mut site, &elsewhere, true).await.unwrap();
    assert!(elsewhere.requests().iter().all(|request| !request.had_authorization));
    let path = site.archive("foreign.krs.tar");
    let bundle = krs_core::bundle::Bundle::open(&path, &krs_core::bundle::Policy::default()).unwrap();
    bundle.verify(2, &krs_core::progress::NoProgress).unwrap();
    assert!(bundle.blob(&digest).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn t95_redirects_of_foreign_layers_are_checked_and_content_that_is_another_is_refused() {
    let elsewhere = Registry::start(Options { tls: true, ..Options::default() });
    let (_, digest, bytes) = foreign(&[]);
    let (image, ..) = foreign(&[format!("{}/v2/base/blobs/{digest}", elsewhere.url())]);
    elsewhere.put_blob("base", &bytes);
    let mut site = site();
    site.add(&image, "team/win", "1");
    site.source.delete_blob(&digest);
    for (target, said) in [
        ("https://169.254.169.254/latest/meta-data", "a link-local address"),
        ("https://[::ffff:10.0.0.1]/x", "a private address"),
        ("https://0.0.0.0/x", "not a public address"),
        ("https://localhost/x", "a loopback address"),
        ("http://example.com/x", "it redirects to http://example.com/x: only https"),
        ("https://user:secret@example.com/x", "carries credentials"),
    ] {
        elsewhere.fail(Matcher::blobs(), What::Redirect(target.to_owned()));
        let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
        assert!(error.to_string().contains(said), "{target}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        elsewhere.clear_faults();
    }
    elsewhere.fail(Matcher::blobs(), What::Redirect("{path}".to_owned()));
    let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
    assert!(error.to_string().contains("redirects more often"), "{error}");
    elsewhere.clear_faults();
    let page = |body: String| {
        let html = vec![("content-type".to_owned(), "text/html".to_owned())];
        What::Status(200, html, format!("<html><title>Sign in</title>{body}"))
    };
    // Shorter and longer than the layer.
    for body in [String::new(), " ".repeat(2 * bytes.len())] {
        elsewhere.fail(Matcher::blobs(), page(body));
        let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
        assert!(error.to_string().contains("a web page (text/html"), "{error}");
        elsewhere.clear_faults();
    }
    elsewhere.fail(Matcher::blobs(), What::WrongBytes);
    let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    elsewhere.clear_faults();
    // A download that is cut is resumed.
    elsewhere.fail(Matcher::blobs().once(), What::CutAfter(40_000));
    pulled(&mut site, &elsewhere, true).await.unwrap();
    let ranges = elsewhere.requests().into_iter().filter_map(|request| request.range).collect::<Vec<_>>();
    assert!(ranges.iter().any(|range| range != "bytes=0-"), "{ranges:?}");
}
