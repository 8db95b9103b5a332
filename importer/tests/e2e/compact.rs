// SPDX-License-Identifier: Apache-2.0
//! Layers that travel as patches, through the importer: each is made of the layer that the edge has, with the same digest, or
//! said to be impossible before anything is pushed.

use std::time::Duration;

use camino::Utf8Path;
use krs_core::oci::digest::Digest;
use krs_testing::image::{Image, ImageBuilder, gzip_of_buildkit, random_bytes, signature, tar_of};
use krs_testing::registry::Registry;
use serde_json::{Value, json};

use crate::edge::{Edge, edges};
use crate::harness::{
    TIMEOUT, apply, cluster, condition, get, kubectl, run, try_run, wait_bundle, wait_for, wait_ready,
};
use crate::journey::{Programs, programs};
use crate::receipts::{RECEIPT, index};
use crate::site::{SYSTEM, Site, allow_receipts, processes};
use crate::source::{Ci, namespace, reference, registry, set};

/// Longest until a copy is tried again after several failures.
const RETRIED: Duration = Duration::from_secs(300);

/// The content of a layer: a program that changes in a few bytes from version to version, and files that stay.
fn content(number: u8) -> Vec<u8> {
    let mut program = random_bytes(2_000_000, 1);
    for place in (1000..2_000_000).step_by(100_000) {
        program[place] = number;
    }
    let data = random_bytes(500_000, 2);
    tar_of(&[("usr/bin/app", &program), ("usr/share/data", &data)])
}

/// As BuildKit compresses it.
fn layer(number: u8) -> Vec<u8> {
    gzip_of_buildkit(&content(number))
}

/// A version of an application: programs that a Pod can run, and a layer that changes.
fn version(programs: &Programs, number: u8) -> Image {
    let Programs { media_type, layer: first, config } = programs;
    let mut config = config.clone();
    config["author"] = format!("version {number}").into();
    config["rootfs"]["diff_ids"]
        .as_array_mut()
        .unwrap()
        .push(Digest::of(&content(number)).to_string().into());
    ImageBuilder::new("app")
        .layer_type(media_type)
        .layer(first.clone())
        .layer_type("application/vnd.oci.image.layer.v1.tar+gzip")
        .layer(layer(number))
        .config(config.to_string())
        .build()
}

fn size(file: &Utf8Path) -> u64 {
    file.metadata().unwrap().len()
}

/// What is published at the connected side.
struct Publisher {
    ci: Ci,
    source: Registry,
    /// Where the site's set puts the images.
    edge: &'static Edge,
    programs: Programs,
    namespace: &'static str,
    references: Vec<String>,
}

impl Publisher {
    fn new(namespace: &'static str, edge: &'static Edge) -> Self {
        let (ci, source) = (Ci::new(), registry(None, false));
        Self { ci, source, edge, programs: programs(), namespace, references: Vec::new() }
    }

    fn version(&self, number: u8) -> Image {
        version(&self.programs, number)
    }

    fn repository(&self) -> String {
        format!("{}/app", self.namespace)
    }

    /// Pushes a version with its signature, and commits the set with it.
    fn publish(&mut self, number: u8) -> Value {
        let (image, tag, repository) = (self.version(number), number.to_string(), self.repository());
        image.push_to(&self.source, &repository, Some(&tag));
        signature(&image).push_to(&self.source, &repository, None);
        self.references.push(reference(&self.source, &repository, &tag, &image));
        let (access, _) = self.edge.access(self.namespace);
        let host = self.edge.host();
        let set = set(self.namespace, "app", host.as_str(), &self.references, &access);
        self.ci.commit(std::slice::from_ref(&set));
        set
    }

    fn bundle(&self, number: u8, options: &[&str]) -> camino::Utf8PathBuf {
        let name = format!("{}-{number}", self.namespace);
        self.ci.bundle(&name, self.namespace, u64::from(number), &self.source, options)
    }

    /// Fails unless the edge has a version and its signature, byte for byte.
    fn must_have(&self, number: u8) {
        let image = self.version(number);
        self.edge.must_have(&self.repository(), &number.to_string(), &image);
        assert!(self.edge.has(&self.repository(), &signature(&image)), "the signature of {number}");
    }
}

/// Waits until the set says something of this kind, in its condition or in its list of failures.
fn wait_message(namespace: &str, what: &str, is_it: impl Fn(&str) -> bool) {
    wait_for(&format!("{namespace}/app says {what}"), TIMEOUT, || {
        let set = get("edgeimagesets", namespace, "app")?;
        let message = format!("{} {}", condition(&set, "Ready")?.2, set["status"]["failures"]);
        is_it(&message).then(|| println!("{message}"))
    });
}

#[test]
fn e16_layers_of_patches_arrive_bit_for_bit_three_times_in_a_row_and_pods_start() {
    let mut side = Publisher::new("e16", &edges().open);
    let first = side.publish(1);
    let full = side.bundle(1, &[]);
    let values = json!({"site": "berlin", "receipts": {"toMedia": true}, "jobs": {"scratchSize": "1Gi"}});
    let site = Site::new(&[&side.ci.public_key()], &values);
    allow_receipts(site.drive());
    namespace("e16");
    apply(&first);
    site.insert(&full);
    wait_ready("e16", "app");
    wait_bundle("e16-1", "SafeToRemove", "True", None);
    let key = wait_for("the importer has a key", RECEIPT, || {
        index(SYSTEM)?["data"]["site.pub"].as_str().map(str::to_owned)
    });
    std::fs::write(side.ci.path().join("site.pub"), key).unwrap();
    let drive = site.drive().to_str().unwrap().to_owned();
    for number in 2..5_u8 {
        let next = side.publish(number);
        // The receipt that came back on the drive.
        let options = ["--against", &drive, "--site-key", "berlin=site.pub", "--compact"];
        let compact = side.bundle(number, &options);
        println!("bundle {number}: {} of {} bytes", size(&compact), size(&full));
        assert!(size(&compact) * 20 < size(&full), "{} of {}", size(&compact), size(&full));
        apply(&next);
        site.insert(&compact);
        wait_ready("e16", "app");
        side.must_have(number);
        wait_bundle(&format!("e16-{number}"), "SafeToRemove", "True", None);
    }
    let source_host = side.source.host();
    let image = side.references[3].clone();
    drop(side);
    a_pod_starts(source_host.as_str(), &image);
}

/// The node pulls the original reference by digest from the edge registry, through containerd's mirrors.
fn a_pod_starts(source_host: &str, image: &str) {
    let Some(node) = &cluster().node else {
        eprintln!("not tested: mirrors of a node that is not ours");
        return;
    };
    let folder = node.join("certs.d").join(source_host);
    std::fs::create_dir_all(&folder).unwrap();
    let edge = edges().open.host();
    let mirror = format!(
        "server = \"http://{edge}\"\n[host.\"http://{edge}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
    );
    std::fs::write(folder.join("hosts.toml"), mirror).unwrap();
    apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "e16", "name": "workload"},
        "spec": {
            "automountServiceAccountToken": false, "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": image, "imagePullPolicy": "Always",
                "command": ["/bin/busybox", "sha256sum", "/usr/bin/app"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }));
    wait_for("the workload's Pod ran", TIMEOUT, || {
        (get("pods", "e16", "workload")?["status"]["phase"] == "Succeeded").then_some(())
    });
    let mut program = random_bytes(2_000_000, 1);
    (1000..2_000_000).step_by(100_000).for_each(|place| program[place] = 4);
    let log = kubectl(&["logs", "-n", "e16", "workload"]);
    assert!(log.starts_with(&Digest::of(&program).hex()), "{log}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// A runner that makes layers; it is stopped, so that something can happen to it in the middle.
fn stop_a_runner() -> i32 {
    wait_for("a runner copies, and is stopped", TIMEOUT, || {
        let (pid, _) = *processes("krs-importer", "copy").first()?;
        // It may have come to its end.
        try_run("kill", &["-STOP", &pid.to_string()], None).status.success().then_some(pid)
    })
}

#[test]
fn e17_scratch_space_kills_pulled_drives_and_damaged_bases_leave_no_wrong_layer() {
    let mut side = Publisher::new("e17", &edges().open);
    let first = side.publish(1);
    let full = side.bundle(1, &[]);
    let key = side.ci.public_key();
    let site = Site::new(&[&key], &json!({"jobs": {"scratchSize": "100Ki"}}));
    namespace("e17");
    apply(&first);
    site.insert(&full);
    wait_ready("e17", "app");

    // Scratch space that is too small.
    let second = side.publish(2);
    let compact = side.bundle(2, &["--against", "e17-1.krs.tar", "--compact"]);
    apply(&second);
    let before = edges().open.blobs("e17/").len();
    site.insert(&compact);
    wait_message("e17", "what space it needs", |message| {
        let parts = ["bytes of scratch space", "102400 are available", "jobs.scratchSize"];
        parts.iter().all(|part| message.contains(part))
    });
    drop(site);
    let site = Site::new(&[&key], &json!({"jobs": {"scratchSize": "1Gi"}}));
    apply(&second);
    // The layer that is made was not sent: only what travels as it is.
    let sent = edges().open.blobs("e17/");
    assert!(!sent.iter().any(|blob| blob.ends_with(&Digest::of(&layer(2)).hex())), "{sent:?}");
    assert!(sent.len() <= before + 2, "{sent:?}");

    // Killed, and with the drive pulled out in the middle.
    site.insert(&compact);
    for _ in 0..2 {
        let pid = stop_a_runner();
        run("kill", &["-KILL", &pid.to_string()], None);
        wait_for("the runner is gone", TIMEOUT, || {
            (!processes("krs-importer", "copy").iter().any(|(other, _)| *other == pid)).then_some(())
        });
    }
    let pid = stop_a_runner();
    site.wipe();
    run("kill", &["-CONT", &pid.to_string()], None);
    wait_bundle("e17-2", "Complete", "False", Some("MediaAbsent"));
    wait_message("e17", "that its bundle is away", |message| message.contains("BundleUnavailable"));
    site.insert(&compact);
    wait_for("the set is Ready all the same", RETRIED, || {
        (condition(&get("edgeimagesets", "e17", "app")?, "Ready")?.0 == "True").then_some(())
    });
    side.must_have(2);

    // A base that is damaged at the edge is named, and nothing is made of it.
    let third = side.publish(3);
    let compact = side.bundle(3, &["--against", "e17-2.krs.tar", "--against", "e17-1.krs.tar", "--compact"]);
    let bases = [1, 2].map(|number| Digest::of(&layer(number)));
    bases.iter().for_each(|base| edges().open.damage(base));
    apply(&third);
    site.insert(&compact);
    wait_message("e17", "which base is damaged", |message| {
        bases.iter().any(|base| message.contains(&base.to_string()))
    });
    assert!(!edges().open.has(&side.repository(), &side.version(3)));
    // A bundle without patches needs nothing of the registry.
    let full = side.bundle(4, &[]);
    site.insert(&full);
    wait_for("the set is Ready with a bundle without patches", RETRIED, || {
        (condition(&get("edgeimagesets", "e17", "app")?, "Ready")?.0 == "True").then_some(())
    });
    side.must_have(3);
}

#[test]
fn e18_base_layers_are_read_back_with_the_secret_of_the_set() {
    let edge = &edges().private;
    let mut side = Publisher::new("e18", edge);
    let first = side.publish(1);
    let full = side.bundle(1, &[]);
    let site = Site::new(&[&side.ci.public_key()], &json!({"jobs": {"scratchSize": "1Gi"}}));
    namespace("e18");
    let (_, objects) = edge.access("e18");
    apply(&json!(objects));
    apply(&first);
    site.insert(&full);
    wait_ready("e18", "app");
    let base = Digest::of(&layer(1));
    let before = edge.downloads("e18/app", &base);
    let second = side.publish(2);
    let compact = side.bundle(2, &["--against", "e18-1.krs.tar", "--compact"]);
    assert!(size(&compact) * 20 < size(&full), "{} of {}", size(&compact), size(&full));
    apply(&second);
    site.insert(&compact);
    wait_ready("e18", "app");
    side.must_have(2);
    // The registry shows nothing without credentials, and only the set names them.
    wait_for("the registry's log says that the base was read", TIMEOUT, || {
        (edge.downloads("e18/app", &base) > before).then_some(())
    });
}
