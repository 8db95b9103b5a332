// SPDX-License-Identifier: Apache-2.0
//! The cluster, as a person with `kubectl` and `helm` sees it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest that anything but a large copy may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);
const MOMENT: Duration = Duration::from_millis(150);

/// Where the cluster is, by the environment:
/// - `KUBECONFIG_E2E`: how to reach it
/// - `KRS_E2E_IMAGE`: the importer's image, which its nodes have or can pull
/// - `KRS_E2E_NODE`: folder of the node that `cargo xtask cluster` made; without it, tests that need the node itself say
///   so and do nothing
/// - `KRS_E2E_KRS`: the program `krs`
pub(crate) struct Cluster {
    pub(crate) image: String,
    pub(crate) node: Option<PathBuf>,
    kubeconfig: PathBuf,
    krs: PathBuf,
}

impl Cluster {
    /// How to reach it.
    pub(crate) fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// The program `krs`.
    pub(crate) fn krs(&self) -> &std::path::Path {
        &self.krs
    }
}

/// The name that `cargo xtask image` gives the image.
const BUILT: &str = concat!("localhost/krs-importer:", env!("CARGO_PKG_VERSION"));

pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let beside = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("krs");
        Cluster {
            image: std::env::var("KRS_E2E_IMAGE").unwrap_or_else(|_| BUILT.to_owned()),
            node: path("KRS_E2E_NODE"),
            kubeconfig: path("KUBECONFIG_E2E").expect("KUBECONFIG_E2E names the cluster to test on"),
            krs: path("KRS_E2E_KRS").unwrap_or(beside),
        }
    })
}

/// Runs a program with the cluster's kubeconfig.
pub(crate) fn try_run(program: &str, arguments: &[&str], input: Option<&str>) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("KUBECONFIG", &cluster().kubeconfig);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.unwrap_or_default().to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    output
}

pub(crate) fn run(program: &str, arguments: &[&str], input: Option<&str>) -> String {
    text(program, arguments, &try_run(program, arguments, input))
}

/// What a program printed that succeeded.
fn text(program: &str, arguments: &[&str], output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {}\n{message}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn kubectl(arguments: &[&str]) -> String {
    kubectl_with(arguments, None)
}

/// Runs kubectl, again while the API server of a busy machine does not answer at all.
fn kubectl_with(arguments: &[&str], input: Option<&str>) -> String {
    let begin = Instant::now();
    loop {
        let output = try_run("kubectl", arguments, input);
        let is_down = String::from_utf8_lossy(&output.stderr).contains("Unable to connect to the server");
        if !is_down || begin.elapsed() >= TIMEOUT {
            return text("kubectl", arguments, &output);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Applies objects, as a GitOps engine does.
pub(crate) fn apply(objects: &Value) {
    kubectl_with(&["apply", "--server-side", "-f", "-"], Some(&list(objects)));
}

/// What the API server says to an object that it must refuse.
pub(crate) fn refusal(object: &Value) -> String {
    let output = try_run("kubectl", &["create", "-f", "-"], Some(&object.to_string()));
    assert!(!output.status.success(), "accepted:\n{object}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn list(objects: &Value) -> String {
    match objects {
        Value::Array(items) => {
            serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
        }
        one => one.to_string(),
    }
}

/// An object, where it exists.
pub(crate) fn get(kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let arguments = ["get", kind, name, "--namespace", namespace, "--ignore-not-found", "--output=json"];
    let text = kubectl(&arguments);
    (!text.trim().is_empty()).then(|| serde_json::from_str(&text).unwrap())
}

/// All objects of a kind in a namespace.
pub(crate) fn all(kind: &str, namespace: &str) -> Vec<Value> {
    let text = kubectl(&["get", kind, "--namespace", namespace, "--output=json"]);
    serde_json::from_str::<Value>(&text).unwrap()["items"].as_array().unwrap().clone()
}

/// Copy Jobs of a namespace as they are created: those that succeeded are deleted soon after they ended.
pub(crate) struct JobWatch {
    child: std::process::Child,
    output: tempfile::NamedTempFile,
}

impl JobWatch {
    /// Begins before the first Job is created.
    pub(crate) fn start(namespace: &str) -> Self {
        let output = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new("kubectl")
            .args(["get", "jobs", "--namespace", namespace, "--watch", "--output=json"])
            .env("KUBECONFIG", &cluster().kubeconfig)
            .stdin(Stdio::null())
            .stdout(output.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, output }
    }

    /// All that were seen, each once, in the order of their names.
    pub(crate) fn jobs(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.output.path()).unwrap();
        // What kubectl is writing at this moment is not read.
        let jobs = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map_while(Result::ok);
        let named = jobs.map(|job| (job["metadata"]["name"].as_str().unwrap_or_default().to_owned(), job));
        named.collect::<std::collections::BTreeMap<_, _>>().into_values().collect()
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The condition `type_` of an object: status, reason and message.
pub(crate) fn condition(object: &Value, type_: &str) -> Option<(String, String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

/// Waits until `condition` finds something, and says what there is instead when it does not.
pub(crate) fn wait_for<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < timeout, "{what}: not within {} s\n{}", timeout.as_secs(), situation());
        std::thread::sleep(MOMENT);
    }
}

/// Makes sure that for a while `holds` stays true.
pub(crate) fn stays(what: &str, while_: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < while_ {
        assert!(holds(), "{what}: no longer\n{}", situation());
        std::thread::sleep(MOMENT);
    }
}

/// Waits until a set is ready at its present generation.
pub(crate) fn wait_ready(namespace: &str, name: &str) -> Value {
    wait_for(&format!("{namespace}/{name} is Ready"), TIMEOUT, || {
        let set = get("edgeimagesets", namespace, name)?;
        let current = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        (current && condition(&set, "Ready")?.0 == "True").then_some(set)
    })
}

/// Waits until a set is not ready for this reason, and answers its message.
pub(crate) fn wait_not_ready(namespace: &str, name: &str, reason: &str) -> String {
    wait_for(&format!("{namespace}/{name} says {reason}"), TIMEOUT, || {
        let set = get("edgeimagesets", namespace, name)?;
        let (status, found, message) = condition(&set, "Ready")?;
        let current = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        (current && status == "False" && found == reason).then_some(message)
    })
}

/// Waits until a condition of an ImageBundle has this status and reason, and answers its message.
pub(crate) fn wait_bundle(name: &str, type_: &str, status: &str, reason: Option<&str>) -> String {
    wait_for(&format!("ImageBundle {name}: {type_}={status} {reason:?}"), TIMEOUT, || {
        let bundle = get("imagebundles", "", name)?;
        let (is, why, message) = condition(&bundle, type_)?;
        (is == status && reason.is_none_or(|reason| reason == why)).then_some(message)
    })
}

/// Whether an Event with this reason tells of the object.
pub(crate) fn has_event(namespace: &str, kind: &str, name: &str, reason: &str) -> bool {
    all("events.events.k8s.io", namespace).iter().any(|event| {
        event["regarding"]["kind"] == kind && event["regarding"]["name"] == name && event["reason"] == reason
    })
}

/// Runs `krs` as a person would, in a folder.
pub(crate) fn krs(folder: &camino::Utf8Path, arguments: &[&str]) -> String {
    let output = try_krs(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "krs {}: {}\n{message}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// [`krs`] that may fail.
pub(crate) fn try_krs(folder: &camino::Utf8Path, arguments: &[&str]) -> Output {
    Command::new(&cluster().krs)
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_STATE_HOME")
        .env("REGISTRY_AUTH_FILE", folder.join("auth.json"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", cluster().krs.display()))
}

/// What a person would check when something does not come about.
fn situation() -> String {
    let mut text = String::new();
    for arguments in [
        &["get", "eis,ib", "-A", "-o", "wide"][..],
        &["get", "jobs,pods", "-A", "-o", "wide"],
        &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"],
        &["logs", "-n", "krs-system", "deploy/krs-importer", "--tail=40"],
        &["logs", "-A", "-l", "app.kubernetes.io/component=copy", "--tail=15", "--prefix"],
        &["logs", "-n", "krs-system", "deploy/krs-importer", "--previous", "--tail=20"],
    ] {
        let output = try_run("kubectl", arguments, None);
        let shown = if output.status.success() { &output.stdout } else { &output.stderr };
        let shown = String::from_utf8_lossy(shown);
        let lines = shown.lines().collect::<Vec<_>>();
        let from = lines.len().saturating_sub(60);
        text.push_str(&format!("---- kubectl {}\n{}\n", arguments.join(" "), lines[from..].join("\n")));
    }
    text
}
