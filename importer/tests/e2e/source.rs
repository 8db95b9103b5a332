// SPDX-License-Identifier: Apache-2.0
//! The connected side: source registries, a Git checkout, and the CI job that runs `krs bundle`.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::git::Checkout;
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Auth, Options, Registry};
use serde_json::{Value, json};

use crate::harness::{get, krs};

/// Credentials at a registry.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Account {
    /// Credentials that occur nowhere else.
    pub(crate) fn unique(user: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { user: user.to_owned(), password: format!("canary-{:x}-{count}", time.as_nanos()) }
    }

    fn basic(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.user, self.password))
    }

    /// As `docker login` writes it.
    pub(crate) fn docker_config(&self, host: &str) -> Value {
        json!({"auths": {host: {"auth": self.basic()}}})
    }

    /// All forms in which the password could show up somewhere.
    pub(crate) fn forms(&self) -> [String; 3] {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        [self.password.clone(), self.basic(), encode(&self.password)]
    }
}

/// The address of a node that Pods reach too.
pub(crate) fn node_address() -> IpAddr {
    let nodes = crate::harness::all("nodes", "");
    let addresses = nodes[0]["status"]["addresses"].as_array().unwrap();
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP").unwrap();
    internal["address"].as_str().unwrap().parse().unwrap()
}

/// Name of the first node.
pub(crate) fn node_name() -> String {
    crate::harness::all("nodes", "")[0]["metadata"]["name"].as_str().unwrap().to_owned()
}

/// A source registry that Pods reach.
pub(crate) fn registry(account: Option<&Account>, tls: bool) -> Registry {
    let auth = account.map_or(Auth::None, |account| Auth::bearer(&account.user, &account.password));
    Registry::start(Options { tls, auth, address: Some(node_address()), ..Options::default() })
}

/// Images of one small layer with unlike content.
pub(crate) fn small_image(name: &str, size: usize) -> Image {
    let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    ImageBuilder::new(name).gzip().layer_random(size, seed).build()
}

/// `HOST/REPOSITORY:TAG@DIGEST`
pub(crate) fn reference(registry: &Registry, repository: &str, tag: &str, image: &Image) -> String {
    format!("{}/{repository}:{tag}@{}", registry.host(), image.digest)
}

/// An EdgeImageSet.
pub(crate) fn set(namespace: &str, name: &str, destination: &str, images: &[String], more: &Value) -> Value {
    let images = images.iter().map(|image| json!({"image": image})).collect::<Vec<_>>();
    let mut spec = json!({
        "destinationRegistry": destination,
        "images": images,
        "resyncInterval": "10s",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "kuberegistrysync.io/v1alpha1",
        "kind": "EdgeImageSet",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// The CI job: a checkout, keys, and what it needs to log in.
pub(crate) struct Ci {
    folder: tempfile::TempDir,
    checkout: Checkout,
}

impl Ci {
    pub(crate) fn new() -> Self {
        let ci = Self { folder: tempfile::tempdir().unwrap(), checkout: Checkout::new() };
        krs(ci.path(), &["keygen", "-o", "ci", "--no-passphrase"]);
        std::fs::write(ci.path().join("auth.json"), "{}").unwrap();
        ci
    }

    pub(crate) fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    /// The public key, as the chart takes it.
    pub(crate) fn public_key(&self) -> String {
        std::fs::read_to_string(self.path().join("ci.pub")).unwrap()
    }

    pub(crate) fn account(&self, host: &str, account: &Account) {
        std::fs::write(self.path().join("auth.json"), account.docker_config(host).to_string()).unwrap();
    }

    /// Commits the sets, in place of those that were there.
    pub(crate) fn commit(&mut self, sets: &[Value]) {
        let text = sets.iter().map(|set| format!("---\n{set:#}\n")).collect::<String>();
        self.checkout.write("sites/sets.yaml", text);
        self.checkout.commit("Change the sets");
    }

    /// Runs `krs bundle` with `more` arguments, signed with the key of [`Self::public_key`] unless they name another one.
    /// Answers the file.
    pub(crate) fn bundle(
        &self,
        name: &str,
        stream: &str,
        sequence: u64,
        source: &Registry,
        more: &[&str],
    ) -> Utf8PathBuf {
        let file = self.path().join(format!("{name}.krs.tar"));
        let (sequence, host) = (sequence.to_string(), source.host().to_string());
        let mut arguments = vec!["bundle", self.checkout.path().as_str(), "-o", file.as_str()];
        arguments.extend(["--stream", stream, "--sequence", &sequence, "--no-progress"]);
        if !more.contains(&"--key") {
            arguments.extend(["--key", "ci.key"]);
        }
        match source.ca_file() {
            Some(ca) => arguments.extend(["--ca-file", ca.as_str()]),
            None => arguments.extend(["--plain-http", &host]),
        }
        arguments.extend(more);
        krs(self.path(), &arguments);
        file
    }

    /// Another pair of keys, which nobody trusts.
    pub(crate) fn foreign_key(&self) -> &'static str {
        if !self.path().join("other.key").exists() {
            krs(self.path(), &["keygen", "-o", "other", "--no-passphrase"]);
        }
        "other.key"
    }
}

/// The Secret of credentials.
pub(crate) fn account_secret(namespace: &str, name: &str, host: &str, account: &Account) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"namespace": namespace, "name": name},
        "stringData": {".dockerconfigjson": account.docker_config(host).to_string()},
    })
}

/// The same, as user and password for one registry.
pub(crate) fn basic_secret(namespace: &str, name: &str, host: &str, account: &Account) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {
            "namespace": namespace, "name": name,
            "annotations": {"kuberegistrysync.io/registry-hosts": host},
        },
        "stringData": {"username": account.user, "password": account.password},
    })
}

/// Label of the namespaces that tests made.
const OURS: &str = "krs-e2e";

/// A namespace under Pod Security `restricted`, empty.
pub(crate) fn namespace(name: &str) {
    if get("namespaces", "", name).is_some() {
        crate::harness::kubectl(&["delete", "namespace", name, "--wait=true"]);
    }
    let mut object = restricted(name);
    object["metadata"]["labels"][OURS] = "test".into();
    crate::harness::apply(&object);
}

/// Deletes the sets that earlier tests left: their Jobs would take the place of others.
pub(crate) fn forget_sets() {
    let found = crate::harness::all("namespaces", "");
    let ours = found.iter().filter(|namespace| namespace["metadata"]["labels"][OURS] == "test");
    for namespace in ours.filter_map(|namespace| namespace["metadata"]["name"].as_str()) {
        // Before the first installation there is no such kind.
        crate::harness::try_run("kubectl", &["delete", "edgeimagesets", "--all", "-n", namespace], None);
    }
}

pub(crate) fn restricted(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    })
}
