// SPDX-License-Identifier: Apache-2.0
//! Edge registries: Distribution 3 as Pods. `open` speaks HTTP to everybody; `private` wants credentials and has a
//! certificate of a private CA.

use std::sync::OnceLock;

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, Selector};
use krs_core::redact::Secret;
use krs_core::registry::{BlobSink, Client, ClientOptions, Keychain};
use krs_core::sync::verify_present::{Presence, verify_present};
use krs_testing::image::Image;
use krs_testing::tls::Authority;
use serde_json::{Value, json};

use crate::harness::{TIMEOUT, apply, kubectl, wait_for};
use crate::site::processes;
use crate::source::{Account, restricted};

pub(crate) const NAMESPACE: &str = "edge";
const USER: &str = "krs";
/// Found nowhere else by accident.
const PASSWORD: &str = "canary-Zq7mW2xE9pLk4TvB";
/// The line of an htpasswd file for [`USER`] and [`PASSWORD`].
const HTPASSWD: &str = "krs:$2b$05$abcdefghijklmnopqrstuuxvWc.gp.Q.wfyuaK1hfgj...18/37ey\n";

/// What is pulled and not kept.
struct Discard;

impl BlobSink for Discard {
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// Both registries, started once.
pub(crate) struct Edges {
    pub(crate) open: Edge,
    pub(crate) private: Edge,
}

pub(crate) struct Edge {
    name: &'static str,
    ca: Option<String>,
}

pub(crate) fn edges() -> &'static Edges {
    static EDGES: OnceLock<Edges> = OnceLock::new();
    EDGES.get_or_init(|| {
        apply(&restricted(NAMESPACE));
        kubectl(&["delete", "pods,services,secrets,configmaps", "-n", NAMESPACE, "-l", "krs-e2e=edge"]);
        let authority = Authority::new("krs e2e edge");
        let names = ["private.edge.svc", "private.edge.svc.cluster.local"];
        let identity = authority.server(&names);
        let labels = json!({"krs-e2e": "edge"});
        apply(&json!([{
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"namespace": NAMESPACE, "name": "private", "labels": labels},
            "stringData": {"htpasswd": HTPASSWD, "tls.crt": identity.certificate, "tls.key": identity.key},
        }]));
        let tls = "\n  tls: {certificate: /secret/tls.crt, key: /secret/tls.key}\n\
                   auth: {htpasswd: {realm: edge, path: /secret/htpasswd}}";
        for (name, more, secret) in [("open", "", None), ("private", tls, Some("private"))] {
            apply(&registry(name, more, secret));
        }
        let edges = Edges {
            open: Edge { name: "open", ca: None },
            private: Edge { name: "private", ca: Some(authority.pem()) },
        };
        [&edges.open, &edges.private].iter().for_each(|edge| edge.wait());
        edges
    })
}

fn registry(name: &str, more: &str, secret: Option<&str>) -> Value {
    let config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: /data}}\n  \
         delete: {{enabled: true}}\nhttp:\n  addr: \":5000\"{more}\n"
    );
    let labels = json!({"krs-e2e": "edge", "app": name});
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": name}}),
        json!({"name": "data", "emptyDir": {}}),
        json!({"name": "tmp", "emptyDir": {}}),
    ];
    let mut mounts = vec![
        json!({"name": "config", "mountPath": "/config"}),
        json!({"name": "data", "mountPath": "/data"}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
    ];
    if let Some(secret) = secret {
        volumes.push(json!({"name": "secret", "secret": {"secretName": secret}}));
        mounts.push(json!({"name": "secret", "mountPath": "/secret"}));
    }
    json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels},
         "data": {"config.yml": config}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels},
         "spec": {"selector": {"app": name}, "ports": [{"port": 5000}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels},
         "spec": {
            "automountServiceAccountToken": false, "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "registry", "image": "krs.test/registry:3", "imagePullPolicy": "IfNotPresent",
                "args": ["serve", "/config/config.yml"],
                "env": [{"name": "OTEL_TRACES_EXPORTER", "value": "none"}],
                "readinessProbe": {"tcpSocket": {"port": 5000}, "periodSeconds": 1},
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                                    "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
         }},
    ])
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl Edge {
    /// Another registry as `open`, without content: what one of this name had is deleted.
    pub(crate) fn start(name: &'static str) -> Self {
        edges();
        kubectl(&["delete", "pod", name, "-n", NAMESPACE, "--ignore-not-found"]);
        apply(&registry(name, "", None));
        let edge = Self { name, ca: None };
        edge.wait();
        edge
    }

    /// Ends it, with its content.
    pub(crate) fn delete(&self) {
        kubectl(&["delete", "pod,service,configmap", self.name, "-n", NAMESPACE]);
    }

    fn wait(&self) {
        wait_for(&format!("edge registry {} answers", self.name), TIMEOUT, || {
            block_on(self.client().ping(&self.host())).ok()
        });
    }

    /// As sets write it.
    pub(crate) fn host(&self) -> RegistryHost {
        format!("{}.{NAMESPACE}.svc:5000", self.name).parse().unwrap()
    }

    /// What a set in `namespace` says beside its images, and the objects that it names.
    pub(crate) fn access(&self, namespace: &str) -> (Value, Vec<Value>) {
        let Some(ca) = &self.ca else {
            return (json!({"destinationTLS": {"plainHTTP": true}}), Vec::new());
        };
        let spec = json!({
            "destinationClientSecretName": "edge-credentials",
            "destinationTLS": {"caConfigMapName": "edge-ca"},
        });
        let account = Self::account();
        let objects = vec![
            crate::source::account_secret(namespace, "edge-credentials", self.host().as_str(), &account),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "edge-ca"},
                   "data": {"ca.crt": ca}}),
        ];
        (spec, objects)
    }

    pub(crate) fn account() -> Account {
        Account { user: USER.to_owned(), password: PASSWORD.to_owned() }
    }

    pub(crate) fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    fn client(&self) -> Client {
        let host = self.host();
        let keychain = Keychain::empty().with(&host, USER, Secret::new(PASSWORD));
        let mut options = ClientOptions { keychain, ..ClientOptions::default() };
        match &self.ca {
            Some(ca) => options.ca_certs.push((host, ca.clone().into_bytes())),
            None => options.plain_http.push(host),
        }
        Client::new(options).unwrap()
    }

    /// Fails unless all of the image is there, byte for byte, under this tag.
    pub(crate) fn must_have(&self, repository: &str, tag: &str, image: &Image) {
        let repository = self.client().repository(&self.host(), &repository.parse().unwrap());
        let tag = tag.parse().unwrap();
        let presence = block_on(verify_present(&repository, &image.digest, &[], &[tag])).unwrap();
        assert!(matches!(presence, Presence::Complete { .. }), "{}: {presence:?}", repository.name());
        for manifest in image.manifests() {
            let found = block_on(repository.manifest(&Selector::Digest(manifest.digest))).unwrap();
            assert_eq!(found.bytes, manifest.manifest, "{}", manifest.digest);
            assert_eq!(found.media_type, manifest.media_type);
        }
    }

    /// Pulls all of the image by digest: every byte is read and hashed.
    pub(crate) fn pull(&self, repository: &str, image: &Image) {
        let repository = self.client().repository(&self.host(), &repository.parse().unwrap());
        for manifest in image.manifests() {
            let found = block_on(repository.manifest(&Selector::Digest(manifest.digest))).unwrap();
            assert_eq!(found.bytes, manifest.manifest, "{}", manifest.digest);
            for (digest, content) in &manifest.blobs {
                block_on(repository.blob(digest, content.len() as u64, &mut Discard)).unwrap();
            }
        }
    }

    /// The registry's process.
    fn pid(&self) -> i32 {
        let is_ours = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|line| line == format!("HOSTNAME={}", self.name).as_bytes())
        };
        processes("registry", "serve").into_iter().map(|(pid, _)| pid).find(is_ours).unwrap()
    }

    /// Turns over one bit of a blob in its storage.
    pub(crate) fn damage(&self, blob: &Digest) {
        let hex = blob.hex();
        let folder =
            format!("/proc/{}/root/data/docker/registry/v2/blobs/sha256/{}/{hex}", self.pid(), &hex[..2]);
        let file = std::path::Path::new(&folder).join("data");
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }

    /// Bytes that the registry's Pod has received since it was started, by the interface of its network namespace.
    pub(crate) fn received(&self) -> u64 {
        let pid = self.pid();
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
        let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn has(&self, repository: &str, image: &Image) -> bool {
        let repository = self.client().repository(&self.host(), &repository.parse().unwrap());
        block_on(repository.head_manifest(&Selector::Digest(image.digest))).unwrap().is_some()
    }

    /// The blobs that were sent complete to repositories below a prefix, as `REPOSITORY@DIGEST`, by the registry's own log;
    /// one that was sent twice is there twice.
    pub(crate) fn blobs(&self, prefix: &str) -> Vec<String> {
        let log = kubectl(&["logs", "-n", NAMESPACE, self.name]);
        let wanted = format!("\"PUT /v2/{prefix}");
        let sent = log.lines().filter(|line| line.contains(&wanted) && line.contains("\" 201 ")).filter_map(
            |line| {
                let path = line.split("\"PUT /v2/").nth(1)?;
                let digest =
                    path.split("digest=sha256").nth(1)?.trim_start_matches("%3A").trim_start_matches(':');
                Some(format!("{}@sha256:{}", path.split("/blobs/").next()?, digest.get(..64)?))
            },
        );
        sent.collect()
    }

    /// How often all of a blob was read from a repository, by the registry's own log.
    pub(crate) fn downloads(&self, repository: &str, blob: &Digest) -> usize {
        let log = kubectl(&["logs", "-n", NAMESPACE, self.name]);
        let wanted = format!("\"GET /v2/{repository}/blobs/{blob} ");
        log.lines().filter(|line| line.contains(&wanted) && line.contains("\" 200 ")).count()
    }

    /// Blob uploads that were completed in repositories below a prefix, by the registry's own log.
    pub(crate) fn uploads(&self, prefix: &str) -> usize {
        let log = kubectl(&["logs", "-n", NAMESPACE, self.name]);
        let wanted = format!("\"PUT /v2/{prefix}");
        log.lines().filter(|line| line.contains(&wanted) && line.contains("/blobs/uploads/")).count()
    }
}
