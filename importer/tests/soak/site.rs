// SPDX-License-Identifier: Apache-2.0
//! The site: an API server, an edge registry, a drop folder, and the importer as `run` puts it together, all in one runtime
//! with virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use krs_core::bundle::Bundle;
use krs_core::registry::DenyList;
use krs_importer::adapters::api_client::{Limits, limited};
use krs_importer::adapters::bundle_store::BundleStore;
use krs_importer::adapters::events::Events;
use krs_importer::adapters::follow::Pace;
use krs_importer::adapters::heartbeat::{Heartbeats, Watches};
use krs_importer::adapters::high_water_marks::HighWaterMarks;
use krs_importer::adapters::metrics::Metrics;
use krs_importer::app::controller;
use krs_importer::app::intake::{Intake, VerificationOptions};
use krs_importer::app::reconcile::{Context, Reconciler};
use krs_importer::model::bundle_inventory::BundleInventory;
use krs_importer::model::clock::Clock;
use krs_importer::model::config::Config;
use krs_importer::model::policy::{AllowList, Destinations};
use krs_importer::model::required_images::RequiredImages;
use krs_testing::registry::{Options, Registry};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::FakeApi;
use crate::cluster::{Kubelet, Surroundings};
use crate::figures::Figures;
use crate::sender::{Sender, Set, namespace};

pub(crate) const SETS: &str = "edgeimagesets";
const BUNDLES: &str = "imagebundles";
/// Intervals of each set.
pub(crate) const RESYNC: Duration = Duration::from_secs(3600);
pub(crate) const VERIFY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const SCAN: Duration = Duration::from_secs(60);
/// Jobs of one set at the same time.
pub(crate) const PARALLELISM: usize = 2;
/// As far apart as [`krs_importer::app::run`] has them, but for the loops that find nothing to do each time: these would be
/// most of the work.
const PACE: Pace = Pace {
    compare: Duration::from_secs(60),
    max_age: Duration::from_secs(3600),
    limit: Duration::from_secs(600),
    sweep: Duration::from_secs(180),
};
const BEAT: Duration = Duration::from_secs(15);

/// How large a site is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) namespaces: usize,
    /// In each namespace.
    pub(crate) sets: usize,
    /// In each set.
    pub(crate) images: usize,
    pub(crate) days: usize,
}

pub(crate) struct Site {
    pub(crate) size: Size,
    pub(crate) api: FakeApi,
    pub(crate) edge: Registry,
    pub(crate) edge_works: bool,
    pub(crate) sender: Sender,
    pub(crate) kubelet: Kubelet,
    pub(crate) figures: Figures,
    config: Arc<Config>,
    clock: Clock,
    metrics: Metrics,
    /// Files that are being read to their end, in threads of their own.
    reading: Arc<AtomicUsize>,
    importer: Option<Running>,
    _home: tempfile::TempDir,
}

/// An importer that runs.
struct Running {
    library: Arc<BundleStore>,
    heartbeats: Heartbeats,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Site {
    /// `reading` counts the files that are being read, for which virtual time waits.
    pub(crate) fn new(size: Size, reading: Arc<AtomicUsize>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(home.path()).unwrap();
        let (keys, folder) = (root.join("keys"), root.join("bundles"));
        [&keys, &folder].into_iter().for_each(|path| std::fs::create_dir(path).unwrap());
        let edge = Registry::start_in_runtime(Options::default());
        let sender = Sender::new(edge.host(), size.sets, size.images);
        std::fs::write(keys.join("ci.pub"), &sender.public_key).unwrap();
        let mut config = Config::parse(&format!(
            "namespace: krs-system\nallowedDestinations: ['{}']\nregistry: {{host: 'krs-importer.krs-system.svc:5443'}}\n\
             jobs: {{image: 'krs-importer:1'}}\n",
            edge.host()
        ))
        .unwrap();
        (config.trusted_keys, config.intake.folder) = (keys, folder);
        config.intake.scan_interval = SCAN;
        config.intake.keep = Duration::from_secs(2 * 24 * 3600);
        let (begun, start) =
            (tokio::time::Instant::now(), "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap());
        let clock = move || start + SignedDuration::try_from(begun.elapsed()).unwrap();
        Self {
            size,
            api: FakeApi::default(),
            edge,
            edge_works: true,
            sender,
            kubelet: Kubelet::default(),
            figures: Figures::default(),
            config: Arc::new(config),
            clock: Arc::new(clock),
            metrics: Metrics::new().0,
            reading,
            importer: None,
            _home: home,
        }
    }

    /// Most copy Jobs at the same time.
    pub(crate) fn max_jobs(&self) -> usize {
        self.config.jobs.max
    }

    /// The edge registry loses all images of a namespace.
    pub(crate) fn lose(&self, namespace: usize) {
        for set in self.all().filter(|set| set.0 == namespace) {
            for (repository, digest) in self.sender.wanted(set) {
                self.edge.delete_manifest(&repository, &digest.to_string());
            }
        }
        self.edge.collect_garbage();
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Starts the importer.
    pub(crate) fn start(&mut self) {
        let (config, metrics, heartbeats) =
            (Arc::clone(&self.config), self.metrics.clone(), Heartbeats::default());
        let watches = Watches::new(heartbeats.clone(), metrics.clone());
        let client = limited(self.api.client(), Limits::default(), Arc::clone(&watches));
        let events = Events::new(client.clone(), Some("krs-importer-0".to_owned()));
        let (library, faults) = BundleStore::new();
        let (demand, demanded) = watch::channel(Arc::<RequiredImages>::default());
        let (stock, stocked) = watch::channel(Arc::<BundleInventory>::default());
        let marks = HighWaterMarks::new(client.clone(), &config.namespace);
        let reading = Arc::clone(&self.reading);
        let verify =
            move |bundle: &Bundle, stop: &AtomicBool, progress: &dyn krs_core::progress::Progress| {
                reading.fetch_add(1, Ordering::SeqCst);
                let result = bundle.verify_until(stop, progress);
                reading.fetch_sub(1, Ordering::SeqCst);
                result
            };
        let intake = Intake::new(
            Arc::clone(&config),
            client.clone(),
            events.clone(),
            metrics.clone(),
            Arc::clone(&library),
            faults,
            Arc::clone(&marks),
            demanded,
            stock,
        )
        .with_heartbeat(heartbeats.begin("the intake", PACE.limit))
        .with_watch(Arc::clone(&watches), heartbeats.clone(), PACE)
        .with_verification(VerificationOptions {
            verify: Arc::new(verify),
            beat: BEAT,
            ..VerificationOptions::default()
        })
        .with_clock(Arc::clone(&self.clock));
        let importer = Reconciler::new(Context {
            client,
            destinations: Destinations::parse(&config.allowed_destinations).unwrap(),
            sources: AllowList::parse(&config.online.allowed_sources).unwrap(),
            config,
            events,
            metrics,
            marks,
            stock: stocked.clone(),
            demand,
            registry_ca: watch::channel("CA".to_owned()).1,
            deny_list: DenyList::new(|_| None),
            clock: Arc::clone(&self.clock),
            heartbeats: heartbeats.clone(),
        });
        let (stop, stopping) = watch::channel(false);
        let stopped = |mut stopping: watch::Receiver<bool>| async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(intake.run(stopped(stopping.clone())));
        let is_primed = Arc::new(AtomicBool::new(false));
        tasks.spawn(controller::run(
            Arc::new(importer),
            watches,
            stocked,
            is_primed,
            PACE,
            stopped(stopping),
        ));
        self.importer = Some(Running { library, heartbeats, stop, tasks });
    }

    /// Ends the importer as Kubernetes does it.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.importer.take() else { return };
        running.stop.send_replace(true);
        while running.tasks.join_next().await.is_some() {}
    }

    /// Ends the importer as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        let Some(mut running) = self.importer.take() else { return };
        running.tasks.shutdown().await;
    }

    /// Lets a minute pass.
    pub(crate) async fn minute(&mut self) {
        self.api.set_time(self.now());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let around = Surroundings {
            api: &self.api,
            edge: &self.edge,
            edge_works: self.edge_works,
            sender: &self.sender,
            library: self.importer.as_ref().map(|running| &*running.library),
            now: (self.clock)(),
        };
        self.kubelet.minute(&around);
        self.figures.minute(&self.api, &self.edge);
        if let Some(running) = &self.importer {
            assert!(running.tasks.len() == 2, "a part of the importer ended by itself");
            assert_eq!(running.heartbeats.check(), Ok(()), "at {}", self.now());
        }
    }

    /// The figures of the day that ends.
    pub(crate) fn end_of_day(&mut self) -> Figures {
        let reconciles = self.metrics.reconciliations.get();
        let mut day = std::mem::take(&mut self.figures);
        day.end(&self.api, reconciles);
        // What the API server and the registry no longer need.
        self.api.compact();
        for event in self.api.all("events") {
            let text = |field: &str| event["metadata"][field].as_str().unwrap().to_owned();
            self.api.remove("events", &text("namespace"), &text("name"));
        }
        self.edge.collect_garbage();
        self.sender.forget();
        day
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Set> + use<> {
        let Size { namespaces, sets, .. } = self.size;
        (0..namespaces).flat_map(move |namespace| (0..sets).map(move |set| (namespace, set)))
    }

    /// Stores a set as it is in Git, as a GitOps engine would.
    pub(crate) fn apply(&self, set: Set) {
        let (namespace, name) = (namespace(set.0), format!("set-{}", set.1));
        let images = self.sender.references(set).into_iter().map(|image| json!({"image": image}));
        let spec = json!({
            "destinationRegistry": self.edge.host(), "destinationTLS": {"plainHTTP": true},
            "images": images.collect::<Vec<_>>(), "parallelism": PARALLELISM,
            "resyncInterval": format!("{}s", RESYNC.as_secs()), "verifyInterval": format!("{}s", VERIFY.as_secs()),
        });
        let old = self.api.get(SETS, &namespace, &name);
        if old.as_ref().is_some_and(|old| old["spec"] == spec) {
            return;
        }
        let generation = old.as_ref().map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap());
        let mut object = old.unwrap_or_else(|| {
            json!({
                "apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
                "metadata": {"name": name, "namespace": namespace},
            })
        });
        (object["metadata"]["generation"], object["spec"]) = (json!(generation + 1), spec);
        self.api.put(SETS, object);
    }

    pub(crate) fn delete(&self, set: Set) {
        let (namespace, name) = (namespace(set.0), format!("set-{}", set.1));
        let uid = self.api.get(SETS, &namespace, &name).unwrap()["metadata"]["uid"].clone();
        self.api.remove(SETS, &namespace, &name);
        // As the garbage collector of Kubernetes.
        for job in self.api.all("jobs") {
            if job["metadata"]["ownerReferences"][0]["uid"] == uid {
                self.api.remove("jobs", &namespace, job["metadata"]["name"].as_str().unwrap());
            }
        }
    }

    /// What is wrong with a set: it is not Ready for what it is now, or the registry has not what it names.
    pub(crate) fn wrong(&self, set: Set) -> Option<String> {
        let object = self.api.get(SETS, &namespace(set.0), &format!("set-{}", set.1))?;
        let (meta, status) = (&object["metadata"], &object["status"]);
        let is_ready = condition(status, "Ready") && status["observedGeneration"] == meta["generation"];
        if !is_ready {
            return Some(format!("set {set:?} is not Ready: {status:#}"));
        }
        let wanted = self.sender.wanted(set).into_iter();
        let missing = |(repository, digest): &(String, _)| self.edge.digest(repository, "1") != Some(*digest);
        let missing = wanted.filter(missing).map(|(repository, _)| repository).collect::<BTreeSet<_>>();
        (!missing.is_empty())
            .then(|| format!("set {set:?} is Ready, and the registry does not have {missing:?}"))
    }

    fn at(&self, drive: &str) -> Utf8PathBuf {
        self.config.intake.folder.join(drive)
    }

    /// Puts a USB drive in.
    pub(crate) fn insert(&self, drive: &str, file: &Utf8Path) {
        std::fs::create_dir_all(self.at(drive)).unwrap();
        // As on a drive: a file that is read from stays what it is.
        std::fs::copy(file, self.at(drive).join(file.file_name().unwrap())).unwrap();
    }

    /// Pulls it.
    pub(crate) fn pull(&self, drive: &str) {
        std::fs::remove_dir_all(self.at(drive)).unwrap();
    }

    /// Whether the drive may be pulled.
    pub(crate) fn is_safe_to_remove(&self, file: &Utf8Path) -> bool {
        self.bundle(file).is_some_and(|status| condition(&status, "SafeToRemove"))
    }

    /// What the importer says of a bundle.
    pub(crate) fn bundle(&self, file: &Utf8Path) -> Option<Value> {
        let name = file.file_name().unwrap();
        let is_it = |bundle: &Value| {
            bundle["spec"]["file"]
                .as_str()
                .or(bundle["status"]["file"].as_str())
                .is_some_and(|path| path.ends_with(name))
        };
        self.api.all(BUNDLES).into_iter().find(is_it).map(|bundle| bundle["status"].clone())
    }
}

fn condition(status: &Value, type_: &str) -> bool {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().any(|condition| condition["type"] == type_ && condition["status"] == "True")
}
