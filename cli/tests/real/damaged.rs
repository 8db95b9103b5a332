// SPDX-License-Identifier: Apache-2.0
//! A blob that a registry keeps and whose bytes changed: what makes it right again, and what does not. The importer reports
//! such blobs and does not delete them, since no registry here is repaired by that (ADR 8).

use camino::Utf8Path;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, Selector};
use krs_core::redact::Secret;
use krs_core::registry::{BlobSink, Client, ClientOptions, Keychain, RegistryError};
use krs_testing::distribution::{Distribution, Options};
use krs_testing::gitea::{Gitea, USER};
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{self, Registry};
use krs_testing::tools::require;
use serde_json::Value;

use crate::harness::{Workspace, set_of};

const NAME: &str = "team/app";

struct Discard;

impl BlobSink for Discard {
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is read of a blob or manifest.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Right,
    Damaged,
    Missing,
}

/// An edge registry, what was pushed into it, and with whose credentials.
struct Edge {
    workspace: Workspace,
    image: Image,
    host: RegistryHost,
    /// What comes before the name of the repository.
    prefix: &'static str,
    token: Option<String>,
}

impl Edge {
    /// Pushes an image.
    fn new(host: RegistryHost, prefix: &'static str, token: Option<&str>) -> Self {
        let (workspace, source) = (Workspace::new(), Registry::start(registry::Options::default()));
        let image = ImageBuilder::new("app").layer_random(300_000, 1).layer_random(5000, 2).build();
        image.push_to(&source, NAME, Some("1.0"));
        let set = set_of(&source.host(), &[("team/app:1.0", &image)]);
        std::fs::write(workspace.path().join("set.yaml"), set).unwrap();
        workspace.krs(&["bundle", "set.yaml", "-o", "a.krs.tar"]);
        let edge = Self { workspace, image, host, prefix, token: token.map(str::to_owned) };
        edge.push();
        assert_eq!(edge.read(&edge.layer()), Found::Right);
        edge
    }

    /// Digest of the large layer.
    fn layer(&self) -> Digest {
        self.image.blobs.iter().max_by_key(|(_, content)| content.len()).unwrap().0
    }

    fn size(&self, digest: &Digest) -> u64 {
        let blob = self.image.blobs.iter().find(|(blob, _)| blob == digest).unwrap();
        blob.1.len() as u64
    }

    /// Answers how many blobs were sent.
    fn push(&self) -> u64 {
        use base64::Engine as _;
        let to = format!("{}{}", self.host, self.prefix);
        let mut arguments = vec!["push", "a.krs.tar", &to, "--format", "json"];
        let auth = self.workspace.path().join("auth.json");
        if let Some(token) = &self.token {
            let auth_file = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{token}"));
            let config = serde_json::json!({"auths": {self.host.as_str(): {"auth": auth_file}}});
            std::fs::write(&auth, config.to_string()).unwrap();
            arguments.extend(["--authfile", auth.as_str()]);
        }
        let outcome = serde_json::from_str::<Value>(&self.workspace.krs(&arguments)).unwrap();
        outcome["blobsSent"].as_u64().unwrap()
    }

    /// Sends `DELETE` of a blob, which must be accepted.
    fn delete(&self, blob: &Digest) {
        let name = format!("{}{}/{NAME}@{blob}", self.host, self.prefix);
        let mut arguments = vec!["blob", "delete", "--force", "--plain-http", &name];
        if let Some(token) = &self.token {
            arguments.extend(["--username", USER, "--password", token]);
        }
        self.workspace.tool("oras", &arguments);
    }

    fn ask<T>(&self, what: impl AsyncFnOnce(krs_core::registry::Repository) -> T) -> T {
        let mut keychain = Keychain::empty();
        if let Some(token) = &self.token {
            keychain = keychain.with(&self.host, USER, Secret::new(token));
        }
        let client = Client::new(ClientOptions { keychain, ..ClientOptions::default() }).unwrap();
        let name = format!("{}/{NAME}", self.prefix.trim_start_matches('/'));
        let repository = client.repository(&self.host, &name.trim_start_matches('/').parse().unwrap());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what(repository))
    }

    /// What a `HEAD` of a blob says.
    fn is_listed(&self, blob: &Digest) -> bool {
        self.ask(async |repository| repository.has_blob(blob, self.size(blob)).await.unwrap())
    }

    fn read(&self, blob: &Digest) -> Found {
        let read = self.ask(async |repository| repository.blob(blob, self.size(blob), &mut Discard).await);
        judge(read)
    }

    fn read_manifest(&self) -> Found {
        let digest = Selector::Digest(self.image.digest);
        judge(self.ask(async |repository| repository.manifest(&digest).await.map(drop)))
    }
}

fn judge(read: Result<(), RegistryError>) -> Found {
    match read {
        Ok(()) => Found::Right,
        Err(RegistryError::Content { .. }) => Found::Damaged,
        Err(RegistryError::NotFound { .. }) => Found::Missing,
        Err(error) => panic!("{error}"),
    }
}

/// Changes one byte.
fn damage(file: &Utf8Path) {
    let mut content = std::fs::read(file).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(file, content).unwrap();
}

fn in_distribution(program: &str) {
    let options = Options { descriptor_cache: true, ..Options::default() };
    let registry = Distribution::start(&require(program), options);
    let edge = Edge::new(registry.host(), "", None);
    let layer = edge.layer();
    let data = registry.data_of(&layer);
    damage(&data);
    assert_eq!((edge.read(&layer), edge.is_listed(&layer)), (Found::Damaged, true));
    assert_eq!(edge.push(), 0, "nothing seems to be missing");

    // The way of a program: delete the blob, then push.
    edge.delete(&layer);
    assert!(!edge.is_listed(&layer) && data.exists(), "only the link of the repository goes");
    assert_eq!((edge.push(), edge.is_listed(&layer)), (1, true), "accepted as if it had been stored");
    assert_eq!(edge.read(&layer), Found::Damaged, "{program}: DELETE repairs now, change ADR 8");

    // Garbage collection keeps what a manifest lists.
    let config = registry.storage().parent().unwrap().join("config.yml");
    edge.workspace.tool(program, &["garbage-collect", config.as_str()]);
    assert!(data.exists());

    // The steps of docs/operate.md.
    std::fs::remove_file(&data).unwrap();
    assert!(edge.is_listed(&layer), "{program}: no restart is needed any more, change docs/operate.md");
    let registry = registry.restart();
    assert!(!edge.is_listed(&layer));
    assert_eq!((edge.push(), edge.read(&layer)), (1, Found::Right));

    // A manifest is in the same place.
    let data = registry.data_of(&edge.image.digest);
    damage(&data);
    assert_eq!(edge.read_manifest(), Found::Damaged);
    std::fs::remove_file(&data).unwrap();
    let _registry = registry.restart();
    assert_eq!(edge.read_manifest(), Found::Missing);
    edge.push();
    assert_eq!(edge.read_manifest(), Found::Right);
}

#[test]
fn t60_distribution_2_keeps_a_damaged_blob_until_its_file_is_removed() {
    in_distribution("docker-registry");
}

#[test]
fn t60_distribution_3_keeps_a_damaged_blob_until_its_file_is_removed() {
    in_distribution("registry");
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn t60_gitea_keeps_a_damaged_blob_until_its_file_is_removed() {
    let gitea = Gitea::start();
    let edge = Edge::new(gitea.host(), "/ci", Some(gitea.write_token()));
    let layer = edge.layer();
    let data = gitea.data_of(&layer);
    damage(&data);
    assert_eq!((edge.read(&layer), edge.push()), (Found::Damaged, 0));
    edge.delete(&layer);
    assert!(!edge.is_listed(&layer) && data.exists());
    assert_eq!((edge.push(), edge.read(&layer)), (1, Found::Damaged), "DELETE repairs now, change ADR 8");
    std::fs::remove_file(&data).unwrap();
    assert!(!edge.is_listed(&layer), "without a restart");
    assert_eq!((edge.push(), edge.read(&layer)), (1, Found::Right));
}
