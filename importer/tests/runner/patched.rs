// SPDX-License-Identifier: Apache-2.0
//! Layers that travel as patches: made in the Pod, of layers of the edge registry.

use krs_compact::diff::{Mode, Options as DiffOptions, make};
use krs_compact::recipe::Recipe;
use krs_core::bundle::{BaseLayer, BundlePatch, PATCH_MEDIA_TYPE, PatchBase, PatchedLayer};
use krs_core::oci::digest::Digest;
use krs_core::sync::rebuild::{PatchList, PatchListBlob};
use krs_importer::model::task::{CopyTask, TaskSource};
use krs_testing::image::{Image, ImageBuilder, random_bytes, tar_of};
use krs_testing::registry::{Auth, Matcher, Options, Registry, Request, What};

use crate::harness::{Pod, arrived, endpoint, target};

/// A layer without compression, most of which all versions share.
fn layer(number: u8) -> Vec<u8> {
    let mut content = random_bytes(200_000, 1);
    content[1000] = number;
    tar_of(&[("usr/bin/app", &content)])
}

fn image(number: u8) -> Image {
    ImageBuilder::new("app").layer_type("application/vnd.oci.image.layer.v1.tar").layer(layer(number)).build()
}

/// The registry of an importer with a bundle, whose layer is a patch of another, and the task for it.
fn patched(edge: &Registry) -> (Registry, Pod, CopyTask, Image) {
    let (old, new, image) = (layer(1), layer(2), image(2));
    let source = Registry::start(Options { tls: true, auth: Auth::basic("krs", "t"), ..Options::default() });
    image.push_to(&source, "team/app", None);
    source.delete_blob(&Digest::of(&new));
    let scratch = tempfile::tempdir().unwrap();
    let options = DiffOptions { mode: Mode::Fast, threads: 1, scratch: scratch.path().to_owned() };
    let mut patch = Vec::new();
    make(&[&old], &[&new], &options, &mut patch).unwrap();
    assert!(patch.len() * 10 < new.len());
    let recipe = Recipe::Plain.encode();
    let (patch, recipe) = (blob(&source, &patch), blob(&source, &recipe));
    let layer = PatchedLayer {
        digest: Digest::of(&new),
        plain_size: new.len() as u64,
        recipe: recipe.digest,
        size: new.len() as u64,
        sources: vec![0],
    };
    let base = PatchBase { digest: Digest::of(&old), plain_size: old.len() as u64 };
    let at_site =
        BaseLayer { digest: base.digest, repositories: vec!["other/old".to_owned()], size: base.plain_size };
    let list = PatchList {
        bases: vec![at_site],
        blobs: vec![patch, recipe],
        patches: vec![BundlePatch {
            bases: vec![base],
            digest: patch.digest,
            layers: vec![layer],
            media_type: PATCH_MEDIA_TYPE.to_owned(),
        }],
    };
    let list = blob(&source, &list.encode().unwrap());
    let pod = Pod::new();
    pod.mount("token", &[("token", "t")]);
    let mut wanted = target(&source.host(), "team/app", &image.digest, "v1");
    wanted.mount_from = vec!["other/old".parse().unwrap()];
    wanted.patches = Some(list);
    let ca = source.ca_pem().unwrap().to_owned();
    let from = TaskSource::Bundle { digest: image.digest, name: "compact".to_owned(), ca };
    let task = CopyTask { destination: endpoint(edge), source: from, targets: vec![wanted] };
    (source, pod, task, image)
}

fn blob(registry: &Registry, bytes: &[u8]) -> PatchListBlob {
    PatchListBlob { digest: registry.put_blob("team/app", bytes), size: bytes.len() as u64 }
}

fn is_untouched(edge: &Registry) -> bool {
    edge.requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD"))
}

#[tokio::test]
async fn a_layer_is_made_of_a_layer_of_the_edge_and_arrives_as_it_was() {
    let edge = Registry::start(Options::default());
    let (_source, pod, task, image) = patched(&edge);
    self::image(1).push_to(&edge, "mirror/other/old", Some("v0"));
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.done), (0, 1), "{report:?}");
    arrived(&image, &edge);
    assert_eq!(report.bytes_copied, image.size() - image.manifest.len() as u64, "{report:?}");
    assert_eq!(pod.path("scratch").read_dir().unwrap().count(), 0);
    // What is there is not made again.
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.done, report.bytes_copied), (0, 1, 0), "{report:?}");
}

/// How often a layer's content was read at the edge.
fn reads(edge: &Registry, layer: &Digest) -> usize {
    let hex = layer.hex();
    let is_read = |request: &&Request| request.method == "GET" && request.path.ends_with(&hex);
    edge.requests().iter().filter(is_read).count()
}

/// A task for two images of one layer, which a patch makes, in two repositories.
fn shared(edge: &Registry) -> (Registry, Pod, CopyTask, [Image; 2]) {
    let (source, pod, mut task, first) = patched(edge);
    let second = ImageBuilder::new("other")
        .layer_type("application/vnd.oci.image.layer.v1.tar")
        .layer(layer(2))
        .build();
    second.push_to(&source, "team/other", None);
    source.delete_blob(&Digest::of(&layer(2)));
    let list = task.targets[0].patches.unwrap();
    let bytes = source.blob("team/app", &list.digest).unwrap();
    source.put_blob("team/other", &bytes);
    for blob in PatchList::parse(&bytes).unwrap().blobs {
        source.put_blob("team/other", &source.blob("team/app", &blob.digest).unwrap());
    }
    let mut other = target(&source.host(), "team/other", &second.digest, "v1");
    (other.mount_from, other.patches) = (task.targets[0].mount_from.clone(), Some(list));
    task.targets.push(other);
    image(1).push_to(edge, "mirror/other/old", Some("v0"));
    edge.clear_requests();
    (source, pod, task, [first, second])
}

fn both_arrived(edge: &Registry, [first, second]: &[Image; 2]) {
    arrived(first, edge);
    assert_eq!(edge.digest("mirror/team/other", "v1"), Some(second.digest));
    let new = layer(2);
    assert_eq!(edge.blob("mirror/team/other", &Digest::of(&new)), Some(new));
}

#[tokio::test]
async fn a_layer_that_two_repositories_need_is_made_once() {
    for mounts in [true, false] {
        let edge = Registry::start(Options { mounts, ..Options::default() });
        let (source, pod, task, images) = shared(&edge);
        source.clear_requests();
        let (report, code) = pod.run(&task).await;
        assert_eq!((code, report.done), (0, 2), "{report:?}");
        both_arrived(&edge, &images);
        assert_eq!(reads(&edge, &Digest::of(&layer(1))), 1, "the base, mounts: {mounts}");
        let list = source.blob("team/app", &task.targets[0].patches.unwrap().digest).unwrap();
        let patch = PatchList::parse(&list).unwrap().patches[0].digest;
        assert_eq!(reads(&source, &patch), 1, "the patch, mounts: {mounts}");
        assert_eq!(report.blobs_mounted, u64::from(mounts), "{report:?}");
    }
}

/// That an image failed after its layer was sent, or that the registry refuses to hand the layer over, decides about no other.
#[tokio::test]
async fn a_layer_that_cannot_be_taken_from_another_repository_is_made_again() {
    let edge = Registry::start(Options { mounts: false, ..Options::default() });
    let (_source, pod, task, images) = shared(&edge);
    let new = Digest::of(&layer(2));
    let handed_over = Matcher::blobs().path(format!("mirror/team/app/blobs/{new}")).method("GET");
    edge.fail(handed_over, What::Status(403, Vec::new(), String::new()));
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.done), (0, 2), "{report:?}");
    both_arrived(&edge, &images);
    assert_eq!(reads(&edge, &Digest::of(&layer(1))), 2);

    // The tag of the first is refused, after its layer was sent.
    let edge = Registry::start(Options::default());
    let (_source, pod, task, images) = shared(&edge);
    edge.fail(
        Matcher::manifests().path("mirror/team/app/manifests/v1").method("PUT"),
        What::Status(400, Vec::new(), String::new()),
    );
    let (report, _) = pod.run(&task).await;
    assert_eq!((report.done, report.failed), (1, 1), "{report:?}");
    let layer = layer(2);
    assert_eq!(edge.blob("mirror/team/other", &Digest::of(&layer)), Some(layer));
    assert_eq!(edge.digest("mirror/team/other", "v1"), Some(images[1].digest));
    assert_eq!(reads(&edge, &Digest::of(&self::layer(1))), 1);
}

#[tokio::test]
async fn a_base_that_is_missing_or_damaged_is_refused_before_anything_is_written() {
    let edge = Registry::start(Options::default());
    let (_source, pod, task, _) = patched(&edge);
    let (report, code) = pod.run(&task).await;
    let base = Digest::of(&layer(1));
    assert_eq!((code, report.failures[0].reason.as_str()), (6, "BaseMissing"), "{report:?}");
    assert!(report.failures[0].message.contains(&base.to_string()), "{report:?}");
    assert!(is_untouched(&edge));
    image(1).push_to(&edge, "mirror/other/old", Some("v0"));
    edge.corrupt_blob(&base);
    edge.clear_requests();
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (4, "DigestMismatch"), "{report:?}");
    assert!(report.failures[0].message.contains(&base.to_string()), "{report:?}");
    assert!(is_untouched(&edge));
}

#[tokio::test]
async fn t312_scratch_space_that_is_too_small_is_said_before_anything_is_read_or_written() {
    let edge = Registry::start(Options::default());
    let (source, pod, mut task, copied) = patched(&edge);
    image(1).push_to(&edge, "mirror/other/old", Some("v0"));
    edge.clear_requests();
    let needed = 2 * layer(1).len() as u64;
    task.targets[0].scratch_size = Some(needed);
    source.clear_requests();
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (9, "CopyFailed"), "{report:?}");
    for part in ["/scratch", &needed.to_string(), "jobs.scratchSize"] {
        assert!(report.failures[0].message.contains(part), "{part}: {report:?}");
    }
    let is_blob = |request: &Request| request.path.contains("/blobs/");
    let list = task.targets[0].patches.unwrap().digest.hex();
    let others =
        source.requests().into_iter().filter(|request| is_blob(request) && !request.path.ends_with(&list));
    assert_eq!(others.count(), 0, "{:?}", source.requests());
    assert!(is_untouched(&edge));
    task.targets[0].scratch_size = Some(1 << 30);
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.done), (0, 1), "{report:?}");
    arrived(&copied, &edge);
}

#[tokio::test]
async fn a_patch_that_makes_something_else_is_refused_before_anything_is_written() {
    let edge = Registry::start(Options::default());
    let (source, pod, mut task, _) = patched(&edge);
    image(1).push_to(&edge, "mirror/other/old", Some("v0"));
    edge.clear_requests();
    let list = task.targets[0].patches.unwrap();
    let bytes = source.blob("team/app", &list.digest).unwrap();
    let mut wrong = PatchList::parse(&bytes).unwrap();
    let layer = wrong.patches[0].layers[0].clone();
    wrong.patches[0].layers[0].plain_size += 1;
    task.targets[0].patches = Some(blob(&source, &wrong.encode().unwrap()));
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (4, "DigestMismatch"), "{report:?}");
    assert!(report.failures[0].message.contains(&layer.digest.to_string()), "{report:?}");
    assert!(is_untouched(&edge));
}

#[tokio::test]
async fn a_patch_that_the_importer_cannot_read_is_no_fault_of_the_edge() {
    let edge = Registry::start(Options::default());
    let (source, pod, task, _) = patched(&edge);
    image(1).push_to(&edge, "mirror/other/old", Some("v0"));
    edge.clear_requests();
    let list = PatchList::parse(&source.blob("team/app", &task.targets[0].patches.unwrap().digest).unwrap())
        .unwrap();
    let read = Matcher::blobs().path(list.patches[0].digest.hex());
    source.fail(read, What::Status(403, Vec::new(), String::new()));
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.failures[0].reason.as_str()), (8, "BundleUnavailable"), "{report:?}");
    assert!(report.failures[0].message.starts_with("the importer's registry"), "{report:?}");
    assert!(is_untouched(&edge));
}
