// SPDX-License-Identifier: Apache-2.0
//! An image counts as present only when all of it is there.

use krs_core::oci::platform::Platform;
use krs_core::oci::reference::Tag;
use krs_core::registry::{Client, ClientIdentity, ClientOptions, DenyList, RegistryError, Repository};
use krs_core::sync::verify_present::{Presence, PresenceError, verify_present};
use krs_testing::image::{Image, ImageBuilder, index};
use krs_testing::registry::{Matcher, Options, Registry, What};

use crate::harness::{client, options};

fn image(platform: &str, seed: u64) -> Image {
    ImageBuilder::new("app").gzip().platform(platform).layer_random(5000, seed).build()
}

/// An index of two platforms in an index, at an edge that takes anything.
fn edge() -> (Registry, Image) {
    let edge = Registry::start(Options { sparse_indexes: true, ..Options::default() });
    let inner = index(&[(&image("linux/amd64", 1), None), (&image("linux/arm64", 2), None)]);
    let outer = index(&[(&inner, None)]);
    outer.push_to(&edge, "app", Some("v1"));
    (edge, outer)
}

async fn proven(
    edge: &Registry,
    image: &Image,
    platforms: &[&str],
    tags: &[&str],
) -> Result<Presence, PresenceError> {
    let repository = client().repository(&edge.host(), &"app".parse().unwrap());
    let platforms = platforms.iter().map(|text| text.parse().unwrap()).collect::<Vec<Platform>>();
    let tags = tags.iter().map(|text| text.parse().unwrap()).collect::<Vec<Tag>>();
    verify_present(&repository, &image.digest, &platforms, &tags).await
}

#[tokio::test]
async fn an_image_is_present_if_all_of_its_content_is_there_and_its_tags_name_it() {
    let (edge, image) = edge();
    let Ok(Presence::Complete { manifests, blobs, .. }) = proven(&edge, &image, &[], &["v1"]).await else {
        panic!()
    };
    assert_eq!((manifests.len(), blobs.len()), (4, 4));
    assert_eq!(manifests.last().map(|top| top.digest), Some(image.digest));
    let none = proven(&edge, &image, &[], &["v1", "v2"]).await.unwrap();
    assert_eq!(none, Presence::Tag { tag: "v2".parse().unwrap(), found: None });
    let other = self::image("linux/amd64", 9);
    other.push_to(&edge, "app", Some("v1"));
    let moved = proven(&edge, &image, &[], &["v1"]).await.unwrap();
    assert_eq!(moved, Presence::Tag { tag: "v1".parse().unwrap(), found: Some(other.digest) });
}

#[tokio::test]
async fn t61_a_part_that_is_gone_is_named_although_the_top_still_answers() {
    let (edge, image) = edge();
    let child = &image.children[0].children[1];
    let layer = child.blobs[1].0;
    edge.delete_blob(&layer);
    assert_eq!(
        proven(&edge, &image, &[], &[]).await.unwrap(),
        Presence::Missing { what: format!("blob {layer}") }
    );
    let other = proven(&edge, &image, &["linux/amd64"], &["v1"]).await.unwrap();
    assert!(
        matches!(other, Presence::Complete { manifests, .. } if manifests.len() == 3),
        "arm64 was not asked for"
    );
    edge.delete_manifest("app", &child.digest.to_string());
    let gone = Presence::Missing { what: format!("manifest {}", child.digest) };
    assert_eq!(proven(&edge, &image, &[], &["v1"]).await.unwrap(), gone);
}

#[tokio::test]
async fn t60_a_blob_of_another_size_does_not_count() {
    let (edge, image) = edge();
    let layer = image.children[0].children[0].blobs[1].0;
    edge.fail(Matcher::any().method("HEAD").path(layer), What::LyingLength(0));
    // HEAD alone proves nothing.
    assert!(matches!(proven(&edge, &image, &[], &[]).await.unwrap(), Presence::Complete { .. }));
    let empty = vec![("content-range".to_owned(), "bytes */0".to_owned())];
    edge.fail(Matcher::blobs().path(layer), What::Status(416, empty, String::new()));
    assert_eq!(
        proven(&edge, &image, &[], &[]).await.unwrap(),
        Presence::Missing { what: format!("blob {layer}") }
    );
}

#[tokio::test]
async fn t58_a_manifest_with_other_bytes_or_no_response_is_not_present() {
    let (edge, image) = edge();
    edge.corrupt_blob(&image.children[0].digest);
    let error = proven(&edge, &image, &[], &[]).await.unwrap_err();
    assert!(matches!(error, PresenceError::Registry(RegistryError::Content { .. })), "{error}");
    edge.fail(Matcher::any(), What::Status(503, Vec::new(), String::new()));
    let error = proven(&edge, &image, &[], &[]).await.unwrap_err();
    assert!(matches!(error, PresenceError::Registry(RegistryError::Unavailable { .. })), "{error}");
}

fn repository(edge: &Registry, options: ClientOptions) -> Repository {
    Client::new(options).unwrap().repository(&edge.host(), &"app".parse().unwrap())
}

#[tokio::test]
async fn t56_authorities_and_certificates_in_memory_count_for_their_registry_only() {
    let edge = Registry::start(Options { tls: true, client_certificate: true, ..Options::default() });
    let image = image("linux/amd64", 3);
    image.push_to(&edge, "app", None);
    let other = "127.0.0.1:1".parse().unwrap();
    let pem = edge.ca_pem().unwrap().as_bytes().to_vec();
    let shown = edge.client_identity().unwrap();
    let shown = ClientIdentity {
        certificate: shown.certificate.clone(),
        key: krs_core::redact::Secret::new(shown.key.clone()),
    };
    assert!(!format!("{shown:?}").contains("PRIVATE"));
    let with = |host: &krs_core::oci::reference::RegistryHost| ClientOptions {
        ca_certs: vec![(host.clone(), pem.clone())],
        identities: vec![(edge.host(), shown.clone())],
        ..options()
    };
    let found =
        verify_present(&repository(&edge, with(&edge.host())), &image.digest, &[], &[]).await.unwrap();
    assert!(matches!(found, Presence::Complete { .. }));
    let error = verify_present(&repository(&edge, with(&other)), &image.digest, &[], &[]).await.unwrap_err();
    assert!(matches!(error, PresenceError::Registry(RegistryError::Tls { .. })), "{error}");
    let broken = ClientOptions { ca_certs: vec![(other, b"x".to_vec())], ..options() };
    assert!(Client::new(broken).unwrap_err().to_string().contains("127.0.0.1:1"));
}

#[tokio::test]
async fn t57_a_denied_address_is_not_connected_to_by_number_name_or_redirect() {
    let (edge, image) = edge();
    let deny_list = || DenyList::new(|address| address.is_loopback().then_some("a loopback address"));
    let port = edge.host().to_string().rsplit_once(':').unwrap().1.to_owned();
    for host in [edge.host().to_string(), format!("localhost:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
        let options = ClientOptions {
            deny_list: Some(deny_list()),
            plain_http: vec![host.parse().unwrap()],
            ..options()
        };
        let client = Client::new(options).unwrap();
        let error = client.ping(&host.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, RegistryError::DeniedAddress { .. }), "{host}: {error:?}");
    }
    assert_eq!(edge.connections(), 0);

    // The registry may be reached, and sends the client on.
    let elsewhere =
        Registry::start(Options { address: Some("127.0.0.2".parse().unwrap()), ..Options::default() });
    edge.fail(Matcher::manifests(), What::Redirect(format!("{}/v2/x", elsewhere.url())));
    let rule =
        |address: std::net::IpAddr| (address.to_string() == "127.0.0.2").then_some("denied in this test");
    let options = ClientOptions { deny_list: Some(DenyList::new(rule)), ..options() };
    let error = verify_present(&repository(&edge, options), &image.digest, &[], &[]).await.unwrap_err();
    let PresenceError::Registry(error) = error else { panic!("{error}") };
    assert!(matches!(error, RegistryError::DeniedAddress { .. }), "{error}");
    assert!(krs_core::error::chain(&error).contains("denied in this test"), "{error}");
    assert_eq!(elsewhere.connections(), 0);
}
