// SPDX-License-Identifier: Apache-2.0
//! A site for the tests: an API server in memory, a registry in this process, a clock that stands still, and somebody who
//! runs the copy Jobs.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use krs_core::bundle::StreamName;
use krs_core::crd::EdgeImageSet;
use krs_core::oci::digest::Digest;
use krs_core::registry::DenyList;
use krs_importer::adapters::events::Events;
use krs_importer::adapters::heartbeat::Heartbeats;
use krs_importer::adapters::high_water_marks::HighWaterMarks;
use krs_importer::adapters::lease::Leases;
use krs_importer::adapters::metrics::Metrics;
use krs_importer::adapters::stored::StoredSet;
use krs_importer::app::reconcile::{Context, ReconcileError, Reconciler, reconcile};
use krs_importer::model::bundle_inventory::{BundleInventory, StockBundle, StockImage};
use krs_importer::model::config::{AllowedDestination, Config};
use krs_importer::model::marks::MarkComparison;
use krs_importer::model::policy::{AllowList, Destinations};
use krs_importer::model::readers::Readers;
use krs_importer::model::required_images::RequiredImages;
use krs_importer::model::task::CopyTask;
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Auth, Options, Registry};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::FakeApi;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
pub(crate) const SETS: &str = "edgeimagesets";

pub(crate) struct World {
    pub(crate) api: FakeApi,
    pub(crate) edge: Registry,
    pub(crate) images: Vec<Image>,
    pub(crate) deny_list: DenyList,
    pub(crate) allowed: Vec<AllowedDestination>,
    /// More of the configuration, in YAML.
    pub(crate) config: String,
    pub(crate) max_jobs: usize,
    /// Who may read the images of the drive, and whether the site shares them with everybody.
    pub(crate) readers: Readers,
    pub(crate) shared: bool,
    /// Whether the sets of the drive name the images by tags alone.
    pub(crate) bare: bool,
    /// What the mark of its stream says of the drive.
    pub(crate) standing: MarkComparison,
    /// Namespace of the importer.
    pub(crate) namespace: String,
    /// Its Lease; none: it is not asked for.
    pub(crate) leases: Option<Arc<Leases>>,
    /// Namespaces that the importer serves; empty: all.
    pub(crate) namespaces: Vec<String>,
    pub(crate) heartbeats: Heartbeats,
    /// Of all importers of this site.
    pub(crate) metrics: Metrics,
    clock: Arc<Mutex<Timestamp>>,
    stock: watch::Sender<Arc<BundleInventory>>,
    demand: watch::Sender<Arc<RequiredImages>>,
}

impl World {
    /// A site whose drive holds `count` images.
    pub(crate) fn new(count: usize, auth: Auth) -> Self {
        let edge = Registry::start(Options { auth, ..Options::default() });
        let images =
            (0..count).map(|n| ImageBuilder::new(&format!("app{n}")).layer(format!("layer {n}")).build());
        let images = images.collect::<Vec<_>>();
        let world = Self {
            api: FakeApi::default(),
            allowed: vec![AllowedDestination::Any(edge.host().to_string())],
            namespace: "krs-system".to_owned(),
            leases: None,
            namespaces: Vec::new(),
            heartbeats: Heartbeats::default(),
            metrics: Metrics::new().0,
            edge,
            config: String::new(),
            max_jobs: 8,
            deny_list: DenyList::new(|_| None),
            readers: Readers::Any,
            shared: false,
            bare: false,
            standing: MarkComparison::Current,
            clock: Arc::new(Mutex::new("2026-01-01T00:00:01Z".parse().unwrap())),
            stock: watch::channel(Arc::default()).0,
            demand: watch::channel(Arc::default()).0,
            images,
        };
        world.plug_in();
        world
    }

    /// Puts the drive in, as it is now.
    pub(crate) fn plug_in(&self) {
        let image = |(n, image): (usize, &Image)| StockImage {
            reference: self.bundled(n).parse().unwrap(),
            digest: image.digest,
            platforms: Vec::new(),
            size: image.size(),
            contents: image.blobs.iter().map(|(digest, _)| *digest).collect(),
            partial: false,
            expected_in: Vec::new(),
            patches: None,
            readers: self.readers.clone(),
        };
        let bundle = StockBundle {
            name: "prod-1".to_owned(),
            stream: "prod".parse::<StreamName>().unwrap(),
            sequence: 1,
            identity: Digest::of(b"identity"),
            standing: self.standing.clone(),
            digest: Digest::of(b"bundle"),
            created_at: self.now(),
            present: true,
            ready: true,
            images: self.images.iter().enumerate().map(image).collect(),
        };
        let stock = BundleInventory {
            scanned: true,
            shared: self.shared,
            bundles: vec![bundle],
            refused: Vec::new(),
            trouble: None,
        };
        self.stock.send_replace(Arc::new(stock));
    }

    /// Pulls the drive.
    pub(crate) fn pull_out(&self) {
        self.stock.send_replace(Arc::new(BundleInventory {
            scanned: true,
            shared: self.shared,
            ..BundleInventory::default()
        }));
    }

    /// The image as a set writes it.
    pub(crate) fn reference(&self, n: usize) -> String {
        format!("example.com/shop/app{n}:1@{}", self.images[n].digest)
    }

    fn bundled(&self, n: usize) -> String {
        if self.bare { self.tag(n) } else { self.reference(n) }
    }

    /// The image by its tag alone.
    pub(crate) fn tag(&self, n: usize) -> String {
        self.reference(n).split_once('@').unwrap().0.to_owned()
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    pub(crate) fn wait(&self, seconds: i64) {
        let mut clock = self.clock.lock().unwrap();
        *clock = clock.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// Stores a set of these images, as a user would.
    pub(crate) fn set(&self, name: &str, images: &[usize], change: impl FnOnce(&mut Value)) {
        self.set_in("shop", name, images, change);
    }

    /// Stores a set in a namespace.
    pub(crate) fn set_in(
        &self,
        namespace: &str,
        name: &str,
        images: &[usize],
        change: impl FnOnce(&mut Value),
    ) {
        let images = images.iter().map(|n| json!({"image": self.reference(*n)})).collect::<Vec<_>>();
        let old = self.api.get(SETS, namespace, name);
        let generation = old.as_ref().map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap());
        let mut set = old.unwrap_or_else(|| {
            json!({
                "apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
                "metadata": {"name": name, "namespace": namespace}, "status": {"observedGeneration": -1},
            })
        });
        set["metadata"]["generation"] = json!(generation + 1);
        set["spec"] = json!({
            "destinationRegistry": self.edge.host(), "destinationTLS": {"plainHTTP": true}, "images": images,
            "parallelism": 2, "resyncInterval": "10m", "verifyInterval": "24h",
        });
        change(&mut set);
        self.api.put(SETS, set);
    }

    /// An importer that was just started.
    pub(crate) fn importer(&self) -> Arc<Reconciler> {
        self.importer_with(self.api.client())
    }

    /// An importer that was just started and talks to the API server by this client.
    pub(crate) fn importer_with(&self, client: kube::Client) -> Arc<Reconciler> {
        let config = "namespace: krs-system\nallowedDestinations: [x]\nregistry: {host: 'krs.krs-system.svc:5443'}\n\
            jobs: {image: 'krs-importer:1', max: MAX}\n";
        let config = config.replace("MAX", &self.max_jobs.to_string());
        let mut config = Config::parse(&format!("{config}{}", self.config)).unwrap();
        config.watch_namespaces.clone_from(&self.namespaces);
        config.namespace.clone_from(&self.namespace);
        let clock = Arc::clone(&self.clock);
        let importer = Reconciler::new(Context {
            client: client.clone(),
            destinations: Destinations::parse(&self.allowed).unwrap().with_tls(config.destination_tls),
            sources: AllowList::parse(&config.online.allowed_sources).unwrap(),
            config: Arc::new(config),
            events: Events::new(client.clone(), Some("krs-importer-0".to_owned())),
            metrics: self.metrics.clone(),
            marks: HighWaterMarks::new(client, &self.namespace),
            stock: self.stock.subscribe(),
            demand: self.demand.clone(),
            registry_ca: watch::channel("CA".to_owned()).1,
            deny_list: self.deny_list.clone(),
            clock: Arc::new(move || *clock.lock().unwrap()),
            heartbeats: self.heartbeats.clone(),
        });
        Arc::new(match &self.leases {
            Some(leases) => importer.with_leases(Arc::clone(leases)),
            None => importer,
        })
    }

    /// What the sets need, as the intake sees it.
    pub(crate) fn demand(&self) -> Arc<RequiredImages> {
        Arc::clone(&self.demand.borrow())
    }

    /// What the drop folder holds.
    pub(crate) fn stocked(&self) -> watch::Receiver<Arc<BundleInventory>> {
        self.stock.subscribe()
    }

    /// One reconcile of every set.
    pub(crate) async fn reconcile(&self, importer: &Arc<Reconciler>) -> Result<(), ReconcileError> {
        let sets = self.api.all(SETS).into_iter();
        let sets = sets.map(|set| Arc::new(serde_json::from_value::<EdgeImageSet>(set).unwrap()));
        let sets = sets.collect::<Vec<_>>();
        for set in &sets {
            let listed = importer.prime(set).await;
            listed
                .map_err(|source| ReconcileError::Api { what: "the set's state cannot be read", source })?;
        }
        importer
            .prime_jobs(&self.stored(), &self.heartbeats.begin("the test", HOUR))
            .await
            .map_err(|source| ReconcileError::Api { what: "the copy Jobs cannot be listed", source })?;
        importer.begin();
        for set in sets {
            reconcile(set, Arc::clone(importer)).await?;
        }
        Ok(())
    }

    /// The sets as the controller holds them.
    pub(crate) fn stored(&self) -> Vec<Arc<StoredSet>> {
        let sets = self.api.all(SETS).into_iter();
        sets.map(|set| Arc::new(serde_json::from_value(set).unwrap())).collect()
    }

    /// Looks and copies until nothing more happens.
    pub(crate) async fn settle(&self, importer: &Arc<Reconciler>) {
        for _ in 0..6 {
            self.reconcile(importer).await.unwrap();
            self.run_jobs();
            self.wait(11);
        }
        self.reconcile(importer).await.unwrap();
    }

    /// Looks until nothing more happens; nobody runs Jobs.
    pub(crate) async fn settle_without_jobs(&self, importer: &Arc<Reconciler>) {
        for _ in 0..3 {
            self.reconcile(importer).await.unwrap();
            self.wait(31);
        }
    }

    /// What the Jobs that have not ended are told, by their names.
    pub(crate) fn running(&self) -> Vec<(String, CopyTask)> {
        let running = self.api.all("jobs").into_iter().filter(|job| job["status"]["conditions"].is_null());
        let task = |job: Value| {
            let task = job["spec"]["template"]["spec"]["containers"][0]["args"][2].as_str().unwrap();
            (job["metadata"]["name"].as_str().unwrap().to_owned(), serde_json::from_str(task).unwrap())
        };
        running.map(task).collect()
    }

    /// Does what the kubelet and the runner would do.
    pub(crate) fn run_jobs(&self) {
        for (name, task) in self.running() {
            for target in &task.targets {
                let image = self.images.iter().find(|image| image.digest == target.digest).unwrap();
                for tag in &target.tags {
                    image.push_to(&self.edge, target.repository.as_str(), Some(tag.as_str()));
                }
            }
            self.end(&name, "Complete", "");
        }
    }

    /// Ends a Job.
    pub(crate) fn end(&self, name: &str, how: &str, why: &str) {
        let named = |job: &Value| job["metadata"]["name"] == name;
        let mut job = self.api.all("jobs").into_iter().find(named).unwrap();
        job["status"] = json!({"conditions": [{
            "type": how, "status": "True", "reason": why, "message": "",
            "lastTransitionTime": self.now().to_string(), "lastProbeTime": self.now().to_string(),
        }]});
        self.api.put("jobs", job);
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        self.api.get(SETS, "shop", name).unwrap()["status"].clone()
    }

    /// Status and reason of a condition.
    pub(crate) fn condition(&self, name: &str, type_: &str) -> Option<(String, String, String)> {
        self.condition_in("shop", name, type_)
    }

    /// Status, reason and message of a condition of a set in a namespace.
    pub(crate) fn condition_in(
        &self,
        namespace: &str,
        name: &str,
        type_: &str,
    ) -> Option<(String, String, String)> {
        let status = self.api.get(SETS, namespace, name).unwrap()["status"].clone();
        let found = status["conditions"].as_array()?.iter().find(|c| c["type"] == type_)?;
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    pub(crate) fn reason(&self, name: &str) -> String {
        self.condition(name, "Ready").map(|(_, reason, _)| reason).unwrap_or_default()
    }
}
