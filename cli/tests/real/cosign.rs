// SPDX-License-Identifier: Apache-2.0
//! cosign signs images at the source and verifies them at the edge, where their layers were made of patches.
//! Slow, since cosign takes minutes to build: `cargo xtask test --full`.

use krs_testing::git::Checkout;
use krs_testing::image::{Image, ImageBuilder, gzip_of_buildkit, random_bytes, tar_of};
use krs_testing::tools::require;

use crate::harness::{Workspace, distribution3, set_of};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Repositories, and how cosign keeps signatures there: as a referrer, and under a tag.
const FORMS: [(&str, &str); 2] = [("team/referrer", "true"), ("team/tag", "false")];

/// A program that changes in a few bytes from version to version.
fn image(name: &str, version: u8) -> Image {
    let mut program = random_bytes(600_000, name.len() as u64);
    program[300_000] = version;
    let layer = gzip_of_buildkit(&tar_of(&[("usr/bin/app", program.as_slice())]));
    ImageBuilder::new(name).layer_type(GZIP).layer(layer).build()
}

fn cosign(workspace: &Workspace, arguments: &[&str]) {
    let cosign = require("cosign");
    workspace.run("env", &[&["COSIGN_PASSWORD=", cosign.as_str()], arguments].concat());
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn signatures_of_cosign_are_valid_where_layers_were_made_of_patches() {
    let (workspace, source, edge) = (Workspace::new(), distribution3(), distribution3());
    let (source_host, edge_host) = (source.host(), edge.host().to_string());
    cosign(&workspace, &["generate-key-pair"]);
    cosign(&workspace, &["generate-key-pair", "--output-key-prefix=other"]);
    let mut checkout = Checkout::new();
    for version in [1, 2] {
        let images = FORMS.map(|(name, as_referrer)| {
            let image = image(name, version);
            let layout = format!("{name}-{version}").replace('/', "-");
            image.write_layout(&workspace.path().join(&layout), "image");
            let (from, to) =
                (format!("oci:{layout}:image"), format!("docker://{source_host}/{name}:{version}"));
            workspace.tool("skopeo", &["copy", "--dest-tls-verify=false", "--preserve-digests", &from, &to]);
            let format = format!("--new-bundle-format={as_referrer}");
            let reference = format!("{source_host}/{name}@{}", image.digest);
            let offline =
                ["sign", "--yes", "--key=cosign.key", "--use-signing-config=false", "--tlog-upload=false"];
            cosign(&workspace, &[&offline[..], &[&format, &reference]].concat());
            (name, image)
        });
        checkout
            .write("set.yaml", set_of(&source_host, &images.each_ref().map(|(name, image)| (*name, image))));
        checkout.commit(&format!("Version {version}"));
        let (file, sequence) = (format!("v{version}.krs.tar"), version.to_string());
        let mut bundle = vec!["bundle", checkout.path().as_str(), "-o", &file, "--sequence", &sequence];
        if version == 2 {
            bundle.extend(["--against", "v1.krs.tar", "--compact", "--format", "json"]);
        }
        let report = workspace.krs(&bundle);
        if version == 2 {
            let report = serde_json::from_str::<serde_json::Value>(&report).unwrap();
            assert_eq!(report["patched"]["layers"], 2, "{report}");
        }
        workspace.krs(&["push", &file, &edge_host]);
        for (name, image) in &images {
            let reference = format!("{edge_host}/{name}@{}", image.digest);
            let verify = |key: &str| {
                let arguments = ["verify", key, "--insecure-ignore-tlog=true", &reference];
                workspace.try_run(require("cosign").as_ref(), &arguments)
            };
            let verified = verify("--key=cosign.pub");
            assert!(verified.status.success(), "{name}: {}", String::from_utf8_lossy(&verified.stderr));
            assert!(!verify("--key=other.pub").status.success(), "{name}: it accepts any key");
        }
    }
}
