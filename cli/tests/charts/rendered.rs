// SPDX-License-Identifier: Apache-2.0
//! Collections whose images are compared with those of the containers in what helm and kubectl render.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::{collect, source};

/// How a collection is rendered without krs.
enum Render {
    Helm,
    Kustomize,
    /// A file that is rendered already.
    Nothing,
}

use Render::{Helm, Kustomize, Nothing};

const COLLECTIONS: &[(&str, &str, Render)] = &[
    ("ingress-nginx", "charts/ingress-nginx", Helm),
    ("metallb", "charts/metallb", Helm),
    ("kueue", "charts/kueue", Helm),
    ("metrics-server", "charts/metrics-server", Helm),
    ("descheduler", "charts/descheduler", Helm),
    ("external-dns", "charts/external-dns", Helm),
    ("cert-manager", "deploy/charts/cert-manager", Helm),
    ("gatekeeper", "charts/gatekeeper", Helm),
    ("gpu-operator", "deployments/gpu-operator", Helm),
    ("istio", "manifests/charts/istio-control/istio-discovery", Helm),
    ("istio", "manifests/charts/istio-cni", Helm),
    ("istio", "manifests/charts/ztunnel", Helm),
    ("ingress-nginx", "deploy/static/provider/cloud/deploy.yaml", Nothing),
    ("metallb", "config/manifests/metallb-native.yaml", Nothing),
    ("gatekeeper", "deploy/gatekeeper.yaml", Nothing),
    ("prometheus-operator", "bundle.yaml", Nothing),
    ("argo-cd", "manifests/install.yaml", Nothing),
    ("argo-cd", "manifests/ha/install.yaml", Nothing),
    ("istio", "samples/bookinfo/platform/kube/bookinfo.yaml", Nothing),
    ("keda", "config/default", Kustomize),
    ("metallb", "config/frr", Kustomize),
    ("descheduler", "kubernetes/deployment", Kustomize),
    ("metrics-server", "manifests/overlays/release", Kustomize),
    ("external-dns", "kustomize", Kustomize),
    ("argo-cd", "manifests/cluster-install", Kustomize),
];

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn every_image_of_a_container_is_found() {
    for (module, path, render) in COLLECTIONS {
        let source = source(module, path);
        let rendered = match render {
            Helm => run("helm", &["template", "release"], &source),
            Kustomize => run("kubectl", &["kustomize"], &source),
            Nothing => std::fs::read_to_string(&source).unwrap(),
        };
        let expected = images(&rendered);
        assert!(!expected.is_empty(), "{module}/{path}");
        let (found, _) = collect(module, path);
        let missing = expected.iter().filter(|image| !found.iter().any(|found| is_same(found, image)));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new(), "{module}/{path}: {found:?}");
    }
}

fn run(program: &str, arguments: &[&str], source: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(source).output().expect(program);
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The texts behind `image:` that can be pulled: found line by line, in another way than krs does.
fn images(rendered: &str) -> BTreeSet<String> {
    let values = rendered
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("image: "));
    let values = values.map(|value| value.trim().trim_matches(['"', '\'']).to_owned());
    // Parts of a name in a custom resource, templates, and descriptions in schemas have no tag.
    values.filter(|value| value.contains(':') && !value.contains([' ', '{'])).collect()
}

/// Whether an image is the one that a manifest names: names of Docker Hub are shorter there.
fn is_same(found: &str, written: &str) -> bool {
    ["", "docker.io/", "docker.io/library/"].iter().any(|prefix| found == format!("{prefix}{written}"))
}
