// SPDX-License-Identifier: Apache-2.0
//! A sender who makes bundles, a drop folder, and an importer's intake that watches it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle;
use krs_core::bundle::sign::{SecretKey, Signatures, generate};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;
use krs_core::progress::{NoProgress, Progress};
use krs_core::registry::{Client, ClientOptions};
use krs_core::set;
use krs_core::sync::plan::{PlanOptions, plan};
use krs_core::sync::pull::pull;
use krs_core::sync::resolve::{Referrers, ResolveOptions, resolve};
use krs_importer::adapters::api_client::{Limits, limited};
use krs_importer::adapters::bundle_store::{BundleStore, ReadFault};
use krs_importer::adapters::events::Events;
use krs_importer::adapters::follow::Pace;
use krs_importer::adapters::heartbeat::{Heartbeats, Watches};
use krs_importer::adapters::high_water_marks::HighWaterMarks;
use krs_importer::adapters::metrics::Metrics;
use krs_importer::app::intake::{Intake, VerificationOptions};
use krs_importer::app::receipts::{ReceiptPace, ReceiptWriter};
use krs_importer::model::bundle_inventory::BundleInventory;
use krs_importer::model::config::Config;
use krs_importer::model::required_images::{MissingImage, RequiredImages, SetDemand, SetName};
use krs_testing::git::Checkout;
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Options, Registry};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::api::FakeApi;

/// Longest time that anything here takes.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Watches are not looked after while a test runs.
const SLOW: Pace = Pace {
    compare: Duration::from_secs(3600),
    max_age: Duration::from_secs(3600),
    limit: Duration::from_secs(7200),
    sweep: Duration::from_secs(2),
};

/// A key and what makes others trust it.
pub(crate) struct Key {
    pub(crate) secret: SecretKey,
    pub(crate) public: String,
}

impl Key {
    pub(crate) fn new() -> Self {
        let pair = generate(None).unwrap();
        Self { secret: SecretKey::parse(pair.secret.expose(), None, "k").unwrap(), public: pair.public }
    }
}

/// The sender and the site. The importer is stopped and started by [`World::start`].
pub(crate) struct World {
    pub(crate) api: FakeApi,
    pub(crate) config: Config,
    pub(crate) key: Key,
    pub(crate) image: Image,
    /// How long the API server may take.
    pub(crate) limits: Limits,
    /// How media are read to their end.
    pub(crate) passes: VerificationOptions,
    /// How often the watch of ImageBundles is looked after.
    pub(crate) pace: Pace,
    /// How often what is still to be copied is written.
    pub(crate) details: Duration,
    /// How many sets list the image in each bundle.
    pub(crate) sets: usize,
    /// When receipts are written; none: never.
    pub(crate) receipts: Option<ReceiptPace>,
    /// How long media wait for theirs.
    pub(crate) receipt_limit: Option<Duration>,
    source: Registry,
    home: tempfile::TempDir,
}

/// An importer's intake that runs.
pub(crate) struct Running {
    pub(crate) stock: watch::Receiver<Arc<BundleInventory>>,
    pub(crate) demand: watch::Sender<Arc<RequiredImages>>,
    pub(crate) library: Arc<BundleStore>,
    pub(crate) marks: Arc<HighWaterMarks>,
    pub(crate) metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    receipts: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(home.path()).unwrap();
        let (keys, folder) = (root.join("keys"), root.join("bundles"));
        for path in [&keys, &folder, &root.join("sender")] {
            std::fs::create_dir(path).unwrap();
        }
        let key = Key::new();
        std::fs::write(keys.join("ci.pub"), &key.public).unwrap();
        let mut config = Config::parse(
            "namespace: krs-system\nallowedDestinations: [edge.local:5000]\n\
             registry: {host: 'krs-importer.krs-system.svc:5443'}\njobs: {image: 'krs-importer:1'}\n",
        )
        .unwrap();
        (config.trusted_keys, config.intake.folder) = (keys, folder);
        config.site = Some("site-1".to_owned());
        config.intake.scan_interval = Duration::from_millis(50);
        let image = ImageBuilder::new("app").layer_random(200_000, 7).build();
        let source = Registry::start(Options::default());
        image.push_to(&source, "app", Some("1"));
        Self {
            api: FakeApi::default(),
            config,
            key,
            image,
            limits: Limits::default(),
            passes: VerificationOptions::default(),
            pace: SLOW,
            details: Duration::ZERO,
            sets: 1,
            receipts: None,
            receipt_limit: None,
            source,
            home,
        }
    }

    /// A path in the drop folder.
    pub(crate) fn at(&self, name: &str) -> Utf8PathBuf {
        self.config.intake.folder.join(name)
    }

    /// Makes a bundle away from the drop folder, signed where there is a key.
    pub(crate) async fn make(
        &self,
        name: &str,
        more: &str,
        options: PlanOptions,
        key: Option<&Key>,
    ) -> Utf8PathBuf {
        self.make_of(name, more, &format!("{}@{}", self.tag(), self.image.digest), options, key).await
    }

    /// The image by its tag alone.
    pub(crate) fn tag(&self) -> String {
        format!("{}/app:1", self.source.host())
    }

    /// Moves the tag at the sender's to another image, and makes a good bundle of it in the drop folder.
    pub(crate) async fn drop_moved(&self, name: &str, sequence: u64) -> Image {
        let image = ImageBuilder::new("app").layer_random(50_000, sequence).build();
        image.push_to(&self.source, "app", Some("1"));
        let path = self.make_of(name, "", &self.tag(), numbered(sequence), Some(&self.key)).await;
        std::fs::copy(&path, self.at(name)).unwrap();
        image
    }

    /// Makes a bundle of one set with one reference.
    async fn make_of(
        &self,
        name: &str,
        more: &str,
        reference: &str,
        options: PlanOptions,
        key: Option<&Key>,
    ) -> Utf8PathBuf {
        let mut checkout = Checkout::new();
        for n in 0..self.sets {
            let name = if n == 0 { format!("app{more}") } else { format!("app{more}-{n}") };
            checkout.write(
                &format!("images-{n}.yaml"),
                format!(
                    "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\n  \
                     namespace: apps\nspec:\n  destinationRegistry: edge.local:5000\n  images:\n  - image: {reference}\n"
                ),
            );
        }
        checkout.commit("Change the images");
        let loaded = set::load(&[checkout.path().to_owned()], None).unwrap();
        let client = Client::new(ClientOptions::default()).unwrap();
        let silent: Arc<dyn Progress> = Arc::new(NoProgress);
        let merged = set::merge(&loaded.sets).unwrap();
        let resolved = resolve(
            &client,
            &merged,
            ResolveOptions {
                jobs: 2,
                referrers: Referrers::None,
                require_platforms: false,
                sources: Vec::new(),
            },
            &silent,
        )
        .await
        .unwrap();
        let plan = plan(&loaded, &resolved, &options, jiff::Timestamp::now()).unwrap();
        let path = Utf8Path::from_path(self.home.path()).unwrap().join("sender").join(name);
        pull(&client, &plan, Signatures::default(), &path, 2, &silent).await.unwrap();
        if let Some(key) = key {
            bundle::sign(&path, &[], &key.secret, bundle::Bundle::images).unwrap();
        }
        path
    }

    /// Makes a good bundle of a sequence in the drop folder.
    pub(crate) async fn drop(&self, name: &str, sequence: u64) -> Utf8PathBuf {
        let path = self.make(name, "", numbered(sequence), Some(&self.key)).await;
        std::fs::copy(&path, self.at(name)).unwrap();
        self.at(name)
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(self.api.client())
    }

    /// Starts an importer's intake that reaches the API server by this client.
    pub(crate) fn start_with(&self, client: kube::Client) -> Running {
        let watches = Watches::new(Heartbeats::default(), Metrics::new().0);
        let client = limited(client, self.limits, Arc::clone(&watches));
        let events = Events::new(client.clone(), None);
        let (library, faults) = BundleStore::new();
        let (demand, demanded) = watch::channel(Arc::<RequiredImages>::default());
        let (stock, stocked) = watch::channel(Arc::<BundleInventory>::default());
        let config = Arc::new(self.config.clone());
        let metrics = Metrics::new().0;
        let marks = HighWaterMarks::new(client.clone(), &config.namespace);
        let (store, kept, measured) = (Arc::clone(&library), Arc::clone(&marks), metrics.clone());
        let (outcomes, finished) = watch::channel(None);
        let (records, recorded) = watch::channel(Arc::default());
        let to_media = config.receipts.to_media;
        let receipts = self.receipts.map(|pace| {
            let (client, measured) = (client.clone(), metrics.clone());
            let writer = ReceiptWriter::new(&config, client, demanded.clone(), finished, measured).unwrap();
            let folder = config.receipts.folder.clone();
            let writer = if to_media { writer.with_media(folder, records) } else { writer };
            tokio::spawn(writer.with_pace(pace).run(std::future::pending()))
        });
        let intake = Intake::new(config, client, events, metrics, store, faults, kept, demanded, stock);
        let intake = intake.with_outcomes(outcomes);
        let intake = if to_media { intake.with_receipts(recorded) } else { intake };
        let intake = match self.receipt_limit {
            Some(limit) => intake.with_receipt_limit(limit),
            None => intake,
        };
        let intake = intake.with_verification(self.passes.clone()).with_details(self.details).with_watch(
            watches,
            Heartbeats::default(),
            self.pace,
        );
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(intake.run(async move {
            let _ = stopped.await;
        }));
        Running { stock: stocked, demand, library, marks, metrics: measured, stop, task, receipts }
    }

    /// Waits until the status of an ImageBundle is as wanted.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let status = self.api.get("imagebundles", "", name).map(|object| object["status"].clone());
                if let Some(status) = status.filter(|status| wanted(status)) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let result = tokio::time::timeout(TIMEOUT, waiting).await;
        result.unwrap_or_else(|_| panic!("{name}: {:#?}", self.api.all("imagebundles")))
    }

    /// Waits until a condition of an ImageBundle has this status and reason.
    pub(crate) async fn condition(&self, name: &str, type_: &str, status: &str, reason: &str) -> Value {
        self.until(name, |all| is(all, type_, status, reason)).await
    }

    pub(crate) fn events(&self, reason: &str) -> usize {
        self.api.all("events").iter().filter(|event| event["reason"] == reason).count()
    }

    /// Waits for this number of Events, and no more of them: an Event is written after the status that it explains.
    pub(crate) async fn events_are(&self, reason: &str, number: usize) {
        let waiting = async {
            while self.events(reason) < number {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(TIMEOUT, waiting).await;
        assert!(waited.is_ok() && self.events(reason) == number, "{reason}: {:#?}", self.api.all("events"));
    }
}

impl Running {
    pub(crate) async fn stock(&mut self, wanted: impl Fn(&BundleInventory) -> bool) -> BundleInventory {
        let waiting =
            tokio::time::timeout(TIMEOUT, self.stock.wait_for(|stock| stock.scanned && wanted(stock)));
        let result = waiting.await.map(|stock| (**stock.unwrap()).clone());
        result.unwrap_or_else(|_| panic!("{:#?}", self.stock.borrow()))
    }

    /// Says that one set misses these images.
    pub(crate) fn missing(&self, missing: &[Digest]) {
        self.needs(SetDemand { missing: missing_images(missing), ..SetDemand::default() });
    }

    /// Says that one set of a namespace lists this image and misses it.
    pub(crate) fn wanted(&self, namespace: &str, image: (Reference, Digest)) {
        let (missing, images) =
            (missing_images(&[image.1]), [(image.0, Some(image.1))].into_iter().collect());
        let set = SetDemand { images, missing, ..SetDemand::default() };
        let name = SetName { namespace: namespace.to_owned(), name: "app".to_owned() };
        self.demand.send_replace(Arc::new(RequiredImages {
            complete: true,
            sets: BTreeMap::from([(name, Arc::new(set))]),
        }));
    }

    /// Says that a Job copies from a bundle.
    pub(crate) fn copying(&self, from: Digest, missing: Digest) {
        let (missing, copying_from) = (missing_images(&[missing]), BTreeSet::from([from]));
        self.needs(SetDemand { missing, copying_from, ..SetDemand::default() });
    }

    /// Says what the only set needs.
    pub(crate) fn needs(&self, set: SetDemand) {
        let name = SetName { namespace: "apps".to_owned(), name: "app".to_owned() };
        self.demand.send_replace(Arc::new(RequiredImages {
            complete: true,
            sets: BTreeMap::from([(name, Arc::new(set))]),
        }));
    }

    pub(crate) fn report(&self, bundle: Digest, damaged: bool) {
        self.library.report(ReadFault { bundle, damaged, message: "a transfer failed at byte 7".to_owned() });
    }

    /// Says that the only set lists this image and misses nothing.
    pub(crate) fn satisfied(&self, image: (Reference, Digest)) {
        let images = [(image.0, Some(image.1))].into_iter().collect();
        self.needs(SetDemand { images, ..SetDemand::default() });
    }

    /// As `kill -9` does.
    pub(crate) async fn kill(self) {
        for task in std::iter::once(self.task).chain(self.receipts) {
            task.abort();
            let _ = task.await;
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        self.receipts.inspect(tokio::task::JoinHandle::abort);
    }
}

fn missing_images(digests: &[Digest]) -> Vec<MissingImage> {
    digests.iter().map(|digest| MissingImage { digest: *digest, platforms: Vec::new() }).collect()
}

pub(crate) fn is(status: &Value, type_: &str, state: &str, reason: &str) -> bool {
    let all = status["conditions"].as_array();
    let mut all = all.into_iter().flatten();
    all.any(|c| c["type"] == type_ && c["status"] == state && c["reason"] == reason)
}

/// Options of a bundle with a number.
pub(crate) fn numbered(sequence: u64) -> PlanOptions {
    PlanOptions { stream: "prod".parse().unwrap(), sequence: Some(sequence), ..PlanOptions::default() }
}

/// Changes one byte of a file in place.
pub(crate) fn flip(path: &Utf8Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Where the content of the last blob begins.
pub(crate) fn last_blob(path: &Utf8Path) -> u64 {
    let bundle = bundle::Bundle::open(path, &bundle::Policy::default()).unwrap();
    let largest = bundle.manifest().blobs.iter().max_by_key(|blob| blob.size).unwrap();
    // The content is random: its beginning is found in the file.
    let mut begin = [0; 32];
    bundle.read_at(largest, 0, &mut begin).unwrap();
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(32).position(|window| window == begin).unwrap() as u64
}
