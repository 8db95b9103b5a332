// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use axum::body::to_bytes;
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use camino::{Utf8Path, Utf8PathBuf};
use futures::FutureExt as _;
use krs_core::bundle::sign::Signatures;
use krs_core::bundle::{Bundle, Policy};
use krs_core::progress::{NoProgress, Progress};
use krs_core::registry::{Client, ClientOptions};
use krs_core::sync::plan::{PlanOptions, plan};
use krs_core::sync::resolve::{Referrers, ResolveOptions, resolve};
use krs_testing::git::Checkout;
use krs_testing::image::{Image, ImageBuilder, cosign_signature, cosign_tag, sbom};
use krs_testing::registry::{Options, Registry};
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::app::registry::access::Unavailable;
use crate::model::required_images::SetDemand;
use crate::model::task::repository_in_bundle as repository;

/// A bundle with two images in the drop folder, and a set in namespace `apps` that lists the first.
struct Site {
    front: RegistryService,
    demand: watch::Sender<Arc<RequiredImages>>,
    library: Arc<BundleStore>,
    faults: UnboundedReceiver<ReadFault>,
    path: Utf8PathBuf,
    bundle: Digest,
    app: Image,
    other: Image,
    bill: Image,
    signature: Image,
    _folder: tempfile::TempDir,
}

fn demand(namespace: &str, image: &Image) -> Arc<RequiredImages> {
    let name = SetName { namespace: namespace.to_owned(), name: "set".to_owned() };
    let images = [("example.com/app:1".parse().unwrap(), Some(image.digest))].into_iter().collect();
    let set = SetDemand { images, ..SetDemand::default() };
    Arc::new(RequiredImages { complete: true, sets: [(name, Arc::new(set))].into() })
}

impl Site {
    async fn new() -> Self {
        let source = Registry::start(Options::default());
        let app = ImageBuilder::new("app").layer_random(600_000, 1).build();
        let other = ImageBuilder::new("other").layer_random(1_000, 2).build();
        let (bill, signature) = (sbom(&app), cosign_signature(&app));
        app.push_to(&source, "app", Some("1"));
        other.push_to(&source, "other", Some("1"));
        bill.push_to(&source, "app", None);
        signature.push_to(&source, "app", Some(&cosign_tag(&app.digest, "sig")));
        let image =
            |name: &str, image: &Image| format!("  - image: {}/{name}:1@{}\n", source.host(), image.digest);
        let mut checkout = Checkout::new();
        let text = format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {{name: set, namespace: apps}}\n\
             spec:\n  destinationRegistry: edge.local:5000\n  images:\n{}{}",
            image("app", &app),
            image("other", &other)
        );
        checkout.write("set.yaml", &text);
        checkout.commit("Add the set");
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("x.krs.tar");
        let client = Client::new(ClientOptions::default()).unwrap();
        let silent: Arc<dyn Progress> = Arc::new(NoProgress);
        let loaded = krs_core::set::load(&[checkout.path().to_owned()], None).unwrap();
        let merged = krs_core::set::merge(&loaded.sets).unwrap();
        let options = ResolveOptions {
            jobs: 2,
            referrers: Referrers::All,
            require_platforms: false,
            sources: Vec::new(),
        };
        let resolved = resolve(&client, &merged, options, &silent).await.unwrap();
        let plan = plan(&loaded, &resolved, &PlanOptions::default(), jiff::Timestamp::now()).unwrap();
        krs_core::sync::pull::pull(&client, &plan, Signatures::default(), &path, 2, &silent).await.unwrap();
        let bundle = Bundle::open(&path, &Policy::default()).unwrap();
        let images = bundle.images().unwrap();
        let digest = bundle.digest();
        let (library, faults) = BundleStore::new();
        library.put(Arc::new(OpenBundle::new(bundle, images)));
        let (sender, receiver) = watch::channel(demand("apps", &app));
        let access = Access::new(Box::new(|token, _| {
            let verdict = match token.expose() {
                "down" => Err(Unavailable("down".to_owned())),
                "bad" => Ok(TokenReviewResult::Refused),
                namespace => Ok(TokenReviewResult::Reader(SetName {
                    namespace: namespace.to_owned(),
                    name: "set".to_owned(),
                })),
            };
            async move { verdict }.boxed()
        }));
        let front = RegistryService::new(access, Arc::clone(&library), receiver, false, Metrics::new().0);
        let demand = sender;
        Self {
            front,
            demand,
            library,
            faults,
            path,
            bundle: digest,
            app,
            other,
            bill,
            signature,
            _folder: folder,
        }
    }

    async fn request(&self, method: Method, token: Option<&str>, path: &str, range: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("krs:{token}"));
            request = request.header("authorization", format!("Basic {pair}"));
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let response = self.front.answer(request.body(()).unwrap()).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 24).await.map(|bytes| bytes.to_vec()).map_err(|e| e.to_string());
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, Some("apps"), path, None).await
    }

    fn of(&self, image: &Image, rest: impl std::fmt::Display) -> String {
        format!("/v2/{}/{rest}", repository(&self.bundle, &image.digest))
    }

    fn layer(&self) -> (Digest, Vec<u8>) {
        self.app.blobs.iter().max_by_key(|(_, content)| content.len()).cloned().unwrap()
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Result<Vec<u8>, String>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.body.as_ref().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn an_image_is_read_by_digest_with_all_that_refers_to_it() {
    let site = Site::new().await;
    assert_eq!(site.get("/v2/").await.status, 200);
    for image in [&site.app, &site.bill, &site.signature] {
        let answer = site.get(&site.of(&site.app, format_args!("manifests/{}", image.digest))).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, image.media_type.as_str()));
        assert_eq!(answer.header("docker-content-digest"), image.digest.to_string());
        assert_eq!(answer.body.unwrap(), image.manifest);
        for (digest, content) in &image.blobs {
            let answer = site.get(&site.of(&site.app, format_args!("blobs/{digest}"))).await;
            assert!(answer.status == 200 && answer.body.unwrap() == *content);
        }
    }
    let referrers = site.get(&site.of(&site.app, format_args!("referrers/{}", site.app.digest))).await.json();
    assert_eq!(referrers["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(referrers["manifests"][0]["digest"], site.bill.digest.to_string());
    assert!(referrers["manifests"][0]["artifactType"].is_string(), "{referrers}");
    let tag = cosign_tag(&site.app.digest, "sig");
    let tagged = site.get(&site.of(&site.app, format_args!("manifests/{tag}"))).await;
    assert_eq!(tagged.body.unwrap(), site.signature.manifest);
    let metrics = &site.front.metrics;
    assert!(metrics.registry_bytes.get() > 600_000);
    let labels = SetLabels { namespace: "apps".to_owned(), name: "set".to_owned() };
    assert!(metrics.read_bytes.get_or_create(&labels).get() > 600_000);
    assert!(metrics.registry_answers.get_or_create(&ResultLabels { result: "200".to_owned() }).get() > 5);
}

#[tokio::test]
async fn nothing_is_counted_for_a_set_that_is_gone_while_its_pod_still_asks() {
    let site = Site::new().await;
    let labels = SetLabels { namespace: "apps".to_owned(), name: "set".to_owned() };
    let path = site.of(&site.app, format_args!("manifests/{}", site.app.digest));
    assert_eq!(site.get(&path).await.status, 200);
    assert!(site.front.metrics.read_bytes.get(&labels).is_some());
    site.demand.send_replace(Arc::new(RequiredImages { complete: true, ..RequiredImages::default() }));
    site.front.metrics.read_bytes.remove(&labels);
    assert_eq!(site.get(&path).await.status, 404);
    assert!(site.front.metrics.read_bytes.get(&labels).is_none());
}

#[tokio::test]
async fn parts_and_heads_of_blobs_are_answered() {
    let site = Site::new().await;
    let (digest, content) = site.layer();
    let path = site.of(&site.app, format_args!("blobs/{digest}"));
    let part = site.request(Method::GET, Some("apps"), &path, Some("bytes=300000-")).await;
    assert_eq!(part.status, 206);
    assert_eq!(part.header("content-range"), format!("bytes 300000-{}/{}", content.len() - 1, content.len()));
    assert!(part.body.unwrap() == content[300_000..]);
    assert_eq!(site.request(Method::GET, Some("apps"), &path, Some("bytes=9999999-")).await.status, 416);
    let head = site.request(Method::HEAD, Some("apps"), &path, None).await;
    assert_eq!((head.status, head.header("content-length")), (200, content.len().to_string().as_str()));
    assert!(head.body.unwrap().is_empty());
}

#[tokio::test]
async fn who_shows_no_good_token_learns_nothing() {
    let site = Site::new().await;
    let known = site.of(&site.app, format_args!("manifests/{}", site.app.digest));
    for path in ["/v2/", "/v2/a/manifests/b", "/v2/_catalog", known.as_str()] {
        for token in [None, Some("bad")] {
            let answer = site.request(Method::GET, token, path, None).await;
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, "Basic realm=\"krs-importer\"")
            );
            assert_eq!(answer.json()["errors"][0]["code"], "UNAUTHORIZED");
        }
        let answer = site.request(Method::GET, Some("down"), path, None).await;
        assert_eq!(answer.status, 503, "a Job tries again when the API server is back");
    }
    assert_eq!(site.request(Method::PUT, Some("apps"), &known, None).await.status, 405);
}

#[tokio::test]
async fn a_pod_reads_only_what_a_set_of_its_namespace_lists_now() {
    let site = Site::new().await;
    let manifest = |image: &Image| site.of(image, format_args!("manifests/{}", image.digest));
    let (listed, unlisted) = (manifest(&site.app), manifest(&site.other));
    let hidden = site.of(&site.app, format_args!("manifests/{}", site.other.digest));
    assert_eq!(site.get(&listed).await.status, 200);
    let refused = site.get(&unlisted).await;
    let unknown = site.get(&unlisted.replace(&site.bundle.hex(), &Digest::of(b"x").hex())).await;
    assert_eq!((refused.status, unknown.status), (404, 404));
    assert_eq!(refused.body, unknown.body, "what is there is not told from what is not");
    assert_eq!(site.get(&hidden).await.status, 404);
    assert_eq!(site.request(Method::GET, Some("tenant"), &listed, None).await.status, 404);
    site.demand.send_replace(demand("apps", &site.other));
    assert_eq!(site.get(&listed).await.status, 404);
    assert_eq!(site.get(&unlisted).await.status, 200);
    for path in ["/v2/_catalog", "/v2/x/manifests/1", "/v1", "/v2/a/b/tags/list"] {
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
}

/// A set in the cluster may say anything; what counts is whose the image is in the signed bundle.
#[tokio::test]
async fn t123_a_pod_reads_only_what_the_bundle_lists_for_its_namespace() {
    let mut site = Site::new().await;
    let manifest = site.of(&site.app, format_args!("manifests/{}", site.app.digest));
    let layer = site.of(&site.app, format_args!("blobs/{}", site.layer().0));
    site.demand.send_replace(demand("tenant", &site.app));
    for path in [&manifest, &layer] {
        let answer = site.request(Method::GET, Some("tenant"), path, None).await;
        let absent = site.request(Method::GET, Some("tenant"), "/v2/a/b/manifests/1", None).await;
        assert_eq!((answer.status, answer.body), (404, absent.body), "as if it was not there");
    }
    site.front.shared = true;
    for path in [&manifest, &layer] {
        assert_eq!(
            site.request(Method::GET, Some("tenant"), path, None).await.status,
            200,
            "the site shares"
        );
    }
}

#[tokio::test]
async fn t120_what_is_not_served_at_present_is_unavailable_and_not_unknown() {
    let site = Site::new().await;
    let path = site.of(&site.app, format_args!("manifests/{}", site.app.digest));
    let known = site.library.get(&site.bundle).unwrap();
    let sets = site.demand.send_replace(Arc::default());
    let later = async |when: &str| {
        let answer = site.get(&path).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5"), "{when}");
        assert_eq!(answer.json()["errors"][0]["code"], "UNAVAILABLE", "{when}");
    };
    later("the sets are not known yet").await;
    site.demand.send_replace(sets);
    assert_eq!(site.get(&path).await.status, 200);
    site.library.remove(&site.bundle);
    later("the media are away").await;
    site.library.put(known);
    assert_eq!(site.get(&path).await.status, 200, "the media are back");
}

#[tokio::test]
async fn t216_an_image_whose_bundle_is_away_is_read_from_another_one_that_has_all_of_it() {
    let site = Site::new().await;
    let away = Digest::of(b"a bundle whose media were pulled");
    let path = |image: &Image| {
        let name = repository(&away, &image.digest);
        format!("/v2/{name}/manifests/{}", image.digest)
    };
    assert_eq!(site.get(&path(&site.app)).await.status, 503);
    let both = [&site.app, &site.other].map(|image| ((away, image.digest), vec![site.bundle]));
    site.library.substitute(both.into());
    let answer = site.get(&path(&site.app)).await;
    assert_eq!((answer.status, answer.body.as_ref()), (200, Ok(&site.app.manifest.to_vec())));
    let (layer, content) = site.layer();
    let name = repository(&away, &site.app.digest);
    let rest = site
        .request(Method::GET, Some("apps"), &format!("/v2/{name}/blobs/{layer}"), Some("bytes=300000-"))
        .await;
    assert_eq!(rest.status, 206, "a transfer resumes");
    assert!(rest.body.unwrap() == content[300_000..]);
    // Who may read what stays the same.
    assert_eq!(site.get(&path(&site.other)).await.status, 404, "no set lists it");
    site.demand.send_replace(demand("others", &site.app));
    assert_eq!(site.request(Method::GET, Some("others"), &path(&site.app), None).await.status, 503);
    site.demand.send_replace(demand("apps", &site.app));
    site.library.remove(&site.bundle);
    assert_eq!(site.get(&path(&site.app)).await.status, 503);
}

#[tokio::test]
async fn t37_a_damaged_blob_is_never_a_complete_answer_and_the_library_is_told() {
    let mut site = Site::new().await;
    let (digest, content) = site.layer();
    let path = site.of(&site.app, format_args!("blobs/{digest}"));
    let mut bytes = std::fs::read(&site.path).unwrap();
    let at = bytes.windows(64).position(|window| window == &content[..64]).unwrap();
    bytes[at + 300_000] ^= 1;
    std::fs::write(&site.path, bytes).unwrap();
    let answer = site.get(&path).await;
    assert!(answer.body.is_err(), "the end of a damaged blob is held back");
    let fault = site.faults.recv().await.unwrap();
    assert!(fault.damaged && fault.bundle == site.bundle, "{fault:?}");
    assert!(fault.message.contains("x.krs.tar") && fault.message.contains(&digest.hex()), "{fault:?}");
    assert_eq!(site.request(Method::GET, Some("apps"), &path, Some("bytes=400000-")).await.status, 500);
    assert!(site.faults.try_recv().is_err(), "damage is told once");
}

#[tokio::test]
async fn damage_of_a_file_that_was_replaced_since_is_not_told_of_the_new_one() {
    let mut site = Site::new().await;
    let (digest, content) = site.layer();
    let path = site.of(&site.app, format_args!("blobs/{digest}"));
    let copy = site.path.with_extension("copy");
    std::fs::copy(&site.path, &copy).unwrap();
    let mut bytes = std::fs::read(&site.path).unwrap();
    let at = bytes.windows(64).position(|window| window == &content[..64]).unwrap();
    bytes[at + 300_000] ^= 1;
    std::fs::write(&site.path, bytes).unwrap();
    let offer = site.front.offer(site.bundle, &site.library.get(&site.bundle).unwrap());
    let bundle = Bundle::open(&copy, &Policy::default()).unwrap();
    let images = bundle.images().unwrap();
    site.library.put(Arc::new(OpenBundle::new(bundle, images)));
    let (repository, request) =
        (&offer.repositories[&site.app.digest], Request::builder().uri(&path).body(()).unwrap());
    let response = offer.content.answer(repository, &route(&path), &request).await;
    to_bytes(response.into_body(), 1 << 24).await.unwrap_err();
    assert!(site.faults.try_recv().is_err());
    assert!(site.get(&path).await.body.unwrap() == content, "the new one is served");
}

#[tokio::test]
async fn media_that_fail_are_told_from_damage() {
    let mut site = Site::new().await;
    let (digest, content) = site.layer();
    let path = site.of(&site.app, format_args!("blobs/{digest}"));
    assert!(site.library.get(&site.bundle).unwrap().bundle.close_if_idle(std::time::Duration::ZERO));
    let away = site.path.with_extension("away");
    std::fs::rename(&site.path, &away).unwrap();
    assert_eq!(site.get(&path).await.status, 503);
    let fault = site.faults.recv().await.unwrap();
    assert!(!fault.damaged && fault.bundle == site.bundle, "{fault:?}");
    std::fs::rename(&away, &site.path).unwrap();
    assert!(site.get(&path).await.body.unwrap() == content, "the drive is back");
}

/// As copy Jobs reach it: over TLS, with a token that the API server is asked about.
#[cfg(feature = "real-parts")]
#[tokio::test(flavor = "multi_thread")]
async fn the_registry_passes_the_pull_part_of_the_conformance_suite() {
    let site = Site::new().await;
    let api = crate::app::registry::fake::FakeApi::with_copy_job();
    let authority = krs_testing::tls::Authority::new("krs test importer");
    let server = authority.server(&["127.0.0.1"]);
    let identity = crate::app::tls::ServerIdentity {
        ca: authority.pem(),
        certificate: server.certificate,
        key: server.key,
    };
    let config = crate::model::config::RegistryConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        host: "127.0.0.1:1".parse().unwrap(),
    };
    let (library, demand, metrics) = (Arc::clone(&site.library), site.demand.subscribe(), Metrics::new().0);
    let registry = crate::app::registry::Registry::bind(
        &config,
        &identity,
        api.client(),
        library,
        demand,
        false,
        metrics,
    )
    .await
    .unwrap();
    let address = registry.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(registry.run(async { drop(stopped.await) }));
    let tag = cosign_tag(&site.app.digest, "sig");
    let images = [&site.app, &site.bill, &site.signature];
    let suite = krs_testing::conformance::Suite::new(address)
        .tls(&identity.ca)
        .user("krs", &crate::app::registry::fake::token("good"))
        .read_only(&repository(&site.bundle, &site.app.digest), &images, &[&tag], &[&site.app]);
    let report = tokio::task::spawn_blocking(|| suite.run()).await.unwrap();
    report.assert_passed_reading();
    assert!(api.with(|state| state.calls.iter().any(|call| call.ends_with("/tokenreviews"))));
    drop(stop);
    serving.await.unwrap();
}
