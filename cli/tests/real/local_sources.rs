// SPDX-License-Identifier: Apache-2.0
//! `krs bundle --from` reads what other programs export.

use std::process::Command;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use krs_core::bundle::{Bundle, Policy};
use krs_core::oci::digest::Digest;
use krs_testing::git::Checkout;
use krs_testing::image::{ImageBuilder, archive_of, docker_archive, index, oci_layout, ref_name};
use krs_testing::tools::require;

use crate::harness::{Containerd, Workspace};

/// A registry where nothing listens: what is in a bundle came from elsewhere.
const REGISTRY: &str = "localhost:9";

fn checkout(references: &[String]) -> Checkout {
    let mut checkout = Checkout::new();
    let images = references.iter().map(|reference| format!("  - image: {reference}\n")).collect::<String>();
    let set = format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: site\n  namespace: apps\n\
         spec:\n  destinationRegistry: edge.local:5000\n  images:\n{images}"
    );
    checkout.write("site.yaml", set);
    checkout.commit("Images without a registry");
    checkout
}

/// The digests of the images of a bundle.
fn digests(path: &Utf8Path) -> Vec<Digest> {
    let bundle = Bundle::open(path, &Policy::default()).unwrap();
    bundle.manifest().images.iter().map(|image| image.digest).collect()
}

#[test]
fn what_containerd_exports_keeps_its_digests_with_all_platforms_or_one() {
    let workspace = Workspace::new();
    let containerd = Containerd::start(&workspace);
    let leaf = |platform: &str, seed| {
        ImageBuilder::new("web")
            .platform(platform)
            .layer_random(40_000, seed)
            .gzip()
            .layer_random(9_000, 5)
            .build()
    };
    let web = index(&[(&leaf("linux/amd64", 1), None), (&leaf("linux/arm64", 2), None)]);
    let api = ImageBuilder::new("api").layer_random(30_000, 3).build();
    let names = [format!("{REGISTRY}/team/web:1.0"), format!("{REGISTRY}/team/api:2")];
    let files = oci_layout(&[(&web, ref_name(&names[0])), (&api, ref_name(&names[1]))]);
    std::fs::write(workspace.path().join("import.tar"), archive_of(&files)).unwrap();
    containerd.ctr(&["images", "import", "--all-platforms", "--no-unpack", "import.tar"]);
    let [web_name, api_name] = [names[0].as_str(), names[1].as_str()];
    containerd.ctr(&["images", "export", "--all-platforms", "all.tar", web_name, api_name]);
    containerd.ctr(&["images", "export", "--platform", "linux/amd64", "one.tar", web_name]);

    // By a pinned digest, and by the name alone.
    let both = checkout(&[format!("{web_name}@{}", web.digest), api_name.to_owned()]);
    let bundle = |checkout: &Checkout, file: &str, more: &[&str]| {
        workspace.krs(&[&["bundle", checkout.path().as_str(), "-o", file], more].concat());
        let mut found = digests(&workspace.path().join(file));
        found.sort();
        found
    };
    let mut expected = vec![web.digest, api.digest];
    expected.sort();
    assert_eq!(bundle(&both, "all.krs.tar", &["--from", "oci-archive:all.tar"]), expected);
    // One platform: the index is complete, its other child is not there.
    let pinned = checkout(&[format!("{web_name}@{}", web.digest)]);
    let amd64 = ["--from", "oci-archive:one.tar", "--platform", "linux/amd64"];
    assert_eq!(bundle(&pinned, "one.krs.tar", &amd64), [web.digest]);
    let arm64 = ["bundle", pinned.path().as_str(), "-o", "x.krs.tar", "--from", "oci-archive:one.tar"];
    let output = workspace.try_run(env!("CARGO_BIN_EXE_krs").as_ref(), &arm64);
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `podman system service` with images of its own.
struct Podman<'a> {
    workspace: &'a Workspace,
    service: Option<std::process::Child>,
}

impl<'a> Podman<'a> {
    fn new(workspace: &'a Workspace) -> Self {
        Self { workspace, service: None }
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let folder = self.workspace.path();
        let (root, run) = (format!("{folder}/podman"), format!("{folder}/podman-run"));
        let own =
            ["--root", &root, "--runroot", &run, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"];
        own.iter().chain(more).map(|text| (*text).to_owned()).collect()
    }

    fn run(&self, more: &[&str]) -> String {
        let arguments = self.arguments(more);
        self.workspace.tool("podman", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts the service; answers its socket.
    fn serve(&mut self) -> String {
        let socket = self.workspace.path().join("podman.sock");
        let mut command = Command::new(require("podman").as_str());
        // It ends by itself if the test is killed.
        command.args(self.arguments(&["system", "service", "--time", "120", &format!("unix://{socket}")]));
        let log = std::fs::File::create(self.workspace.path().join("podman.log")).unwrap();
        self.service = Some(command.stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while !socket.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "podman does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        socket.into_string()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        if let Some(service) = &mut self.service {
            let _ = service.kill();
            let _ = service.wait();
        }
    }
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn t286_images_of_podman_get_the_digests_of_their_archives() {
    let workspace = Workspace::new();
    let (web, api) = (
        ImageBuilder::new("web").layer_random(40_000, 1).layer_random(9_000, 2).build(),
        ImageBuilder::new("api").layer_random(40_000, 1).layer_random(7_000, 3).build(),
    );
    let names = [format!("{REGISTRY}/team/web:1.0"), format!("{REGISTRY}/team/api:2")];
    let files = docker_archive(&[(&web, &[&names[0]]), (&api, &[&names[1]])]);
    std::fs::write(workspace.path().join("images.tar"), archive_of(&files)).unwrap();
    let mut podman = Podman::new(&workspace);
    podman.run(&["load", "--input", "images.tar"]);
    let repo_digest = podman.run(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", &names[0]]);
    let from = format!("docker-daemon:{}", podman.serve());

    let tags = checkout(&names);
    let bundle = |from: &str, file: &str| {
        workspace.krs(&["bundle", tags.path().as_str(), "-o", file, "--from", from]);
        digests(&workspace.path().join(file))
    };
    let of_podman = bundle(&from, "podman.krs.tar");
    assert_eq!(of_podman.len(), 2);
    assert_eq!(of_podman, bundle("docker-archive:images.tar", "archive.krs.tar"));

    // The digest that Podman shows is that of a manifest which an export does not have.
    let pinned = checkout(&[repo_digest.trim().to_owned()]);
    let arguments = ["bundle", pinned.path().as_str(), "-o", "x.krs.tar", "--from", &from, "--retries", "0"];
    let output = workspace.try_run(env!("CARGO_BIN_EXE_krs").as_ref(), &arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("but not the manifest with this digest"), "{text}");
}
