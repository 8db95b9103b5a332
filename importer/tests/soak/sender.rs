// SPDX-License-Identifier: Apache-2.0
//! Who makes the bundles: a source registry whose images change, the sets in Git, and a key.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle;
use krs_core::bundle::sign::{SecretKey, Signatures, generate};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RegistryHost;
use krs_core::progress::{NoProgress, Progress};
use krs_core::registry::{Client, ClientOptions};
use krs_core::set;
use krs_core::sync::plan::{PlanOptions, plan};
use krs_core::sync::pull::pull;
use krs_core::sync::resolve::{Referrers, ResolveOptions, resolve};
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Options, Registry};

/// Images that a set names by their tags alone; all others have a digest.
const BY_TAG: usize = 5;

/// One set: its namespace and its number there.
pub(crate) type Set = (usize, usize);

pub(crate) struct Sender {
    source: Registry,
    edge: RegistryHost,
    key: SecretKey,
    pub(crate) public_key: String,
    sets: usize,
    images: usize,
    /// How often the images of each set changed.
    versions: HashMap<Set, u32>,
    contents: HashMap<Digest, Image>,
    home: tempfile::TempDir,
}

pub(crate) fn namespace(number: usize) -> String {
    format!("team-{number}")
}

impl Sender {
    /// `sets` sets of `images` images in each namespace, for this edge registry.
    pub(crate) fn new(edge: RegistryHost, sets: usize, images: usize) -> Self {
        let pair = generate(None).unwrap();
        Self {
            source: Registry::start(Options::default()),
            edge,
            key: SecretKey::parse(pair.secret.expose(), None, "k").unwrap(),
            public_key: pair.public,
            sets,
            images,
            versions: HashMap::new(),
            contents: HashMap::new(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn image(&self, (namespace, set): Set, image: usize) -> Image {
        let version = self.versions.get(&(namespace, set)).copied().unwrap_or_default();
        ImageBuilder::new(&format!("{namespace} {set} {image} {version}"))
            .layer(format!("base {image}"))
            .layer(format!("{namespace} {set} {image} {version}"))
            .build()
    }

    fn repository((namespace, set): Set, image: usize) -> String {
        format!("team-{namespace}/set-{set}/app-{image}")
    }

    /// The images of a set as it writes them now.
    pub(crate) fn references(&self, set: Set) -> Vec<String> {
        let reference = |image: usize| {
            let tag = format!("{}/{}:1", self.source.host(), Self::repository(set, image));
            if image < BY_TAG { tag } else { format!("{tag}@{}", self.image(set, image).digest) }
        };
        (0..self.images).map(reference).collect()
    }

    /// Digest and place at the edge of each image of a set.
    pub(crate) fn wanted(&self, set: Set) -> Vec<(String, Digest)> {
        (0..self.images).map(|image| (Self::repository(set, image), self.image(set, image).digest)).collect()
    }

    /// Builds the images of a set, also again.
    pub(crate) fn change(&mut self, set: Set) {
        let version = self.versions.entry(set).or_default();
        *version += 1;
        // Those from before are copied by nobody any more once the next change comes.
        for image in 0..self.images {
            let image_now = self.image(set, image);
            image_now.push_to(&self.source, &Self::repository(set, image), Some("1"));
            self.contents.insert(image_now.digest, image_now);
        }
    }

    /// Forgets all images but those of now.
    pub(crate) fn forget(&mut self) {
        let sets = self.versions.keys().copied().collect::<Vec<_>>();
        let now = sets.iter().flat_map(|set| self.wanted(*set)).map(|(_, digest)| digest);
        let now = now.collect::<std::collections::HashSet<_>>();
        self.contents.retain(|digest, _| now.contains(digest));
        self.source.collect_garbage();
        self.source.clear_requests();
    }

    /// An image that some bundle has.
    pub(crate) fn content(&self, digest: &Digest) -> Option<&Image> {
        self.contents.get(digest)
    }

    /// Makes a bundle of all sets of a namespace as they are now. It happens at once for everybody else.
    pub(crate) fn bundle(&self, namespace: usize, sequence: u64, at: Timestamp) -> Utf8PathBuf {
        let home = Utf8Path::from_path(self.home.path()).unwrap();
        let path = home.join(format!("stream-{namespace}-{sequence}.krs.tar"));
        let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        std::thread::scope(|scope| {
            let making = || runtime().block_on(self.make(namespace, sequence, at, &path));
            scope.spawn(making).join().unwrap();
        });
        path
    }

    async fn make(&self, namespace: usize, sequence: u64, at: Timestamp, path: &Utf8Path) {
        let git = tempfile::tempdir().unwrap();
        let git = Utf8Path::from_path(git.path()).unwrap();
        for set in 0..self.sets {
            std::fs::write(git.join(format!("set-{set}.yaml")), self.text((namespace, set))).unwrap();
        }
        let loaded = set::load(&[git.to_owned()], None).unwrap();
        let client = Client::new(ClientOptions::default()).unwrap();
        let silent: Arc<dyn Progress> = Arc::new(NoProgress);
        let merged = set::merge(&loaded.sets).unwrap();
        let options = ResolveOptions {
            jobs: 8,
            referrers: Referrers::None,
            require_platforms: false,
            sources: Vec::new(),
        };
        let resolved = resolve(&client, &merged, options, &silent).await.unwrap();
        let options = PlanOptions {
            stream: format!("stream-{namespace}").parse().unwrap(),
            sequence: Some(sequence),
            source_date: Some(at),
            ..PlanOptions::default()
        };
        let plan = plan(&loaded, &resolved, &options, at).unwrap();
        pull(&client, &plan, Signatures::default(), path, 8, &silent).await.unwrap();
        bundle::sign(path, &[], &self.key, bundle::Bundle::images).unwrap();
    }

    fn text(&self, set: Set) -> String {
        let mut text = format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: set-{}\n  \
             namespace: {}\nspec:\n  destinationRegistry: {}\n  images:\n",
            set.1,
            namespace(set.0),
            self.edge,
        );
        for reference in self.references(set) {
            writeln!(text, "  - image: {reference}").unwrap();
        }
        text
    }
}
