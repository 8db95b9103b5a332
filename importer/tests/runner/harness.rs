// SPDX-License-Identifier: Apache-2.0
//! A source, an edge, and the files of a Job's Pod in a temporary folder.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RegistryHost;
use krs_core::registry::RetryPolicy;
use krs_importer::model::task::{CopyReport, CopyTarget, CopyTask, DestinationEndpoint, TaskSource};
use krs_importer::runner::{self, Paths};
use krs_testing::image::Image;
use krs_testing::registry::{Options, Registry};

pub struct Pod {
    folder: tempfile::TempDir,
}

impl Pod {
    pub fn new() -> Self {
        let pod = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(pod.path("work")).unwrap();
        std::fs::create_dir(pod.path("scratch")).unwrap();
        pod
    }

    pub fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    /// Mounts a Secret.
    pub fn mount(&self, name: &str, entries: &[(&str, &str)]) {
        std::fs::create_dir_all(self.path(name)).unwrap();
        for (key, value) in entries {
            std::fs::write(self.path(name).join(key), value).unwrap();
        }
    }

    pub fn paths(&self) -> Paths {
        let retry = RetryPolicy {
            attempts: 3,
            base: Duration::from_millis(5),
            max: Duration::from_millis(50),
            ..RetryPolicy::default()
        };
        Paths {
            destination: self.path("destination"),
            destination_ca: self.path("destination-ca"),
            source: self.path("source"),
            token: self.path("token"),
            work: self.path("work"),
            scratch: self.path("scratch"),
            report: self.path("report"),
            skopeo: krs_testing::tools::require("skopeo"),
            retry,
            ..Paths::default()
        }
    }

    pub async fn run(&self, task: &CopyTask) -> (CopyReport, u8) {
        runner::run(task, &self.paths()).await
    }
}

pub fn endpoint(registry: &Registry) -> DestinationEndpoint {
    let plain_http = registry.ca_pem().is_none();
    DestinationEndpoint { registry: registry.host(), plain_http, insecure_skip_verify: false }
}

pub fn target(source: &RegistryHost, repository: &str, digest: &Digest, tag: &str) -> CopyTarget {
    CopyTarget {
        image: format!("{source}/{repository}@{digest}"),
        source_registry: source.clone(),
        source_repository: repository.parse().unwrap(),
        digest: *digest,
        repository: format!("mirror/{repository}").parse().unwrap(),
        tags: vec![tag.parse().unwrap()],
        platforms: Vec::new(),
        patches: None,
        scratch_size: None,
        mount_from: Vec::new(),
    }
}

pub fn online(source: &Registry, edge: &Registry, targets: Vec<CopyTarget>) -> CopyTask {
    let plain_http = source.ca_pem().is_none();
    CopyTask { destination: endpoint(edge), source: TaskSource::Registry { plain_http }, targets }
}

/// Copies one image between two open registries.
pub async fn copied(image: &Image, edge: Options) -> (Registry, Registry, CopyReport) {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(edge));
    image.push_to(&source, "team/app", Some("v1"));
    let pod = Pod::new();
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
    let (report, code) = pod.run(&task).await;
    assert_eq!((code, report.done), (0, 1), "{report:?}");
    arrived(image, &edge);
    let direct_copy =
        edge.requests().into_iter().filter(|r| r.path.contains("/blobs/uploads/") && r.bytes_in > 0);
    let direct_copy =
        direct_copy.filter(|r| !r.user_agent.as_deref().is_some_and(|agent| agent.contains("skopeo")));
    assert_eq!(
        direct_copy.count(),
        0,
        "skopeo copies every kind: {}",
        String::from_utf8_lossy(&image.manifest)
    );
    assert_eq!(edge.digest("mirror/team/app", "v1"), Some(image.digest));
    (source, edge, report)
}

/// Every document and blob is at the edge, byte for byte.
pub fn arrived(image: &Image, edge: &Registry) {
    for manifest in image.manifests() {
        let (media_type, bytes) = edge.manifest("mirror/team/app", &manifest.digest.to_string()).unwrap();
        assert_eq!((media_type, bytes), (manifest.media_type.clone(), manifest.manifest.clone()));
        for (digest, bytes) in &manifest.blobs {
            assert_eq!(edge.blob("mirror/team/app", digest).as_ref(), Some(bytes));
        }
    }
}

/// Bytes of blobs that a registry was sent.
pub fn blob_bytes(registry: &Registry) -> u64 {
    registry.requests().iter().filter(|r| r.path.contains("/blobs/uploads/")).map(|r| r.bytes_in).sum()
}

pub fn by_skopeo(registry: &Registry) -> usize {
    let requests = registry.requests();
    requests.iter().filter(|r| r.user_agent.as_deref().is_some_and(|agent| agent.contains("skopeo"))).count()
}
