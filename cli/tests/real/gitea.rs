// SPDX-License-Identifier: Apache-2.0
//! Gitea as source and as edge: token authentication, packages that nobody else sees, a prefix that must be the owner's
//! name, no referrers API, no `Range`, no sparse indexes, and a last page of tags that is empty.
//! Slow, since Gitea takes minutes to build: `cargo xtask test --full`.

use camino::Utf8PathBuf;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, Selector};
use krs_core::redact::Secret;
use krs_core::registry::{Client, ClientOptions, Keychain};
use krs_testing::gitea::{Gitea, USER};
use krs_testing::image::{
    Image, ImageBuilder, cosign_signature, cosign_tag, helm_chart, index, sbom, signature,
};
use krs_testing::referrers::referrers_of;
use krs_testing::registry::{Options, Registry};
use krs_testing::relay::Relay;
use serde_json::Value;

use crate::harness::{Workspace, checkout, distribution3, fill, set_of};

/// What every repository of the edge is below.
fn prefix(gitea: &Gitea) -> String {
    format!("{}/{USER}", gitea.host())
}

fn auth_file(workspace: &Workspace, name: &str, host: &str, token: &str) -> Utf8PathBuf {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{token}"));
    let config = serde_json::json!({"auths": {host: {"auth": auth}}});
    let path = workspace.path().join(name);
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn json(workspace: &Workspace, arguments: &[&str]) -> Value {
    serde_json::from_str(&workspace.krs(&[arguments, &["--format", "json"]].concat())).unwrap()
}

/// What a registry says, asked with the token of Gitea's user.
struct Reader {
    client: Client,
    host: RegistryHost,
    runtime: tokio::runtime::Runtime,
}

impl Reader {
    fn new(gitea: &Gitea) -> Self {
        let keychain = Keychain::empty().with(&gitea.host(), USER, Secret::new(gitea.read_token()));
        Self {
            client: Client::new(ClientOptions { keychain, ..ClientOptions::default() }).unwrap(),
            host: gitea.host(),
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
        }
    }

    fn digest(&self, name: &str, tag: &str) -> Option<Digest> {
        let repository = self.client.repository(&self.host, &name.parse().unwrap());
        let tag = Selector::Tag(tag.parse().unwrap());
        self.runtime.block_on(repository.head_manifest(&tag)).unwrap().map(|found| found.digest)
    }

    fn referrers(&self, name: &str, subject: &Image) -> Vec<Digest> {
        let repository = self.client.repository(&self.host, &name.parse().unwrap());
        let mut found = self.runtime.block_on(referrers_of(&repository, &subject.digest));
        found.sort();
        found
    }

    fn tags(&self, name: &str) -> Vec<String> {
        let repository = self.client.repository(&self.host, &name.parse().unwrap());
        let list = self.runtime.block_on(repository.readable_tags());
        assert!(list.error.is_none(), "{list:?}");
        list.tags.iter().map(ToString::to_string).collect()
    }
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn t50_t66_images_with_referrers_go_into_gitea_and_from_there_into_another_registry() {
    let (workspace, gitea, first) = (Workspace::new(), Gitea::start(), Registry::start(Options::default()));
    let amd64 = ImageBuilder::new("app").layer_random(600_000, 1).empty_layer().build();
    let arm64 = ImageBuilder::new("app").docker().layer_random(1000, 2).platform("linux/arm64").build();
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64/v8"))]);
    let chart = helm_chart("chart", "1.2.3");
    let (bill, seal) = (sbom(&amd64), signature(&both));
    let (sealed_bill, old) = (signature(&bill), cosign_signature(&both));
    let old_tag = cosign_tag(&both.digest, "sig");
    both.push_to(&first, "team/app", Some("1.0"));
    chart.push_to(&first, "team/chart", Some("1.2.3"));
    for referrer in [&bill, &seal, &sealed_bill] {
        referrer.push_to(&first, "team/app", None);
    }
    old.push_to(&first, "team/app", Some(&old_tag));
    let set = set_of(&first.host(), &[("team/app:1.0", &both), ("team/chart:1.2.3", &chart)]);
    std::fs::write(workspace.path().join("set.yaml"), set).unwrap();
    workspace.krs(&["bundle", "set.yaml", "-o", "a.krs.tar"]);

    let (prefix, reader) = (prefix(&gitea), Reader::new(&gitea));
    let write = auth_file(&workspace, "write.json", gitea.host().as_str(), gitea.write_token());
    let sent = json(&workspace, &["push", "a.krs.tar", &prefix, "--authfile", write.as_str()]);
    assert!(sent["bytesSent"].as_u64() > Some(600_000), "{sent}");
    assert_eq!(sent["retries"], 0, "nothing of what Gitea does is an error to krs: {sent}");
    let app = format!("{USER}/team/app");
    assert_eq!(reader.digest(&app, "1.0"), Some(both.digest));
    assert_eq!(reader.digest(&app, &old_tag), Some(old.digest));
    assert_eq!(reader.digest(&format!("{USER}/team/chart"), "1.2.3"), Some(chart.digest));
    for (subject, referrer) in [(&both, &seal), (&amd64, &bill), (&bill, &sealed_bill)] {
        assert_eq!(reader.referrers(&app, subject), [referrer.digest]);
    }
    let fallback = [&both, &amd64, &bill].map(|subject| format!("sha256-{}", subject.digest.hex()));
    let mut tags = [&["1.0".to_owned(), old_tag.clone()][..], &fallback].concat();
    tags.sort();
    assert_eq!(reader.tags(&app), tags);
    // What is there is not sent again, nor written again.
    let again = json(&workspace, &["push", "a.krs.tar", &prefix, "--authfile", write.as_str()]);
    assert_eq!((&again["blobsSent"], &again["documentsSent"]), (&0.into(), &0.into()), "{again}");

    // Back out: nobody sees the packages without a token, and the one that may only read is enough.
    let name = format!("{USER}/team/app:1.0");
    let set = set_of(&gitea.host(), &[(&name, &both), (&format!("{USER}/team/chart:1.2.3"), &chart)]);
    std::fs::write(workspace.path().join("set.yaml"), set).unwrap();
    let krs = std::ffi::OsStr::new(env!("CARGO_BIN_EXE_krs"));
    let refused = workspace.try_run(krs, &["bundle", "set.yaml", "-o", "b.krs.tar"]);
    assert_eq!(refused.status.code(), Some(7), "{}", String::from_utf8_lossy(&refused.stderr));
    let read = auth_file(&workspace, "read.json", gitea.host().as_str(), gitea.read_token());
    workspace.krs(&["bundle", "set.yaml", "-o", "b.krs.tar", "--authfile", read.as_str()]);
    let refused = workspace.try_run(krs, &["push", "b.krs.tar", &prefix, "--authfile", read.as_str()]);
    assert_ne!(refused.status.code(), Some(0), "a token that may only read");
    let last = Registry::start(Options::default());
    workspace.krs(&["push", "b.krs.tar", last.host().as_str()]);
    assert_eq!(last.digest(&app, "1.0"), Some(both.digest));
    for image in [&both, &bill, &seal, &sealed_bill, &old] {
        for manifest in image.manifests() {
            assert!(last.manifest(&app, &manifest.digest.to_string()).is_some(), "{}", manifest.digest);
        }
    }
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn a_delta_goes_into_gitea_which_has_its_base() {
    let (workspace, gitea, source) = (Workspace::new(), Gitea::start(), Registry::start(Options::default()));
    let one = ImageBuilder::new("app").layer_random(3 << 20, 1).layer_random(40_000, 2).build();
    let two = ImageBuilder::new("app").layer_random(3 << 20, 1).layer_random(40_000, 2);
    let two = two.layer_random(7000, 3).build();
    let (prefix, edge) = (prefix(&gitea), Reader::new(&gitea));
    let write = auth_file(&workspace, "write.json", gitea.host().as_str(), gitea.write_token());
    let bundle = |image: &Image, name: &str, more: &[&str]| {
        image.push_to(&source, "team/app", Some("1.0"));
        let set = set_of(&source.host(), &[("team/app:1.0", image)]);
        std::fs::write(workspace.path().join("set.yaml"), set).unwrap();
        workspace.krs(&[&["bundle", "set.yaml", "-o", name][..], more].concat());
    };
    bundle(&one, "one.krs.tar", &[]);
    let push = |name: &str| json(&workspace, &["push", name, &prefix, "--authfile", write.as_str()]);
    push("one.krs.tar");
    // Also what Gitea does with an index whose images it does not have.
    workspace.krs(&[
        "receipt",
        &prefix,
        "--set",
        "one.krs.tar",
        "--probe",
        "--authfile",
        write.as_str(),
        "-o",
        "site.json",
    ]);
    let receipt = std::fs::read(workspace.path().join("site.json")).unwrap();
    let receipt = serde_json::from_slice::<Value>(&receipt).unwrap();
    assert_eq!(receipt["abilities"]["sparseIndex"], false, "{receipt}");
    assert_eq!(receipt["repositories"][0]["tags"]["1.0"], one.digest.to_string(), "{receipt}");
    bundle(&two, "two.krs.tar", &["--against", "site.json"]);
    assert!(std::fs::metadata(workspace.path().join("two.krs.tar")).unwrap().len() < 100_000);
    let sent = push("two.krs.tar");
    assert!(sent["bytesSent"].as_u64() < Some(20_000), "{sent}");
    assert_eq!(edge.digest(&format!("{USER}/team/app"), "1.0"), Some(two.digest), "the tag moved");
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn gitea_refuses_an_index_without_all_of_its_images_and_an_owner_that_it_does_not_have() {
    let (workspace, gitea, source) = (Workspace::new(), Gitea::start(), Registry::start(Options::default()));
    let amd64 = ImageBuilder::new("app").layer_random(1000, 1).build();
    let arm64 = ImageBuilder::new("app").layer_random(1000, 2).platform("linux/arm64").build();
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    both.push_to(&source, "team/app", Some("1.0"));
    std::fs::write(workspace.path().join("set.yaml"), set_of(&source.host(), &[("team/app:1.0", &both)]))
        .unwrap();
    workspace.krs(&["bundle", "set.yaml", "-o", "a.krs.tar", "--platform", "linux/arm64"]);
    let write = auth_file(&workspace, "write.json", gitea.host().as_str(), gitea.write_token());
    let refused = |destination: &str| {
        let krs = std::ffi::OsStr::new(env!("CARGO_BIN_EXE_krs"));
        let output =
            workspace.try_run(krs, &["push", "a.krs.tar", destination, "--authfile", write.as_str()]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let outcome = refused(&prefix(&gitea));
    assert!(
        outcome.contains("some of whose children it does not have") && outcome.contains("help:"),
        "{outcome}"
    );
    assert_eq!(Reader::new(&gitea).digest(&format!("{USER}/team/app"), "1.0"), None, "no tag was written");
    let outcome = refused(gitea.host().as_str());
    assert!(outcome.contains("404") && outcome.contains("no such project or owner"), "{outcome}");
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn images_of_real_programs_go_into_gitea_and_back() {
    let (workspace, gitea, source) = (Workspace::new(), Gitea::start(), distribution3());
    let corpus = fill(&source);
    let made = checkout(&corpus, &source.host());
    workspace.krs(&["bundle", made.path().as_str(), "-o", "a.krs.tar"]);
    let write = auth_file(&workspace, "write.json", gitea.host().as_str(), gitea.write_token());
    let prefix = prefix(&gitea);
    workspace.krs(&["push", "a.krs.tar", &prefix, "--authfile", write.as_str()]);
    let reader = Reader::new(&gitea);
    for image in &corpus.images {
        let name = format!("{USER}/{}", image.name);
        assert_eq!(reader.digest(&name, &image.tag), Some(image.digest), "{}", image.note);
    }
    let again = json(&workspace, &["push", "a.krs.tar", &prefix, "--authfile", write.as_str()]);
    assert_eq!((&again["blobsSent"], &again["documentsSent"]), (&0.into(), &0.into()), "{again}");
    workspace.krs(&[
        "receipt",
        &prefix,
        "--set",
        "a.krs.tar",
        "--authfile",
        write.as_str(),
        "-o",
        "site.json",
    ]);
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn t53_t119_an_upload_to_gitea_over_a_line_that_breaks_arrives() {
    let (workspace, gitea, source) = (Workspace::new(), Gitea::start(), Registry::start(Options::default()));
    let image = ImageBuilder::new("app").layer_random(10 << 20, 1).build();
    image.push_to(&source, "team/app", Some("1.0"));
    std::fs::write(workspace.path().join("set.yaml"), set_of(&source.host(), &[("team/app:1.0", &image)]))
        .unwrap();
    workspace.krs(&["bundle", "set.yaml", "-o", "a.krs.tar"]);
    // Gitea keeps nothing of a request that breaks, nor can the upload be continued that it belonged to.
    let line = Relay::start(gitea.address(), 3 << 20, 3);
    let write = auth_file(&workspace, "write.json", &line.address().to_string(), gitea.write_token());
    let edge = format!("{}/{USER}", line.address());
    let sent = json(&workspace, &["push", "a.krs.tar", &edge, "--authfile", write.as_str()]);
    assert_eq!(line.broken(), 3, "{sent}");
    assert_eq!(Reader::new(&gitea).digest(&format!("{USER}/team/app"), "1.0"), Some(image.digest));
}
