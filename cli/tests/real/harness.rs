// SPDX-License-Identifier: Apache-2.0
//! Runs `krs` and other people's programs in a folder of their own.

use std::ffi::OsStr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::reference::RegistryHost;
use krs_core::registry::{Client, ClientOptions, Keychain};
use krs_testing::corpus::Corpus;
use krs_testing::distribution::{Distribution, Options, PASSWORD, USER};
use krs_testing::git::Checkout;
use krs_testing::image::Image;
use krs_testing::tools::require;

pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    /// Runs `program`, which must succeed; answers what it printed.
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
        let output = self.try_run(program.as_ref(), arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = format!("{:?} {}", program.as_ref(), arguments.join(" "));
        assert!(output.status.success(), "{shown}:\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub fn try_run(&self, program: &OsStr, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).env("HOME", self.path()).env("TMPDIR", self.path());
        command.env_remove("DOCKER_CONFIG").env_remove("REGISTRY_AUTH_FILE").env_remove("XDG_RUNTIME_DIR");
        command.env_remove("XDG_STATE_HOME");
        command.output().unwrap()
    }

    pub fn krs(&self, arguments: &[&str]) -> String {
        self.run(env!("CARGO_BIN_EXE_krs"), arguments)
    }

    /// Runs a foreign program that must be installed.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> String {
        self.run(require(name).as_str(), arguments)
    }

    /// Logs in to registries with [`USER`] and [`PASSWORD`], as `docker login` would.
    pub fn auth_file(&self, registries: &[&RegistryHost]) -> Utf8PathBuf {
        let auth = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"))
        };
        let auths = registries.iter().map(|host| (host.to_string(), serde_json::json!({"auth": auth})));
        let config = serde_json::json!({"auths": auths.collect::<serde_json::Map<_, _>>()});
        let path = self.path().join("auth.json");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }
}

/// containerd without Kubernetes, with its files in a workspace.
pub struct Containerd<'a> {
    workspace: &'a Workspace,
    socket: Utf8PathBuf,
    process: Child,
}

impl<'a> Containerd<'a> {
    pub fn start(workspace: &'a Workspace) -> Self {
        let folder = workspace.path();
        let socket = folder.join("containerd.sock");
        let config = format!(
            "version = 2\nroot = \"{folder}/root\"\nstate = \"{folder}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{socket}\"\n[ttrpc]\naddress = \"{socket}.ttrpc\"\n"
        );
        std::fs::write(folder.join("containerd.toml"), config).unwrap();
        let mut command = Command::new(require("containerd").as_str());
        command.args(["--config", folder.join("containerd.toml").as_str()]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(folder.join("containerd.log")).unwrap());
        let containerd = Self { workspace, socket, process: command.spawn().unwrap() };
        let begun = Instant::now();
        while !containerd.try_ctr(&["version"]).status.success() && begun.elapsed() < Duration::from_secs(30)
        {
            std::thread::sleep(Duration::from_millis(100));
        }
        containerd
    }

    /// Runs `ctr`, which must succeed; answers what it printed.
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let output = self.try_ctr(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let log = || std::fs::read_to_string(self.workspace.path().join("containerd.log")).unwrap();
        assert!(output.status.success(), "ctr {arguments:?}: {}\n{}", text(&output.stderr), log());
        text(&output.stdout)
    }

    fn try_ctr(&self, arguments: &[&str]) -> Output {
        let own = ["--address", self.socket.as_str(), "--namespace", "krs"];
        self.workspace.try_run(require("ctr").as_str().as_ref(), &[&own, arguments].concat())
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Distribution 3, empty, plain HTTP.
pub fn distribution3() -> Distribution {
    Distribution::start(&require("registry"), Options::default())
}

/// A client that may write to `registry`.
pub fn client(registry: &Distribution) -> Client {
    let keychain = Keychain::empty().with(&registry.host(), USER, krs_core::redact::Secret::new(PASSWORD));
    let ca_files = registry.ca_file().into_iter().collect();
    Client::new(ClientOptions { keychain, ca_files, ..ClientOptions::default() }).unwrap()
}

/// Puts the corpus into `registry`.
pub fn fill(registry: &Distribution) -> Corpus {
    let corpus = Corpus::of_environment();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(corpus.push(&client(registry), &registry.host()));
    corpus
}

/// A Git checkout with a set of all images of the corpus.
pub fn checkout(corpus: &Corpus, registry: &RegistryHost) -> Checkout {
    let mut checkout = Checkout::new();
    checkout.write("corpus.yaml", corpus.set(registry));
    checkout.commit("All images");
    checkout
}

/// A set of these images of a registry, by tag and digest.
pub fn set_of(registry: &RegistryHost, images: &[(&str, &Image)]) -> String {
    let line = |(name, image): &(&str, &Image)| format!("  - image: {registry}/{name}@{}\n", image.digest);
    let images = images.iter().map(line).collect::<String>();
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: site\n  namespace: apps\n\
         spec:\n  destinationRegistry: edge.local:5000\n  images:\n{images}"
    )
}

/// A workplace with the bundle `all.krs.tar`, signed, of the corpus under the names of a registry that is gone.
pub fn bundled() -> (Workspace, Corpus, String) {
    let workspace = Workspace::new();
    let source = distribution3();
    let corpus = fill(&source);
    let checkout = checkout(&corpus, &source.host());
    workspace.krs(&["keygen", "--no-passphrase", "-o", "ci"]);
    workspace.krs(&["bundle", checkout.path().as_str(), "-o", "all.krs.tar", "--key", "ci.key"]);
    let host = source.host().to_string();
    (workspace, corpus, host)
}
