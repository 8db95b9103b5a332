// SPDX-License-Identifier: Apache-2.0
//! Every kind of image gets across byte for byte, and nothing that is there already is sent again.

use krs_importer::model::task::{CopyTask, DestinationEndpoint, TaskSource};
use krs_testing::distribution::{self, Distribution};
use krs_testing::image::{
    Image, ImageBuilder, cosign_signature, cosign_tag, docker_list, helm_chart, index, layers_null,
    referrers_tag, sbom, signature, with_attestations,
};
use krs_testing::registry::{Auth, Matcher, Options, Registry, What};
use krs_testing::tools::require;

use crate::harness::*;

fn image(seed: u64) -> ImageBuilder {
    ImageBuilder::new("app").gzip().layer_random(20_000, seed)
}

#[tokio::test]
async fn t48_t49_images_of_many_platforms_and_nested_indexes_arrive() {
    let (amd64, arm64) = (image(1).build(), image(2).platform("linux/arm64").build());
    let flat = with_attestations(&[&amd64, &arm64]);
    let (source, edge, report) = copied(&flat, Options::default()).await;
    assert_eq!(report.bytes_copied, blob_bytes(&edge), "{report:?}");
    assert!(by_skopeo(&source) > 0 && by_skopeo(&edge) > 0);
    copied(&index(&[(&index(&[(&amd64, None)]), None), (&arm64, None)]), Options::default()).await;
}

#[tokio::test]
async fn t48_charts_artifacts_docker_and_zstd_images_arrive() {
    let docker = ImageBuilder::new("docker").docker().layer_random(9_000, 3).build();
    for image in [
        helm_chart("shop", "1.2.3"),
        sbom(&docker),
        layers_null("marker"),
        ImageBuilder::new("zstd").zstd().layer_random(9_000, 4).build(),
        ImageBuilder::new("plain").layer_random(9_000, 5).build(),
        ImageBuilder::new("empty").empty_layer().build(),
        docker_list(&[(&docker, None)]),
        docker,
    ] {
        copied(&image, Options::default()).await;
    }
}

#[tokio::test]
async fn t50_signatures_and_sboms_arrive_and_are_found() {
    for referrers_api in [true, false] {
        let app = image(6).build();
        let (signed, bill, old) = (signature(&app), sbom(&app), cosign_signature(&app));
        let source = Registry::start(Options::default());
        let edge = Registry::start(Options { referrers_api, ..Options::default() });
        for (image, tag) in
            [(&app, None), (&signed, None), (&bill, None), (&old, Some(cosign_tag(&app.digest, "sig")))]
        {
            image.push_to(&source, "team/app", tag.as_deref());
        }
        let task = online(&source, &edge, vec![target(&source.host(), "team/app", &app.digest, "v1")]);
        let (report, code) = Pod::new().run(&task).await;
        assert_eq!(code, 0, "{report:?}");
        for image in [&app, &signed, &bill, &old] {
            arrived(image, &edge);
        }
        assert_eq!(edge.digest("mirror/team/app", &cosign_tag(&app.digest, "sig")), Some(old.digest));
        let fallback = edge.manifest("mirror/team/app", &referrers_tag(&app.digest));
        assert_eq!(fallback.is_some(), !referrers_api);
    }
}

#[tokio::test]
async fn t68_what_is_there_already_is_not_sent_again() {
    let both = index(&[(&image(7).build(), None), (&image(8).platform("linux/arm64").build(), None)]);
    let (source, edge, _) = copied(&both, Options::default()).await;
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &both.digest, "v1")]);
    edge.clear_requests();
    source.clear_requests();
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.done, report.bytes_copied, report.blobs_copied), (0, 1, 0, 0));
    assert_eq!(source.requests().len(), 0, "the source is not asked at all");
    assert!(edge.requests().iter().all(|r| matches!(r.method.as_str(), "GET" | "HEAD")));

    // One layer is lost, and the tag is moved.
    let (lost, bytes) = both.children[0].blobs[1].clone();
    edge.delete_blob(&lost);
    both.children[0].push_to(&edge, "other", None);
    edge.delete_blob(&lost);
    edge.delete_manifest("mirror/team/app", "v1");
    edge.clear_requests();
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.bytes_copied), (0, bytes.len() as u64), "{report:?}");
    assert_eq!(blob_bytes(&edge), bytes.len() as u64);
    arrived(&both, &edge);
}

#[tokio::test]
async fn blobs_of_other_repositories_are_linked_and_not_sent() {
    let image = image(9).build();
    let (source, edge, _) = copied(&image, Options::default()).await;
    image.push_to(&source, "team/copy", None);
    let mut again = target(&source.host(), "team/copy", &image.digest, "v1");
    again.mount_from = vec!["not/there".parse().unwrap(), "mirror/team/app".parse().unwrap()];
    edge.clear_requests();
    let (report, code) = Pod::new().run(&online(&source, &edge, vec![again])).await;
    assert_eq!((code, report.blobs_mounted, report.bytes_copied), (0, 2, 0), "{report:?}");
    assert_eq!((blob_bytes(&edge), by_skopeo(&edge)), (0, 0));
}

#[tokio::test]
async fn a_bundle_is_copied_with_the_pods_token_between_private_registries_with_own_authorities() {
    let image = image(10).build();
    let token = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";
    let source =
        Registry::start(Options { tls: true, auth: Auth::basic("krs", token), ..Options::default() });
    let auth = Auth::bearer("me", "pw:1");
    let edge = Registry::start(Options { tls: true, client_certificate: true, auth, ..Options::default() });
    let repository = format!("{}/{}", image.digest.hex(), image.digest.hex());
    image.push_to(&source, &repository, None);
    let pod = Pod::new();
    pod.mount("token", &[("token", token)]);
    let identity = edge.client_identity().unwrap();
    pod.mount(
        "destination",
        &[
            ("username", "me"),
            ("password", "pw:1"),
            ("tls.crt", &identity.certificate),
            ("tls.key", &identity.key),
        ],
    );
    pod.mount("destination-ca", &[("site.pem", edge.ca_pem().unwrap())]);
    let mut wanted = target(&source.host(), &repository, &image.digest, "v1");
    wanted.repository = "mirror/team/app".parse().unwrap();
    let ca = source.ca_pem().unwrap().to_owned();
    let from = TaskSource::Bundle { digest: image.digest, name: "site".to_owned(), ca };
    let task = CopyTask { destination: endpoint(&edge), source: from, targets: vec![wanted] };
    let (report, code) = pod.run(&task).await;
    assert_eq!(code, 0, "{report:?}");
    arrived(&image, &edge);
    assert!(by_skopeo(&edge) > 0);
}

/// A task that takes an image out of a bundle, some of whose layers are not there.
fn delta(source: &Registry, edge: &Registry, image: &Image, mount_from: &[&str]) -> (Pod, CopyTask) {
    let pod = Pod::new();
    pod.mount("token", &[("token", "t")]);
    let mut wanted = target(&source.host(), "team/app", &image.digest, "v1");
    wanted.mount_from = mount_from.iter().map(|name| name.parse().unwrap()).collect();
    let ca = source.ca_pem().unwrap().to_owned();
    let from = TaskSource::Bundle { digest: image.digest, name: "delta".to_owned(), ca };
    (pod, CopyTask { destination: endpoint(edge), source: from, targets: vec![wanted] })
}

#[tokio::test]
async fn t32_a_delta_finds_its_base_at_the_edge_or_is_refused_before_anything_is_written() {
    let (old, new) = (image(40).build(), image(40).layer_random(9000, 41).build());
    let base =
        old.blobs.iter().find(|(digest, _)| new.blobs.iter().any(|(other, _)| other == digest)).unwrap();
    let auth = || Auth::basic("krs", "t");
    for mounts in [true, false] {
        let source = Registry::start(Options { tls: true, auth: auth(), ..Options::default() });
        new.push_to(&source, "team/app", None);
        source.delete_blob(&base.0);
        let edge = Registry::start(Options { mounts, ..Options::default() });
        let (pod, task) = delta(&source, &edge, &new, &["other/old"]);
        let (report, code) = pod.run(&task).await;
        assert_eq!((code, report.failures[0].reason.as_str()), (6, "BaseMissing"), "{report:?}");
        let message = &report.failures[0].message;
        assert!(message.contains(&base.0.to_string()) && message.contains("other/old"), "{message}");
        assert!(
            edge.requests().iter().all(|r| matches!(r.method.as_str(), "GET" | "HEAD")),
            "nothing was written"
        );

        // The prefix of the destination stands in front of what an earlier bundle called `other/old`.
        old.push_to(&edge, "mirror/other/old", Some("v0"));
        let (report, code) = pod.run(&task).await;
        assert_eq!((code, report.done), (0, 1), "{report:?}");
        arrived(&new, &edge);
        assert_eq!(report.blobs_mounted > 0, mounts, "{report:?}");
    }
}

#[tokio::test]
async fn only_the_platforms_asked_for_travel_and_a_refusal_says_what_to_change() {
    let (amd64, arm64) = (image(11).build(), image(12).platform("linux/arm64").build());
    let both = index(&[(&amd64, None), (&arm64, None)]);
    for sparse_indexes in [true, false] {
        let source = Registry::start(Options::default());
        let edge = Registry::start(Options { sparse_indexes, ..Options::default() });
        both.push_to(&source, "team/app", None);
        let mut wanted = target(&source.host(), "team/app", &both.digest, "v1");
        wanted.platforms = vec!["linux/arm64".parse().unwrap()];
        let (report, code) = Pod::new().run(&online(&source, &edge, vec![wanted])).await;
        assert!(edge.manifest("mirror/team/app", &amd64.digest.to_string()).is_none());
        if sparse_indexes {
            assert_eq!((code, report.done), (0, 1), "{report:?}");
            arrived(&arm64, &edge);
        } else {
            assert_eq!((code, report.failures[0].reason.as_str()), (1, "SparseIndexRefused"), "{report:?}");
            assert!(report.failures[0].message.contains("platforms"), "{report:?}");
        }
    }
}

#[tokio::test]
async fn t66_distribution_2_and_3_take_images_with_their_signatures() {
    for (program, tls) in [("docker-registry", false), ("registry", true)] {
        let private = distribution::Options { password: true, tls, ..distribution::Options::default() };
        let edge = Distribution::start(&require(program), private);
        let source = Registry::start(Options::default());
        let both = index(&[(&image(13).build(), None), (&image(14).platform("linux/arm64").build(), None)]);
        let signed = signature(&both);
        both.push_to(&source, "team/app", None);
        signed.push_to(&source, "team/app", None);
        let pod = Pod::new();
        pod.mount("destination", &[("username", distribution::USER), ("password", distribution::PASSWORD)]);
        if let Some(pem) = edge.ca_pem() {
            pod.mount("destination-ca", &[("ca.crt", pem)]);
        }
        let destination =
            DestinationEndpoint { registry: edge.host(), plain_http: !tls, insecure_skip_verify: false };
        let targets = vec![target(&source.host(), "team/app", &both.digest, "v1")];
        let task = CopyTask { destination, source: TaskSource::Registry { plain_http: true }, targets };
        let (report, code) = pod.run(&task).await;
        assert_eq!((code, report.done), (0, 1), "{program}: {report:?}\n{}", edge.log());
        let (again, code) = pod.run(&task).await;
        assert_eq!((code, again.bytes_copied), (0, 0), "{program}: {again:?}");
    }
}

#[tokio::test]
async fn t50_a_registry_that_says_that_it_lists_a_referrer_is_not_asked_whether_it_does() {
    // Its API lists nothing yet: only the answer to the manifest says that it will.
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let app = image(60).build();
    let (signed, bill) = (signature(&app), sbom(&app));
    for image in [&app, &signed, &bill] {
        image.push_to(&source, "team/app", None);
    }
    let listing = Matcher::any().method("GET").path("/referrers/");
    edge.fail(listing, What::Status(404, Vec::new(), String::new()));
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &app.digest, "v1")]);
    let (report, code) = Pod::new().run(&task).await;
    assert_eq!((code, report.referrers_missing), (0, 0), "{report:?}");
    for image in [&app, &signed, &bill] {
        arrived(image, &edge);
    }
    assert_eq!(edge.manifest("mirror/team/app", &referrers_tag(&app.digest)), None, "no list is written");
    assert!(!edge.requests().iter().any(|request| request.path.contains("/referrers/")));
}
