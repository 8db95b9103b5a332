// SPDX-License-Identifier: Apache-2.0
//! A bundle as a read-only registry: our own client reads it, and so does plain HTTP.

use std::sync::Arc;

use bytes::Bytes;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, Selector};
use krs_core::registry::{BlobSink, Client, ClientOptions};
use krs_core::sync::rebuild::{RebuiltLayers, Scratch};
use krs_core::sync::serve::{ServeOptions, Server, Tls};
use krs_testing::image::{Image, ImageBuilder, index, sbom};
use krs_testing::referrers::referrers_of;
use krs_testing::registry::Options;
use krs_testing::tls::Authority;

use crate::harness::{Site, client, options};

struct Memory(Vec<u8>);

impl BlobSink for Memory {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.truncate(usize::try_from(offset).unwrap());
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Serves `site`'s images; the server ends with the returned sender.
async fn serve(site: &mut Site, tls: Option<Tls>) -> (RegistryHost, tokio::sync::oneshot::Sender<()>) {
    let (bundle, images) = site.open("x.krs.tar").await;
    let options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), tls };
    let rebuilt = Arc::new(RebuiltLayers::new(Scratch::default()));
    let server = Server::bind(bundle, images, (rebuilt, Vec::new()), &options).await.unwrap();
    let host = server.address().to_string().parse().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    (host, stop)
}

fn images() -> (Image, Image) {
    let amd64 = ImageBuilder::new("app").layer_random(600_000, 1).build();
    let arm64 = ImageBuilder::new("app").layer_random(1_000, 2).platform("linux/arm64").build();
    (index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]), amd64)
}

async fn read(client: &Client, host: &RegistryHost, name: &str, image: &Image) {
    let repository = client.repository(host, &name.parse().unwrap());
    for manifest in image.manifests() {
        let fetched = repository.manifest(&Selector::Digest(manifest.digest)).await.unwrap();
        assert_eq!(
            (&fetched.media_type, fetched.bytes),
            (&manifest.media_type, Bytes::from(manifest.manifest.clone()))
        );
        for (digest, content) in &manifest.blobs {
            let size = content.len() as u64;
            assert!(repository.has_blob(digest, size).await.unwrap());
            let mut memory = Memory(Vec::new());
            repository.blob(digest, size, &mut memory).await.unwrap();
            assert!(memory.0 == *content);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_bundle_answers_under_the_source_name_and_under_the_edge_name() {
    let mut site = Site::new();
    let (both, amd64) = images();
    site.add(&both, "team/app", "1.0");
    let bill = sbom(&amd64);
    bill.push_to(&site.source, "team/app", None);
    let (host, _stop) = serve(&mut site, None).await;
    let client = client();
    read(&client, &host, "team/app", &both).await;
    // A source registry with a port in its name has no name that is a repository path, so only `quay.io/…` would do.
    let repository = client.repository(&host, &"team/app".parse().unwrap());
    let tags = repository.readable_tags().await.tags;
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["1.0".parse().unwrap()]);
    let tagged = repository.head_manifest(&Selector::Tag("1.0".parse().unwrap())).await.unwrap();
    assert_eq!(tagged.map(|descriptor| descriptor.digest), Some(both.digest));
    assert_eq!(referrers_of(&repository, &amd64.digest).await, [bill.digest]);
    let absent = repository.head_manifest(&Selector::Digest(Digest::of(b"absent"))).await.unwrap();
    assert_eq!(absent, None);
    let other = client.repository(&host, &"team/other".parse().unwrap());
    let hidden = other.head_manifest(&Selector::Digest(both.digest)).await.unwrap();
    assert_eq!(hidden, None, "content is read through the repositories that have it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_served_over_tls() {
    let mut site = Site::new();
    let (both, _) = images();
    site.add(&both, "team/app", "1.0");
    let authority = Authority::new("test");
    let identity = authority.server(&["127.0.0.1"]);
    let tls = Tls {
        certificate: identity.certificate.clone().into_bytes(),
        key: identity.key.clone().into_bytes(),
    };
    let (host, _stop) = serve(&mut site, Some(tls)).await;
    let ca_file = site.archive("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let client = Client::new(ClientOptions { ca_files: vec![ca_file], ..options() }).unwrap();
    read(&client, &host, "team/app", &both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_a_damaged_blob_is_never_served_as_a_complete_answer() {
    let mut site = Site::with(Options::default(), Options::default());
    let (both, amd64) = images();
    site.add(&both, "team/app", "1.0");
    let (host, _stop) = serve(&mut site, None).await;
    let (digest, content) = amd64.blobs.iter().max_by_key(|(_, content)| content.len()).unwrap();
    let path = site.archive("x.krs.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|window| window == &content[..64]).unwrap();
    bytes[at + 300_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let repository = client().repository(&host, &"team/app".parse().unwrap());
    let mut memory = Memory(Vec::new());
    let result = repository.blob(digest, content.len() as u64, &mut memory).await;
    assert!(result.is_err());
    assert!(memory.0.len() < content.len(), "the last bytes of a damaged blob are held back");
}
