// SPDX-License-Identifier: Apache-2.0
//! The images that `cargo xtask corpus` makes from Debian and PyPI packages, put into any registry.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, Selector};
use krs_core::oci::{Descriptor, ManifestOrIndex};
use krs_core::registry::{BlobSource, Client, Repository};
use serde::Deserialize;

/// The folder that `cargo xtask corpus` wrote.
#[derive(Debug)]
pub struct Corpus {
    folder: Utf8PathBuf,
    /// The images, as `corpus.json` lists them.
    pub images: Vec<CorpusImage>,
}

/// One image of the corpus, as `corpus.json` lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorpusImage {
    /// Repository, without a registry.
    pub name: String,
    /// The tag that the image has in its repository.
    pub tag: String,
    /// Digest of the index or manifest.
    pub digest: Digest,
    /// Media type of the image's manifest or index.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// What is special about it.
    pub note: String,
}

struct Blob(std::fs::File);

impl BlobSource for Blob {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
}

impl Corpus {
    /// Reads `corpus.json` of `folder`.
    pub fn open(folder: &Utf8Path) -> Self {
        let list = std::fs::read(folder.join("corpus.json")).expect("make it with `cargo xtask corpus`");
        Self { folder: folder.to_owned(), images: serde_json::from_slice(&list).unwrap() }
    }

    /// The corpus in `$KRS_CORPUS`, which `cargo xtask test` makes.
    pub fn of_environment() -> Self {
        let folder = std::env::var("KRS_CORPUS")
            .expect("KRS_CORPUS is missing: run `cargo xtask test`, which sets it");
        Self::open(Utf8Path::new(&folder))
    }

    /// A set that wants all images from `registry`.
    pub fn set(&self, registry: &RegistryHost) -> String {
        let mut set =
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {name: corpus}\n\
                       spec:\n  destinationRegistry: edge.local:5000\n  images:\n"
                .to_owned();
        for CorpusImage { name, tag, digest, .. } in &self.images {
            set += &format!("  - image: {registry}/{name}:{tag}@{digest}\n");
        }
        set
    }

    /// Puts every image into `registry`, with its tag.
    pub async fn push(&self, client: &Client, registry: &RegistryHost) {
        for image in &self.images {
            let repository = client.repository(registry, &image.name.parse().unwrap());
            let root = Descriptor::new(image.media_type.clone(), image.digest, image.size);
            self.push_document(&repository, &root).await;
            let bytes = std::fs::read(self.path(&image.digest)).unwrap();
            let tag = Selector::Tag(image.tag.parse().unwrap());
            repository.push_manifest(&tag, &image.media_type, bytes.into()).await.unwrap();
        }
    }

    fn path(&self, digest: &Digest) -> Utf8PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    async fn push_document(&self, repository: &Repository, descriptor: &Descriptor) {
        let bytes = std::fs::read(self.path(&descriptor.digest)).unwrap();
        let manifest = ManifestOrIndex::parse(&descriptor.media_type, &bytes).unwrap();
        for child in manifest.children() {
            if matches!(manifest, ManifestOrIndex::Index(_)) {
                Box::pin(self.push_document(repository, child)).await;
            } else if !repository.has_blob(&child.digest, child.size).await.unwrap() {
                let blob = Arc::new(Blob(std::fs::File::open(self.path(&child.digest)).unwrap()));
                repository.push_blob(&child.digest, child.size, blob, None).await.unwrap();
            }
        }
        let selector = Selector::Digest(descriptor.digest);
        repository.push_manifest(&selector, &descriptor.media_type, bytes.into()).await.unwrap();
    }
}
