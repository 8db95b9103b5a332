// SPDX-License-Identifier: Apache-2.0
//! The main job, complete: Git, `krs bundle`, a drive, the importer, copy Jobs, the edge registry, `Ready`, a Pod.

use std::path::Path;

use krs_testing::image::{self, Image, ImageBuilder, helm_chart, signature};
use serde_json::{Value, json};

use crate::edge::edges;
use crate::harness::{
    JobWatch, TIMEOUT, apply, cluster, condition, get, has_event, kubectl, run, wait_bundle, wait_for,
    wait_ready,
};
use crate::site::Site;
use crate::source::{Account, Ci, account_secret, namespace, reference, registry, set, small_image};

/// One layer with the static programs of the test image that every node has, so that a Pod can run it; and its config.
pub(crate) struct Programs {
    pub(crate) media_type: String,
    pub(crate) layer: Vec<u8>,
    pub(crate) config: Value,
}

/// Reads them out of the node.
pub(crate) fn programs() -> Programs {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("busybox.tar");
    let archive = archive.to_str().unwrap();
    run("ctr", &["--namespace=k8s.io", "images", "export", archive, "krs.test/busybox:1"], None);
    let out = folder.path().join("layout");
    std::fs::create_dir(&out).unwrap();
    run("tar", &["-xf", archive, "-C", out.to_str().unwrap()], None);
    let read = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let blob = |digest: &Value| {
        out.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let mut manifest = read(&blob(&read(&out.join("index.json"))["manifests"][0]["digest"]));
    if manifest["layers"].is_null() {
        manifest = read(&blob(&manifest["manifests"][0]["digest"]));
    }
    let layer = std::fs::read(blob(&manifest["layers"][0]["digest"])).unwrap();
    let media_type = manifest["layers"][0]["mediaType"].as_str().unwrap().to_owned();
    Programs { media_type, layer, config: read(&blob(&manifest["config"]["digest"])) }
}

/// An image of these programs.
fn runnable() -> Image {
    let Programs { media_type, layer, mut config } = programs();
    // Another image than that of the node: what is pulled with credentials, the kubelet gives to nobody without it.
    config["author"] = "runnable".into();
    ImageBuilder::new("runnable").layer_type(&media_type).layer(layer).config(config.to_string()).build()
}

#[test]
fn e1_to_e4_a_drive_makes_two_namespaces_ready_and_pods_start_from_the_edge() {
    let source_account = Account::unique("source");
    let source = registry(Some(&source_account), true);
    let amd64 = ImageBuilder::new("app").gzip().layer_random(300_000, 1).build();
    let arm64 = ImageBuilder::new("app-arm").platform("linux/arm64").gzip().layer_random(300_000, 2).build();
    let app = image::with_attestations(&[&amd64, &arm64]);
    let nested = image::index(&[(&image::index(&[(&amd64, None)]), None), (&arm64, None)]);
    let zstd = ImageBuilder::new("zstd").zstd().layer_random(200_000, 3).build();
    let chart = helm_chart("shop", "1.0.0");
    let runs = runnable();
    let images = [
        ("journey/app", "1.4.2", &app),
        ("journey/nested", "2", &nested),
        ("journey/zstd", "3", &zstd),
        ("journey/chart", "1.0.0", &chart),
        ("journey/runs", "1", &runs),
    ];
    for (repository, tag, image) in images {
        image.push_to(&source, repository, Some(tag));
    }
    let attached = signature(&app);
    attached.push_to(&source, "journey/app", None);
    let references = images.map(|(repository, tag, image)| reference(&source, repository, tag, image));

    // Git: a set for each of two namespaces; one of them goes to a registry with credentials and a private CA.
    let mut ci = Ci::new();
    ci.account(source.host().as_str(), &source_account);
    let (private, objects) = edges().private.access("e1-plant");
    let private_host = edges().private.host();
    let plant = set("e1-plant", "line", private_host.as_str(), &references, &private);
    let (open, _) = edges().open.access("e1-shop");
    let shop = set("e1-shop", "tills", &format!("{}/shop", edges().open.host()), &references[..3], &open);
    ci.commit(&[plant.clone(), shop.clone()]);
    let bundle = ci.bundle("e1", "e1", 1, &source, &[]);
    let source_host = source.host();
    drop(source);

    // The GitOps engine applies what is in Git; the drive is still on its way.
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("e1-plant");
    namespace("e1-shop");
    apply(&json!(objects));
    apply(&json!([plant, shop]));
    let waiting = crate::harness::wait_not_ready("e1-plant", "line", "WaitingForBundle");
    assert!(waiting.contains('5'), "{waiting}");
    let watch = JobWatch::start("e1-plant");
    site.insert(&bundle);

    wait_bundle("e1", "Verified", "True", Some("Succeeded"));
    let plant = wait_ready("e1-plant", "line");
    let shop = wait_ready("e1-shop", "tills");
    assert_eq!(plant["status"]["synchronizedImages"], json!(references), "in the order of the spec");
    assert_eq!(shop["status"]["synchronizedImages"], json!(references[..3]));
    assert_eq!(plant["status"]["images"], json!({"desired": 5, "present": 5, "missing": 0, "failed": 0}));
    assert_eq!(plant["status"]["bundle"]["name"], "e1");
    assert_eq!(plant["status"]["bundle"]["sequence"], 1);
    assert_eq!(condition(&plant, "Synced").unwrap().0, "True");
    assert_eq!(condition(&plant, "BundleVerified").unwrap().0, "True");
    for absent in ["Reconciling", "Stalled"] {
        assert!(condition(&plant, absent).is_none(), "{plant:#}");
    }

    // Every digest at the edge is Git's, byte for byte.
    for (repository, tag, image) in images {
        edges().private.must_have(repository, tag, image);
    }
    for (repository, tag, image) in &images[..3] {
        edges().open.must_have(&format!("shop/{repository}"), tag, image);
    }
    assert!(edges().private.has("journey/app", &attached), "the signature travels with its image");
    wait_bundle("e1", "Imported", "True", None);
    wait_bundle("e1", "SafeToRemove", "True", None);
    // Events are written after the status that they explain.
    wait_for("an Event tells that the bundle is verified", TIMEOUT, || {
        has_event("default", "ImageBundle", "e1", "BundleVerified").then_some(())
    });
    wait_for("an Event tells that the set is synchronised", TIMEOUT, || {
        has_event("e1-plant", "EdgeImageSet", "line", "SyncComplete").then_some(())
    });

    // `kubectl get` shows a person what is where.
    let table = kubectl(&["get", "eis", "-n", "e1-plant"]);
    for column in ["READY", "IMAGES", "PRESENT", "BUNDLE", "True", "e1", private_host.as_str()] {
        assert!(table.contains(column), "{table}");
    }
    let table = kubectl(&["get", "ib", "e1"]);
    for column in ["STREAM", "SEQUENCE", "VERIFIED", "IMPORTED", "SAFE-TO-REMOVE", "True"] {
        assert!(table.contains(column), "{table}");
    }
    kubectl(&["wait", "--for=condition=Ready", "eis/line", "-n", "e1-plant", "--timeout=10s"]);

    // Jobs ran in the namespace of their set, under Pod Security `restricted`, owned by it.
    let jobs = watch.jobs();
    assert!(!jobs.is_empty());
    for job in &jobs {
        assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "line");
        assert_eq!(job["spec"]["template"]["spec"]["automountServiceAccountToken"], false);
    }

    a_pod_starts_from_the_edge(source_host.as_str(), &references[4]);
}

/// The node pulls the original reference by digest from the edge registry, through containerd's mirrors.
fn a_pod_starts_from_the_edge(source_host: &str, image: &str) {
    let Some(node) = &cluster().node else {
        eprintln!("not tested: mirrors of a node that is not ours");
        return;
    };
    let folder = node.join("certs.d").join(source_host);
    std::fs::create_dir_all(&folder).unwrap();
    let edge = edges().private.host();
    std::fs::write(folder.join("edge-ca.crt"), edges().private.ca().unwrap()).unwrap();
    let mirror = format!(
        "server = \"https://{edge}\"\n[host.\"https://{edge}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"{}\"\n",
        folder.join("edge-ca.crt").display()
    );
    std::fs::write(folder.join("hosts.toml"), mirror).unwrap();
    // What the pull authenticates with are the credentials of the edge, under the name that the image has.
    apply(&account_secret("e1-plant", "pull", source_host, &crate::edge::Edge::account()));
    apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "e1-plant", "name": "workload"},
        "spec": {
            "automountServiceAccountToken": false, "restartPolicy": "Never",
            "imagePullSecrets": [{"name": "pull"}],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": image, "imagePullPolicy": "Always", "command": ["/bin/busybox", "echo", "started"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }));
    wait_for("the workload's Pod ran", TIMEOUT, || {
        (get("pods", "e1-plant", "workload")?["status"]["phase"] == "Succeeded").then_some(())
    });
    assert_eq!(kubectl(&["logs", "-n", "e1-plant", "workload"]).trim(), "started");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn e6_small_sets_of_two_namespaces_share_no_blobs_unless_the_site_says_so() {
    // Two sets with the same image in two namespaces: both become ready, each copies for itself.
    let source = registry(None, false);
    let image = small_image("shared", 50_000);
    image.push_to(&source, "share/app", Some("1"));
    let references = [reference(&source, "share/app", "1", &image)];
    let mut ci = Ci::new();
    let host = edges().open.host();
    let sets = ["e6-one", "e6-two"].map(|namespace| {
        let (access, _) = edges().open.access(namespace);
        set(namespace, "app", &format!("{host}/{namespace}"), &references, &access)
    });
    ci.commit(&sets);
    let bundle = ci.bundle("e6share", "e6share", 1, &source, &[]);
    let site = Site::new(&[&ci.public_key()], &json!({}));
    site.insert(&bundle);
    for name in ["e6-one", "e6-two"] {
        namespace(name);
    }
    apply(&json!(sets));
    for name in ["e6-one", "e6-two"] {
        wait_ready(name, "app");
        edges().open.must_have(&format!("{name}/share/app"), "1", &image);
        assert_eq!(edges().open.uploads(&format!("{name}/")), 2, "config and layer, once");
    }
}
