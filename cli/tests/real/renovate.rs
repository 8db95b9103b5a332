// SPDX-License-Identifier: Apache-2.0
//! Renovate finds every image of the examples with the configuration that docs/sets.md shows, and would write the same
//! form back. Slow, since it has some 600 packages: `cargo xtask test --full`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use krs_core::oci::reference::Reference;
use krs_testing::tools::require;
use serde_json::Value;

use crate::harness::Workspace;

/// A file of this repository.
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The configuration that the page shows.
fn configuration() -> String {
    let page = read("docs/sets.md");
    let (_, rest) = page.split_once("In `renovate.json`:\n\n```json\n").unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// The dependencies that Renovate reports, from its log.
fn dependencies(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut files = lines.filter_map(|line| line["packageFiles"]["kubernetes"].as_array().cloned());
    let files = files.next_back().unwrap_or_else(|| panic!("it found no file:\n{log}"));
    files.iter().flat_map(|file| file["deps"].as_array().cloned().unwrap_or_default()).collect()
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn renovate_finds_every_image_of_the_examples_and_keeps_its_form() {
    let workspace = Workspace::new();
    let sites = workspace.path().join("sites");
    std::fs::create_dir(&sites).unwrap();
    std::fs::write(workspace.path().join("renovate.json"), configuration()).unwrap();
    let mut images = BTreeSet::new();
    for name in ["shop.yaml", "factory.yaml"] {
        let text = read(&format!("examples/{name}"));
        let of_file = text.lines().filter_map(|line| line.trim().strip_prefix("- image: "));
        images.extend(of_file.map(|image| image.split_whitespace().next().unwrap().to_owned()));
        std::fs::write(sites.join(name), text).unwrap();
    }
    assert!(images.len() >= 5, "{images:?}");
    workspace.run("git", &["init", "--quiet"]);
    workspace.run("git", &["add", "."]);
    workspace
        .run("git", &["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "Add sets"]);

    let mut renovate = Command::new(require("renovate").as_str());
    renovate.args(["--platform=local", "--dry-run=extract", "--onboarding=false"]);
    renovate.current_dir(workspace.path()).env("HOME", workspace.path()).env("TMPDIR", workspace.path());
    renovate.env("LOG_FORMAT", "json").env("LOG_LEVEL", "debug");
    // It needs no network for this, and gets none.
    let nowhere = "http://127.0.0.1:9";
    renovate.env("HTTPS_PROXY", nowhere).env("HTTP_PROXY", nowhere).env("NO_PROXY", "");
    let output = renovate.output().unwrap();
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{log}{}", String::from_utf8_lossy(&output.stderr));

    let mut found = BTreeSet::new();
    for dependency in dependencies(&log) {
        let field = |name: &str| dependency[name].as_str().unwrap_or_default().to_owned();
        let image = field("replaceString");
        let reference = image.parse::<Reference>().unwrap();
        assert_eq!(field("datasource"), "docker", "{image}");
        let digest = reference.digest.map(|digest| digest.to_string()).unwrap_or_default();
        assert_eq!(field("currentDigest"), digest, "{image}");
        let tag = reference.tag.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_eq!(field("currentValue"), tag, "{image}");
        // What it writes is one string again: name, tag, digest.
        let template = field("autoReplaceStringTemplate");
        assert!(
            template.starts_with("{{depName}}") && template.ends_with("@{{newDigest}}{{/if}}"),
            "{template}"
        );
        found.insert(image);
    }
    assert_eq!(found, images);
}
