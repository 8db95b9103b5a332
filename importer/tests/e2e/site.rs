// SPDX-License-Identifier: Apache-2.0
//! The site: the importer, installed with its chart, and the drive.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use krs_testing::merge;
use serde_json::{Value, json};

use crate::edge::edges;
use crate::harness::{TIMEOUT, all, apply, cluster, kubectl, run, try_run, wait_for};
use crate::source::{forget_sets, node_name, restricted};

pub(crate) const SYSTEM: &str = "krs-system";
const RELEASE: &str = "krs-importer";
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/chart");

/// The installation, for one test at a time.
pub(crate) struct Site {
    _turn: MutexGuard<'static, ()>,
    drive: PathBuf,
}

static TURN: Mutex<()> = Mutex::new(());

/// Deletes what an earlier run of the tests left in this cluster: the importer would refuse other bundles under the same
/// numbers.
fn forget_bundles() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        for what in [
            &["delete", "deployment", RELEASE, "-n", SYSTEM, "--ignore-not-found", "--cascade=foreground"][..],
            &["delete", "configmap", "krs-streams", "-n", SYSTEM, "--ignore-not-found"],
            &["delete", "imagebundles", "--all"],
        ] {
            try_run("kubectl", what, None);
        }
    });
}

/// Installs the chart in a namespace with these keys and values, or changes the installation to them, and waits until the
/// importer is ready.
pub(crate) fn install(chart: &Path, namespace: &str, keys: &[&str], more: &Value) {
    let keys = keys.iter().enumerate().map(|(n, key)| (format!("key{n}.pub"), json!(key)));
    let image = cluster().image.rsplit_once(':').unwrap();
    let mut values = json!({
        "trustedKeys": {"keys": keys.collect::<serde_json::Map<_, _>>()},
        "image": {"repository": image.0, "tag": image.1, "pullPolicy": "IfNotPresent"},
        "dropFolder": {"node": {"hostname": node_name()}},
        "intake": {"scanInterval": "1s"},
    });
    merge(&mut values, more);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    let arguments = ["upgrade", "--install", RELEASE, chart.to_str().unwrap(), "--namespace", namespace];
    let wait = ["-f", file.to_str().unwrap(), "--wait", "--timeout=120s"];
    run("helm", &[&arguments[..], &wait].concat(), None);
}

/// Uninstalls the chart, if it is installed.
pub(crate) fn uninstall(namespace: &str) {
    run("helm", &["uninstall", RELEASE, "--namespace", namespace, "--ignore-not-found", "--wait"], None);
}

/// Copies a bundle into a folder, as `cp` and `mv` do.
pub(crate) fn insert(folder: &Path, bundle: &camino::Utf8Path) {
    std::fs::create_dir_all(folder).unwrap();
    let name = bundle.file_name().unwrap();
    let part = folder.join(format!("{name}.part"));
    std::fs::copy(bundle, &part).unwrap();
    std::fs::rename(part, folder.join(name)).unwrap();
}

/// Removes everything from a folder.
pub(crate) fn wipe(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

/// Lets the importer write receipts into a folder, as `uid=65532` does for FAT.
pub(crate) fn allow_receipts(folder: &Path) {
    std::os::unix::fs::chown(folder, None, Some(65532)).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o2775)).unwrap();
}

impl Site {
    /// Installs the importer with these keys and values, or changes the installation to them; the drive is empty then.
    pub(crate) fn new(keys: &[&str], more: &Value) -> Self {
        Self::of_chart(Path::new(CHART), keys, more)
    }

    /// As [`Self::new`], with another chart.
    pub(crate) fn of_chart(chart: &Path, keys: &[&str], more: &Value) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let drive = cluster().node.as_ref().expect("KRS_E2E_NODE").join("drive");
        let site = Self { _turn: turn, drive };
        site.wipe();
        forget_sets();
        forget_bundles();
        let edges = edges();
        apply(&restricted(SYSTEM));
        let mut values = json!({
            "allowedDestinations": [edges.open.host(), edges.private.host()],
            "dropFolder": {"node": {"path": site.drive}},
        });
        merge(&mut values, more);
        install(chart, SYSTEM, keys, &values);
        // Deployments of the same template are not started again; what they remember of other drives must not matter.
        site
    }

    /// The folder that the importer looks into.
    pub(crate) fn drive(&self) -> &Path {
        &self.drive
    }

    /// Copies a bundle onto the drive, as `cp` and `mv` do.
    pub(crate) fn insert(&self, bundle: &camino::Utf8Path) {
        self.insert_into(&self.drive, bundle);
    }

    pub(crate) fn insert_into(&self, folder: &Path, bundle: &camino::Utf8Path) {
        insert(folder, bundle);
    }

    /// Removes everything from the drive.
    pub(crate) fn wipe(&self) {
        wipe(&self.drive);
    }

    /// Name of the importer's Pod.
    pub(crate) fn pod() -> String {
        wait_for("the importer's Pod runs", TIMEOUT, || {
            let pods = all("pods", SYSTEM);
            let running = pods.iter().find(|pod| {
                pod["metadata"]["labels"]["app.kubernetes.io/component"] == "importer"
                    && pod["metadata"]["deletionTimestamp"].is_null()
                    && pod["status"]["containerStatuses"][0]["ready"] == true
            })?;
            Some(running["metadata"]["name"].as_str()?.to_owned())
        })
    }

    /// What the importer has logged.
    pub(crate) fn log() -> String {
        kubectl(&["logs", "--namespace", SYSTEM, &Self::pod()])
    }
}

/// Processes of the node with this name and argument: id and command line. The tests run in the node's PID namespace.
pub(crate) fn processes(program: &str, argument: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(bytes) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        let mut words = line.split(' ');
        let is = words.next().is_some_and(|first| first.rsplit('/').next() == Some(program));
        if is && words.any(|word| word == argument) {
            found.push((pid, line));
        }
    }
    found
}
