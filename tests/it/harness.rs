// SPDX-License-Identifier: Apache-2.0
//! A connected side, a drive and an edge, in one temporary folder.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::sign::Signatures;
use krs_core::bundle::{Bundle, BundledImages, Policy};
use krs_core::progress::{NoProgress, Progress};
use krs_core::registry::{Client, ClientOptions, RetryPolicy};
use krs_core::set::{self, LoadedSets};
use krs_core::sync::plan::{Plan, PlanOptions, plan};
use krs_core::sync::pull::{PullError, pull};
use krs_core::sync::push::{PushError, PushReport, push};
use krs_core::sync::resolve::{ImageErrors, Referrers, ResolveOptions, Resolved, resolve};
use krs_testing::git::Checkout;
use krs_testing::image::Image;
use krs_testing::registry::{Options, Registry};

pub struct Site {
    pub source: Registry,
    pub edge: Registry,
    pub checkout: Checkout,
    /// Which signatures, SBOMs and attestations travel.
    pub referrers: Referrers,
    /// Platforms that the set asks for; empty: all.
    pub platforms: Vec<String>,
    folder: tempfile::TempDir,
    images: Vec<String>,
    committed: String,
}

/// Options that give up soon, so that a test of failure is quick.
pub fn options() -> ClientOptions {
    let retry = RetryPolicy {
        attempts: 4,
        base: std::time::Duration::from_millis(5),
        max: std::time::Duration::from_millis(50),
        ..RetryPolicy::default()
    };
    let stall_timeout = std::time::Duration::from_secs(2);
    // Whatever proxies the machine has: all is on loopback.
    ClientOptions { retry, stall_timeout, proxies: false, ..ClientOptions::default() }
}

pub fn client() -> Client {
    Client::new(options()).unwrap()
}

pub fn silent() -> Arc<dyn Progress> {
    Arc::new(NoProgress)
}

impl Site {
    pub fn new() -> Self {
        Self::with(Options::default(), Options::default())
    }

    pub fn with(source: Options, edge: Options) -> Self {
        Self {
            source: Registry::start(source),
            edge: Registry::start(edge),
            checkout: Checkout::new(),
            referrers: Referrers::All,
            platforms: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            images: Vec::new(),
            committed: String::new(),
        }
    }

    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    pub fn archive(&self, name: &str) -> Utf8PathBuf {
        self.folder().join(name)
    }

    /// Puts an image into the source registry and names it, by tag and digest, in the set.
    pub fn add(&mut self, image: &Image, repository: &str, tag: &str) {
        image.push_to(&self.source, repository, Some(tag));
        self.images.push(format!("{}/{repository}:{tag}@{}", self.source.host(), image.digest));
    }

    /// Names an image in the set without putting it anywhere.
    pub fn name(&mut self, reference: String) {
        self.images.push(reference);
    }

    /// Commits the set as it is now and reads it back.
    pub fn load(&mut self) -> LoadedSets {
        let images = self.images.iter().map(|image| format!("  - image: \"{image}\"\n")).collect::<String>();
        let platforms = match self.platforms.as_slice() {
            [] => String::new(),
            asked => format!("  platforms: [{}]\n", asked.join(", ")),
        };
        let text = format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: site\n  namespace: apps\n\
             spec:\n  destinationRegistry: edge.local:5000\n{platforms}  images:\n{images}"
        );
        if self.committed != text {
            self.checkout.write("site/images.yaml", &text);
            self.checkout.commit("Change the images");
            self.committed = text;
        }
        set::load(&[self.checkout.path().to_owned()], None).unwrap()
    }

    pub async fn resolve(&mut self, client: &Client) -> Result<(LoadedSets, Resolved), ImageErrors> {
        let loaded = self.load();
        let merged = set::merge(&loaded.sets).unwrap();
        let options = ResolveOptions {
            jobs: 4,
            referrers: self.referrers.clone(),
            require_platforms: false,
            sources: Vec::new(),
        };
        let resolved = resolve(client, &merged, options, &silent()).await?;
        Ok((loaded, resolved))
    }

    pub async fn plan(&mut self, client: &Client) -> Plan {
        let (loaded, resolved) = self.resolve(client).await.unwrap();
        plan(&loaded, &resolved, &PlanOptions::default(), jiff::Timestamp::now()).unwrap()
    }

    /// Makes the archive `name`.
    pub async fn bundle(&mut self, client: &Client, name: &str) -> Result<Utf8PathBuf, PullError> {
        let path = self.archive(name);
        let (loaded, mut resolved) = self.resolve(client).await?;
        loop {
            let plan = plan(&loaded, &resolved, &PlanOptions::default(), jiff::Timestamp::now()).unwrap();
            match pull(client, &plan, Signatures::default(), &path, 4, &silent()).await {
                Err(PullError::Referrers(errors)) => assert!(resolved.without_referrers(&errors)),
                pulled => return pulled.map(|_| path),
            }
        }
    }

    /// Makes the archive `name`, verifies it and opens it.
    pub async fn open(&mut self, name: &str) -> (Arc<Bundle>, BundledImages) {
        let path = self.bundle(&client(), name).await.unwrap();
        let bundle = Bundle::open(&path, &Policy::default()).unwrap();
        let images = bundle.verify(2, &NoProgress).unwrap();
        (Arc::new(bundle), images)
    }

    pub async fn push(&self, bundle: &Arc<Bundle>, images: &BundledImages) -> Result<PushReport, PushError> {
        let destination = self.edge.host().to_string().parse().unwrap();
        push(&client(), bundle, images, &destination, 4, &silent()).await
    }
}
