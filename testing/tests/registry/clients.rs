// SPDX-License-Identifier: Apache-2.0
//! The registry for tests and the real Distribution, used by skopeo where it is installed.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;
use krs_testing::distribution::{self, Distribution};
use krs_testing::image::{self, Image, ImageBuilder};
use krs_testing::registry::{Auth, Options, Registry};
use krs_testing::tools;

/// An index with everything that skopeo copies: two platforms, gzip and zstd, a layer that both share.
fn sample() -> Image {
    let shared = [("etc/os-release", "NAME=test")];
    let amd64 =
        ImageBuilder::new("app").layer_files(&shared).gzip().layer_random(900_000, 1).empty_layer().build();
    let arm64 = ImageBuilder::new("app").layer_files(&shared).zstd().layer_random(2000, 2);
    image::index(&[(&amd64, None), (&arm64.platform("linux/arm64/v8").build(), None)])
}

/// `skopeo copy --all` with these further arguments.
fn copy(skopeo: &Utf8Path, arguments: &[&str], from: &str, to: &str) {
    let mut command = Command::new(skopeo);
    command.args(["--insecure-policy", "copy", "--all", "--preserve-digests", "--quiet"]);
    let output = command.args(arguments).args([from, to]).output().unwrap();
    assert!(output.status.success(), "{from} -> {to}: {}", String::from_utf8_lossy(&output.stderr));
}

fn digest_in_layout(folder: &Utf8Path) -> Digest {
    let index = std::fs::read_to_string(folder.join("index.json")).unwrap();
    let index = serde_json::from_str::<serde_json::Value>(&index).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap()
}

/// Copies the image into `host` and out again; answers the digest that arrived.
fn there_and_back(skopeo: &Utf8Path, image: &Image, host: &str, to: &[&str], from: &[&str]) -> Digest {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    let (before, after) = (folder.join("before"), folder.join("after"));
    image.write_layout(&before, "app");
    copy(skopeo, to, &format!("oci:{before}:app"), &format!("docker://{host}/team/app:1.0"));
    copy(skopeo, from, &format!("docker://{host}/team/app:1.0"), &format!("oci:{after}:app"));
    let digest = digest_in_layout(&after);
    std::fs::remove_dir_all(folder).unwrap();
    digest
}

#[test]
fn skopeo_copies_an_index_in_and_out_without_changing_a_digest() {
    let Some(skopeo) = tools::find("skopeo") else { return };
    let image = sample();

    let plain = Registry::start(Options::default());
    let (to, from) = (["--dest-tls-verify=false"], ["--src-tls-verify=false"]);
    assert_eq!(there_and_back(&skopeo, &image, plain.host().as_str(), &to, &from), image.digest);
    assert_eq!(plain.digest("team/app", "1.0"), Some(image.digest));
    let agents = plain.requests().into_iter().filter_map(|request| request.user_agent).collect::<Vec<_>>();
    assert!(agents.iter().all(|agent| agent.starts_with("skopeo/")), "{agents:?}");

    for auth in [Auth::basic("user", "word"), Auth::bearer("user", "word")] {
        let options = Options { tls: true, client_certificate: true, auth, ..Options::default() };
        let registry = Registry::start(options);
        let certificates = tempfile::tempdir().unwrap();
        let identity = registry.client_identity().unwrap();
        std::fs::copy(registry.ca_file().unwrap(), certificates.path().join("ca.crt")).unwrap();
        std::fs::write(certificates.path().join("client.cert"), &identity.certificate).unwrap();
        std::fs::write(certificates.path().join("client.key"), &identity.key).unwrap();
        let folder = certificates.path().to_str().unwrap();
        let (to, from) = (["--dest-cert-dir", folder], ["--src-cert-dir", folder]);
        let to = [to.as_slice(), &["--dest-creds", "user:word"]].concat();
        let from = [from.as_slice(), &["--src-creds", "user:word"]].concat();
        assert_eq!(there_and_back(&skopeo, &image, registry.host().as_str(), &to, &from), image.digest);
    }
}

#[test]
fn skopeo_copies_a_docker_list_and_a_helm_chart() {
    let Some(skopeo) = tools::find("skopeo") else { return };
    let registry = Registry::start(Options::default());
    let docker = ImageBuilder::new("app").docker().layer_files(&[("a", "b")]).build();
    let (to, from) = (["--dest-tls-verify=false"], ["--src-tls-verify=false", "--dest-tls-verify=false"]);
    for image in [image::docker_list(&[(&docker, None)]), image::with_attestations(&[&sample().children[0]])]
    {
        image.push_to(&registry, "from/app", Some("1"));
        let host = registry.host();
        copy(&skopeo, &from, &format!("docker://{host}/from/app:1"), &format!("docker://{host}/to/app:1"));
        assert_eq!(registry.digest("to/app", "1"), Some(image.digest));
    }
    let chart = image::helm_chart("chart", "1.2.3");
    assert_eq!(there_and_back(&skopeo, &chart, registry.host().as_str(), &to, &from[..1]), chart.digest);
}

#[test]
fn the_real_distribution_runs_with_a_password_and_tls() {
    let Some(skopeo) = tools::find("skopeo") else { return };
    let image = sample();
    for binary in ["registry", "docker-registry"].into_iter().filter_map(tools::find) {
        let options = distribution::Options {
            password: true,
            tls: true,
            sparse_indexes: true,
            ..distribution::Options::default()
        };
        let registry = Distribution::start(&binary, options);
        let certificates = tempfile::tempdir().unwrap();
        std::fs::copy(registry.ca_file().unwrap(), certificates.path().join("ca.crt")).unwrap();
        let folder = certificates.path().to_str().unwrap();
        let credentials = format!("{}:{}", distribution::USER, distribution::PASSWORD);
        let to = ["--dest-cert-dir", folder, "--dest-creds", &credentials];
        let from = ["--src-cert-dir", folder, "--src-creds", &credentials];
        let host = registry.host();
        assert_eq!(there_and_back(&skopeo, &image, host.as_str(), &to, &from), image.digest, "{binary}");
    }
}
