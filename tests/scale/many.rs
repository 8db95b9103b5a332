// SPDX-License-Identifier: Apache-2.0
//! Requests are counted, not time: twice the images are twice the requests.

use std::sync::Arc;

use camino::Utf8PathBuf;
use krs_core::bundle::sign::Signatures;
use krs_core::bundle::{Bundle, Policy};
use krs_core::progress::{NoProgress, Progress};
use krs_core::registry::{Client, ClientOptions};
use krs_core::set;
use krs_core::sync::plan::{PlanOptions, plan};
use krs_core::sync::pull::pull;
use krs_core::sync::push::push;
use krs_core::sync::resolve::{Referrers, ResolveOptions, resolve};
use krs_testing::git::Checkout;
use krs_testing::many::{self, OWN_BLOBS};
use krs_testing::registry::{Options, Registry};

/// Requests of each step.
#[derive(Debug)]
struct Requests {
    resolve: usize,
    pull: usize,
    push: usize,
    again: usize,
}

/// All steps with so many images.
async fn all_steps(images: usize) -> Requests {
    let (source, edge) = (many::registry(images), Registry::start(Options::default()));
    let mut checkout = Checkout::new();
    for (name, text) in many::sets(&source.host(), images) {
        checkout.write(&name, text);
    }
    checkout.commit("Sets");
    let loaded = set::load(&[checkout.path().to_owned()], None).unwrap();
    let merged = set::merge(&loaded.sets).unwrap();
    assert_eq!(merged.images.len(), images);

    let client = Client::new(ClientOptions::default()).unwrap();
    let silent: Arc<dyn Progress> = Arc::new(NoProgress);
    let options =
        ResolveOptions { jobs: 6, referrers: Referrers::All, require_platforms: false, sources: Vec::new() };
    let resolved = resolve(&client, &merged, options, &silent).await.unwrap();
    let requests_of_resolve = source.requests().len();
    source.clear_requests();

    let plan = plan(&loaded, &resolved, &PlanOptions::default(), jiff::Timestamp::now()).unwrap();
    // One layer is in all images.
    assert_eq!(plan.manifest.blobs.len(), images * OWN_BLOBS + 1);
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("many.krs.tar")).unwrap();
    pull(&client, &plan, Signatures::default(), &path, 6, &silent).await.unwrap();
    let requests_of_pull = source.requests().len();

    let bundle = Arc::new(Bundle::open(&path, &Policy::default()).unwrap());
    let held = bundle.verify(2, &NoProgress).unwrap();
    let destination = edge.host().to_string().parse().unwrap();
    let report = push(&client, &bundle, &held, &destination, 6, &silent).await.unwrap();
    assert_eq!(report.targets.len(), images);
    assert_eq!(report.blobs_sent as usize, images * (OWN_BLOBS - 1) + 1, "each blob is sent once");
    assert_eq!(report.blobs_mounted as usize, images - 1, "and linked where it is needed too");
    let requests_of_push = edge.requests().len();
    edge.clear_requests();
    let report = push(&client, &bundle, &held, &destination, 6, &silent).await.unwrap();
    assert_eq!((report.blobs_sent, report.manifests_sent), (0, 0));
    Requests {
        resolve: requests_of_resolve,
        pull: requests_of_pull,
        push: requests_of_push,
        again: edge.requests().len(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_the_images_are_twice_the_requests_and_no_more() {
    let (few, many) = (250, 500);
    let (less, more) = (all_steps(few).await, all_steps(many).await);
    // Beside what grows with the images there is what a run does once, such as asking for the version of the API.
    let once = 10;
    let steps = [
        ("resolve", less.resolve, more.resolve),
        ("pull", less.pull, more.pull),
        ("push", less.push, more.push),
        ("a repeated push", less.again, more.again),
    ];
    for (step, less, more) in steps {
        assert!(more <= 2 * less + once, "{step}: {less} requests for {few} images, {more} for {many}");
    }
    // What is needed: each blob once. (Manifests come when images are resolved.)
    assert!(more.pull <= many * (OWN_BLOBS - 1) + 1 + once, "{more:?}");
    // A manifest, its referrers, and three tags of cosign.
    assert!(more.resolve <= 5 * many + once, "{more:?}");
}
