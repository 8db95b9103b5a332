// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::daemon::{self, DaemonImage, ExportFault, ImageStore};
use krs_testing::image::{Image, ImageBuilder};

use super::client::Timeouts;
use super::context::DockerEnvironment;
use super::export::Daemon;
use crate::error::{Classify as _, ErrorKind};
use crate::local::{LocalError, LocalSource};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

const WEB: &str = "quay.io/team/web:1.0";

fn web() -> Image {
    ImageBuilder::new("web").layer_random(30_000, 1).layer_random(20_000, 2).build()
}

fn daemon_image(image: &Image, name: &str) -> DaemonImage {
    DaemonImage { image: image.clone(), name: name.to_owned(), pulled: None }
}

fn client(fake: &daemon::Daemon) -> Daemon {
    format!("docker-daemon:{}", fake.socket())
        .parse::<crate::local::Location>()
        .unwrap()
        .daemon(&DockerEnvironment::default())
        .unwrap()
        .unwrap()
}

/// A daemon of which an export may have 64 KiB more than its size, and which may be silent for 200 ms.
fn strict(fake: &daemon::Daemon) -> Daemon {
    let short = Duration::from_millis(200);
    client(fake).with_limits(Timeouts { response: short, export_begin: short, export_idle: short }, 1 << 16)
}

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
    (folder, path)
}

async fn open(daemon: &Daemon, references: &[&str]) -> Result<LocalSource, LocalError> {
    let references = references.iter().map(|text| text.parse().unwrap()).collect::<Vec<Reference>>();
    let holdings = daemon.find(&references).await?;
    let (_guard, folder) = folder();
    let source = LocalSource::of_daemon(daemon, holdings, &folder, &|_| {}).await;
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the temporary file has no name");
    source
}

#[tokio::test]
async fn only_the_images_of_the_sets_are_exported_and_their_bytes_are_counted() {
    let (web, other) = (web(), ImageBuilder::new("other").layer_random(9_000, 7).build());
    let images = vec![daemon_image(&web, WEB), daemon_image(&other, "quay.io/team/other:1")];
    let fake = daemon::Daemon::start(ImageStore::Containerd, images);
    let daemon = client(&fake);
    let reference = WEB.parse::<Reference>().unwrap();
    let absent = "quay.io/team/absent:1".parse::<Reference>().unwrap();
    let holdings = daemon.find([&reference, &absent]).await.unwrap();
    assert_eq!(holdings.count(), 1);
    let (_guard, folder) = folder();
    let progress = AtomicU64::new(0);
    let on_progress = |bytes| {
        progress.fetch_add(bytes, Ordering::Relaxed);
    };
    let source = LocalSource::of_daemon(&daemon, holdings, &folder, &on_progress).await.unwrap();
    let digest = web.digest.to_string().parse::<Digest>().unwrap();
    assert_eq!(source.named(&reference).iter().map(|found| found.digest).collect::<Vec<_>>(), [digest]);
    assert!(!source.is_rebuilt());
    assert!(progress.into_inner() > 50_000);
    let requests = fake.requests();
    assert_eq!(requests.last().unwrap(), &format!("/images/get?names={WEB}"));
    assert_eq!(requests.len(), 3, "{requests:?}");
}

#[tokio::test]
async fn a_daemon_without_any_of_the_images_exports_nothing() {
    let fake = daemon::Daemon::start(ImageStore::Classic, vec![]);
    let source = open(&client(&fake), &[WEB]).await.unwrap();
    assert_eq!(source.names(), "no image of the sets");
    assert!(source.content(&Digest::of(b"")).unwrap().is_none());
    assert!(fake.requests().iter().all(|path| !path.starts_with("/images/get")));
}

#[tokio::test]
async fn t285_the_faults_of_a_daemon_are_errors_and_end() {
    let fake = daemon::Daemon::start(ImageStore::Classic, vec![daemon_image(&web(), WEB)]);
    for (fault, kind, text) in [
        (ExportFault::Endless, ErrorKind::Corrupt, "sends more than"),
        (ExportFault::Cut, ErrorKind::Unavailable, "gave no complete response to the export of images"),
        (ExportFault::Short, ErrorKind::Incomplete, "it is incomplete"),
        (ExportFault::Stalled, ErrorKind::Unavailable, "timed out: no data for"),
        (ExportFault::Silent, ErrorKind::Unavailable, "timed out after"),
        (
            ExportFault::Status(500, "layer does not exist"),
            ErrorKind::Unavailable,
            "500: layer does not exist",
        ),
        (ExportFault::Status(404, "No such image"), ErrorKind::Other, "404: No such image"),
        (ExportFault::Type("text/html"), ErrorKind::Unavailable, "its type is text/html; expected a tar"),
        (ExportFault::Type("application/json"), ErrorKind::Unavailable, "its type is application/json"),
    ] {
        fake.fail(fault.clone());
        let error = open(&strict(&fake), &[WEB]).await.unwrap_err();
        assert!(error.to_string().contains(text), "{fault:?}: {error}");
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert!(error.help().is_some(), "{fault:?}");
    }
    // As Podman says it.
    fake.fail(ExportFault::Type("application/octet; charset=us-ascii"));
    open(&strict(&fake), &[WEB]).await.unwrap();
}

#[tokio::test]
async fn a_socket_without_a_daemon_and_a_folder_that_cannot_be_written_are_named() {
    let (_guard, folder) = folder();
    let nowhere = format!("docker-daemon:{folder}/nowhere.sock").parse::<crate::local::Location>().unwrap();
    let error =
        open(&nowhere.daemon(&DockerEnvironment::default()).unwrap().unwrap(), &[WEB]).await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("cannot connect to a Docker daemon at {folder}/nowhere.sock"))
    );
    assert!(error.help().unwrap().contains("docker save -o FILE"));

    let fake = daemon::Daemon::start(ImageStore::Classic, vec![daemon_image(&web(), WEB)]);
    let daemon = client(&fake);
    let holdings = daemon.find([&WEB.parse().unwrap()]).await.unwrap();
    let error = LocalSource::of_daemon(&daemon, holdings, &folder.join("absent"), &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{folder}/absent")), "{error}");
    assert!(error.help().unwrap().contains("TMPDIR"));
}
