// SPDX-License-Identifier: Apache-2.0
//! The commands of the documentation that need a cluster.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;

use crate::edge::edges;
use crate::harness::{apply, cluster, get, run, wait_ready};
use crate::site::{SYSTEM, Site};
use crate::source::{Ci, namespace, node_name, reference, registry, set, small_image};

/// Begins the comment before a block that is for here.
const MARK: &str = "<!-- not run: needs a cluster";

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The first block of this language after `mark`.
fn block<'a>(page: &'a str, mark: &str, language: &str) -> &'a str {
    let after = page.split(mark).nth(1).unwrap();
    after.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap()
}

/// Runs a block as one who copies it would, in the folder of the repository.
fn bash(commands: &str) {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(format!("{}/..", env!("CARGO_MANIFEST_DIR")))
        .env("KUBECONFIG", cluster().kubeconfig())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}\n{}{message}", String::from_utf8_lossy(&output.stdout));
}

/// Brings a bundle through the Pod of install.md that fills a claim, under Pod Security of the namespace: with the image that
/// every node of the tests has, and the claim of this installation.
fn fill_claim(site: &Site, bundle: &camino::Utf8Path) {
    let install = page("install.md");
    let (pod, commands) = install.split_once("# copier.yaml\n").unwrap().1.split_once("```").unwrap();
    let importer = get("deployments", SYSTEM, "krs-importer").unwrap();
    let volumes = importer["spec"]["template"]["spec"]["volumes"].as_array().unwrap().iter();
    let claim =
        volumes.clone().find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str()).unwrap();
    // The kubelet gives no folder of a node to the group of a Pod, as it does with other volumes.
    std::os::unix::fs::chown(site.drive(), None, Some(65532)).unwrap();
    std::fs::set_permissions(site.drive(), std::fs::Permissions::from_mode(0o775)).unwrap();
    let replace = |text: &str, what: &str, with: &str| {
        assert!(text.contains(what), "{what} is not in install.md");
        text.replace(what, with)
    };
    let pod = replace(pod, "edge-registry.local:5000/library/busybox:1.37", "krs.test/busybox:1");
    let pod = replace(&pod, "[sleep, ", "[/bin/busybox, sleep, ");
    let pod = replace(&pod, "claimName: krs-importer-bundles", &format!("claimName: {claim}"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copier.yaml");
    std::fs::write(&file, pod).unwrap();
    let commands = replace(block(commands, MARK, "sh"), "-f copier.yaml", &format!("-f {}", file.display()));
    let commands = replace(&commands, " sh -c ", " /bin/busybox sh -c ");
    bash(&replace(&commands, "<prod.krs.tar", &format!("<{bundle}")));
}

#[test]
fn the_commands_of_the_documentation_work() {
    let source = registry(None, false);
    let image = small_image("docs", 20_000);
    image.push_to(&source, "docs/app", Some("1"));
    let (access, _) = edges().open.access("shop");
    let references = [reference(&source, "docs/app", "1", &image)];
    let tills = set("shop", "tills", edges().open.host().as_str(), &references, &access);
    let mut ci = Ci::new();
    ci.commit(std::slice::from_ref(&tills));
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("shop");
    apply(&tills);
    fill_claim(&site, &ci.bundle("docs", "docs", 1, &source, &[]));
    wait_ready("shop", "tills");
    let operate = page("operate.md");
    bash(block(&operate, MARK, "sh"));
    let annotate = operate.split('`').find(|code| code.starts_with("kubectl annotate")).unwrap();
    bash(&format!("{annotate} --namespace shop"));

    // Another installation beside ours would be a second writer: ours goes, and the next test installs it again.
    run("helm", &["uninstall", "krs-importer", "--namespace", SYSTEM, "--wait"], None);
    let install = page("install.md");
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.yaml");
    // The page's image was pushed to the site's registry; ours is loaded on the node.
    let (repository, _) = cluster().image.rsplit_once(':').unwrap();
    let text =
        block(&install, "## Values", "yaml").replace("edge-registry.local:5000/krs-importer", repository);
    let text = text.replace("/media/usb", site.drive().to_str().unwrap());
    std::fs::write(&values, text.replace("edge-1", &node_name())).unwrap();
    run("kubectl", &["delete", "namespace", SYSTEM, "--wait=true"], None);
    bash(&block(&install, MARK, "sh").replace("values.yaml", values.to_str().unwrap()));
    bash(&block(&page("upgrade.md"), MARK, "sh").replace("values.yaml", values.to_str().unwrap()));
    bash(block(&page("uninstall.md"), MARK, "sh"));
}
