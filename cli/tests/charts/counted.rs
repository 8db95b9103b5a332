// SPDX-License-Identifier: Apache-2.0
//! Collections whose images were counted by hand.

use crate::collect;

/// A module, a path in it, its images, and the beginnings of what cannot be known.
type Collection = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const COLLECTIONS: &[Collection] = &[
    (
        "ingress-nginx",
        "charts/ingress-nginx",
        &[
            "registry.k8s.io/ingress-nginx/controller:v1.11.0@sha256:a886e56d532d1388c77c8340261149d974370edca1093af4c97a96fb1467cb39",
            "registry.k8s.io/ingress-nginx/kube-webhook-certgen:v1.4.1@sha256:36d05b4077fb8e3d13663702fa337f124675ba8667cbd949c03a8e8ea6fa4366",
        ],
        &[],
    ),
    (
        "metallb",
        "charts/metallb",
        &[
            "quay.io/frrouting/frr:10.6.2",
            "quay.io/metallb/controller:v0.16.2",
            "quay.io/metallb/frr-k8s:v0.0.27",
            "quay.io/metallb/speaker:v0.16.2",
        ],
        &[],
    ),
    (
        // One image is in an argument: the solver of ACME challenges, which the controller starts.
        "cert-manager",
        "deploy/charts/cert-manager",
        &[
            "quay.io/jetstack/cert-manager-acmesolver:v0.0.0",
            "quay.io/jetstack/cert-manager-cainjector:v0.0.0",
            "quay.io/jetstack/cert-manager-controller:v0.0.0",
            "quay.io/jetstack/cert-manager-startupapicheck:v0.0.0",
            "quay.io/jetstack/cert-manager-webhook:v0.0.0",
        ],
        &[],
    ),
    (
        "gatekeeper",
        "charts/gatekeeper",
        &[
            "docker.io/curlimages/curl:8.20.0",
            "docker.io/openpolicyagent/gatekeeper-crds:v3.23.1",
            "docker.io/openpolicyagent/gatekeeper:v3.23.1",
        ],
        &[],
    ),
    (
        // In an argument, too: what the operator starts beside each Prometheus.
        "prometheus-operator",
        "bundle.yaml",
        &[
            "quay.io/prometheus-operator/prometheus-config-reloader:v0.85.0",
            "quay.io/prometheus-operator/prometheus-operator:v0.85.0",
        ],
        &[],
    ),
    (
        "argo-cd",
        "manifests/install.yaml",
        &[
            "docker.io/library/redis:7.2.7-alpine",
            "ghcr.io/dexidp/dex:v2.41.1",
            "quay.io/argoproj/argocd:v3.0.0-rc1",
        ],
        &[],
    ),
    (
        "argo-cd",
        "manifests/ha/install.yaml",
        &[
            "ghcr.io/dexidp/dex:v2.41.1",
            "public.ecr.aws/docker/library/haproxy:3.0.8-alpine",
            "public.ecr.aws/docker/library/redis:7.2.7-alpine",
            "quay.io/argoproj/argocd:v3.0.0-rc1",
        ],
        &[],
    ),
    (
        // The sidecar is in a template of a ConfigMap, which istiod fills in: its image cannot be known.
        "istio",
        "manifests/charts/istio-control/istio-discovery",
        &["docker.io/library/busybox:1.28", "registry.istio.io/testing/pilot:latest"],
        &["is a template that a program fills in"],
    ),
    (
        // A custom resource names most images in parts: repository, image, version.
        "gpu-operator",
        "deployments/gpu-operator",
        &[
            "nvcr.io/nvidia/cloud-native/dcgm:4.3.1-1-ubuntu22.04",
            "nvcr.io/nvidia/cloud-native/gdrdrv:v2.5.1",
            "nvcr.io/nvidia/cloud-native/gpu-operator-validator:devel-ubi8",
            "nvcr.io/nvidia/cloud-native/k8s-cc-manager:v0.1.1",
            "nvcr.io/nvidia/cloud-native/k8s-driver-manager:v0.8.1",
            "nvcr.io/nvidia/cloud-native/k8s-kata-manager:v0.2.3",
            "nvcr.io/nvidia/cloud-native/k8s-mig-manager:v0.12.3-ubuntu20.04",
            "nvcr.io/nvidia/cloud-native/vgpu-device-manager:v0.4.0",
            "nvcr.io/nvidia/cuda:13.0.1-base-ubi9",
            "nvcr.io/nvidia/driver:580.82.07",
            "nvcr.io/nvidia/gpu-operator:devel-ubi8",
            "nvcr.io/nvidia/k8s-device-plugin:v0.17.4",
            "nvcr.io/nvidia/k8s/container-toolkit:v1.17.8-ubuntu20.04",
            "nvcr.io/nvidia/k8s/dcgm-exporter:4.3.1-4.4.0-ubuntu22.04",
            "nvcr.io/nvidia/kubevirt-gpu-device-plugin:v1.4.0",
            "registry.k8s.io/nfd/node-feature-discovery:v0.17.3",
        ],
        &["names an image to whose tag the operator adds the operating system of the node"],
    ),
];

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn the_images_that_were_counted_by_hand_are_found() {
    for (module, path, images, problems) in COLLECTIONS {
        let (mut found, reasons) = collect(module, path);
        found.sort();
        assert_eq!(found, *images, "{module}/{path}");
        let is_expected = |reason: &String| problems.iter().any(|problem| reason.starts_with(problem));
        assert!(reasons.iter().all(is_expected), "{module}/{path}: {reasons:?}");
        assert_eq!(reasons.is_empty(), problems.is_empty(), "{module}/{path}: {reasons:?}");
    }
}

#[test]
#[ignore = "slow: cargo xtask test --full"]
fn what_needs_a_network_is_named_and_nothing_is_fetched() {
    for (module, path, reason) in [
        (
            "external-secrets",
            "deploy/charts/external-secrets",
            "needs charts that are not in its folder `charts`",
        ),
        ("flux2", "manifests/install", "takes https://github.com/fluxcd/helm-controller/releases/"),
    ] {
        let mut krs = std::process::Command::new(env!("CARGO_BIN_EXE_krs"));
        krs.arg("collect").arg(crate::source(module, path)).args(["--destination", "edge.local"]);
        let output = krs.output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{module}: {messages}");
        assert!(messages.contains(reason), "{module}: {messages}");
        assert!(output.stdout.is_empty(), "{module}");
    }
}
