// SPDX-License-Identifier: Apache-2.0
//! One file of each format of lists, in `testdata/collect/lists/`.

use camino::Utf8PathBuf;
use insta::assert_snapshot;

use super::super::{CollectOptions, Collected, collect, used_images};
use crate::progress::NoProgress;

fn read(file: &str) -> Collected {
    let source = Utf8PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/collect/lists")).join(file);
    collect(&CollectOptions { sources: vec![source], ..CollectOptions::default() }, None, &NoProgress)
        .unwrap()
}

/// What a file names: images, problems and notes, each with its place.
fn content(file: &str) -> String {
    let collected = read(file);
    let images =
        collected.collection.images.iter().map(|image| format!("{} <- {}", image.image, image.origin));
    let problems = collected.collection.problems.iter();
    let problems = problems.map(|problem| format!("PROBLEM {}: {}", problem.origin, problem.reason));
    let notes = collected.skipped.iter().map(|note| format!("note {}: {}", note.origin, note.reason));
    images.chain(problems).chain(notes).collect::<Vec<_>>().join("\n")
}

#[test]
fn lists_of_distributions_have_one_image_a_line() {
    assert_snapshot!(content("k3s-images.txt"), @"
    docker.io/rancher/klipper-helm:v0.9.5-build20250306 <- k3s-images.txt:2
    docker.io/rancher/klipper-lb:v0.4.13 <- k3s-images.txt:3
    docker.io/rancher/local-path-provisioner:v0.0.31 <- k3s-images.txt:4
    docker.io/rancher/mirrored-coredns-coredns:1.12.1 <- k3s-images.txt:6
    docker.io/rancher/mirrored-library-traefik:3.3.6 <- k3s-images.txt:7
    docker.io/rancher/mirrored-pause:3.6 <- k3s-images.txt:9
    PROBLEM k3s-images.txt:8: `rancher mirrored pause` is not the name of an image
    ");
    assert_snapshot!(content("rancher-images-sources.txt"), @"
    rancher/rancher:v2.11.2 <- rancher-images-sources.txt:1
    rancher/rancher-agent:v2.11.2 <- rancher-images-sources.txt:2
    rancher/mirrored-calico-node:v3.29.3 <- rancher-images-sources.txt:3
    registry.suse.com/rancher/nginx-ingress:v1.2 <- rancher-images-sources.txt:4
    ");
    assert_snapshot!(content("rancher-images-digests-linux.txt"), @"
    docker.io/rancher/fleet:v0.12.3@sha256:5f0a8a5c0f1b6d4f2f6d4c8f8fb2f2cfa7c5b0d6f0e1d2c3b4a5968778695a4b <- rancher-images-digests-linux.txt:1
    docker.io/rancher/fleet-agent:v0.12.3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- rancher-images-digests-linux.txt:2
    ");
    assert_snapshot!(content("k0s-list-images.txt"), @"
    quay.io/k0sproject/metrics-server:v0.7.2-3 <- k0s-list-images.txt:1
    quay.io/k0sproject/kube-proxy:v1.33.1 <- k0s-list-images.txt:2
    quay.io/k0sproject/coredns:1.12.1 <- k0s-list-images.txt:3
    quay.io/k0sproject/cni-node:1.3.0-k0s.0 <- k0s-list-images.txt:4
    registry.k8s.io/pause:3.9 <- k0s-list-images.txt:5
    ");
    assert_snapshot!(content("pinned-images.txt"), @"
    quay.io/a/b:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- pinned-images.txt:1
    quay.io/a/c@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- pinned-images.txt:2
    nginx:1.29 <- pinned-images.txt:3
    ");
    assert_snapshot!(content("sequence.yaml"), @"
    quay.io/site/a:1 <- sequence.yaml:2: [0]
    quay.io/site/b:2 <- sequence.yaml:3: [1]
    PROBLEM sequence.yaml:4: [2]: `not an image` is not the name of an image
    ");
}

#[test]
fn lines_of_a_log_among_images_are_named() {
    assert_snapshot!(content("kubeadm-images.txt"), @"
    registry.k8s.io/kube-apiserver:v1.33.1 <- kubeadm-images.txt:2
    registry.k8s.io/kube-controller-manager:v1.33.1 <- kubeadm-images.txt:3
    registry.k8s.io/coredns/coredns:v1.12.0 <- kubeadm-images.txt:4
    registry.k8s.io/etcd:3.5.21-0 <- kubeadm-images.txt:5
    PROBLEM kubeadm-images.txt:1: `W0603 09:14:07.401325    4711 version.go:109] could not fetch a Kubernetes version from the internet` is not the name of an image
    ");
}

#[test]
fn a_table_of_repositories_is_no_list_of_images() {
    assert_snapshot!(content("rancher-images-origins.txt"), @"note rancher-images-origins.txt: holds no Kubernetes resource and is no list of images");
}

#[test]
fn hauler_manifests_name_images_and_what_else_they_need() {
    assert_snapshot!(content("hauler.yaml"), @"
    registry.site.example/neuvector/scanner <- hauler.yaml:10: Images site-images: spec.images[0].name
    docker.io/neuvector/updater:0.0.1 <- hauler.yaml:11: Images site-images: spec.images[1].name
    ghcr.io/hauler-dev/library/nginx:1.29 <- hauler.yaml:13: Images site-images: spec.images[2].name
    ghcr.io/site/tool:2 <- hauler.yaml:15: Images site-images: spec.images[3].name
    quay.io/beside/pod:1 <- hauler.yaml:57: Pod beside: spec.containers[0].image
    PROBLEM hauler.yaml:25: Charts site-charts: spec.charts[0]: refers to the chart `rancher` 2.11.2 of https://releases.rancher.com/server-charts/stable, which was not followed
    PROBLEM hauler.yaml:28: Charts site-charts: spec.charts[1]: refers to the chart `hauler-helm` of oci://ghcr.io/hauler-dev, which was not followed
    PROBLEM hauler.yaml:39: Files site-files: spec.files[1]: refers to the file https://***@files.example/addons/longhorn.yaml, which was not followed
    PROBLEM hauler.yaml:15: Images site-images: spec.images[3].name: `ghcr.io/site/tool:2` is taken from a Docker daemon, and may be in no registry
    PROBLEM hauler.yaml:17: Images site-images: spec.images[4].name: names no image
    PROBLEM hauler.yaml:47: ThickCharts loki: spec.charts[0]: refers to the chart `loki` of https://grafana.github.io/helm-charts, which was not followed
    note hauler.yaml:13: Images site-images: spec.images[2].rewrite: is renamed to `apps/nginx:1.29` by Hauler; a set uses the name of its source
    note hauler.yaml:37: Files site-files: spec.files[0]: refers to the file https://get.rke2.io, which was not followed
    ");
    assert_snapshot!(content("hauler-v1alpha1.yaml"), @"
    rancher/rancher:v2.8.5 <- hauler-v1alpha1.yaml:7: Images old: spec.images[0].name
    busybox <- hauler-v1alpha1.yaml:8: Images old: spec.images[1].name
    ");
}

#[test]
fn image_set_configurations_name_additional_images_and_what_is_not_followed() {
    assert_snapshot!(content("imageset-v1.yaml"), @"
    registry.redhat.io/ubi9/ubi:latest <- imageset-v1.yaml:22: mirror.additionalImages[0].name
    quay.io/site/tool@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- imageset-v1.yaml:24: mirror.additionalImages[2].name
    PROBLEM imageset-v1.yaml:33: mirror.helm.local[0]: refers to the chart /charts/site-1.0.0.tgz, which was not followed
    PROBLEM imageset-v1.yaml:30: mirror.helm.repositories[0].charts[0]: refers to the chart `podinfo` 5.0.0 of https://stefanprodan.github.io/podinfo, which was not followed
    PROBLEM imageset-v1.yaml:16: mirror.operators[0]: refers to the operators `elasticsearch-operator`, `serverless-operator` of the catalog `registry.redhat.io/redhat/redhat-operator-index:v4.16`, which were not followed
    PROBLEM imageset-v1.yaml:20: mirror.operators[1]: refers to all operators of the catalog `registry.redhat.io/redhat/certified-operator-index:v4.16`, which were not followed
    PROBLEM imageset-v1.yaml:10: mirror.platform.channels[0]: refers to releases of the channel `stable-4.16` (4.16.1 to 4.16.3), which were not followed
    PROBLEM imageset-v1.yaml:9: mirror.platform.graph: asks for an image with the update graph, which oc-mirror builds itself
    note imageset-v1.yaml:23: mirror.additionalImages[1].name: `quay.io/site/blocked:1` is one of the blockedImages
    note imageset-v1.yaml:36: mirror.blockedImages: patterns of blockedImages are not applied; only equal names are left out
    ");
    assert_snapshot!(content("imageset-v2.yaml"), @"
    registry.redhat.io/ubi8/ubi:8.10 <- imageset-v2.yaml:7: mirror.additionalImages[0].name
    PROBLEM imageset-v2.yaml:5: mirror.platform.release: refers to the release `quay.io/openshift-release-dev/ocp-release:4.18.1-x86_64`, whose images were not followed
    note imageset-v2.yaml:10: kind: is of the kind `DeleteImageSetConfiguration`, which names images to delete, not to carry
    ");
}

#[test]
fn zarf_packages_name_the_images_of_components() {
    assert_snapshot!(content("zarf.yaml"), @"
    ghcr.io/stefanprodan/podinfo:6.4.0 <- zarf.yaml:22: ZarfPackageConfig site: components[web].images[0]
    redis:7.4 <- zarf.yaml:24: ZarfPackageConfig site: components[web].images[2]
    PROBLEM zarf.yaml:29: ZarfPackageConfig site: components[base].import.path: imports a component of ../base, which was not followed
    PROBLEM zarf.yaml:34: ZarfPackageConfig site: components[remote].imageArchives[0]: refers to the archive images/tool.tar with the images `site.example/tool:1`, which was not followed
    PROBLEM zarf.yaml:32: ZarfPackageConfig site: components[remote].import.url: imports a component of oci://ghcr.io/zarf-dev/packages/init:v0.55.0, which was not followed
    PROBLEM zarf.yaml:23: ZarfPackageConfig site: components[web].images[1]: `docker.io/library/nginx:###ZARF_PKG_TMPL_NGINX_VERSION###` holds a variable of Zarf, so the image is not known
    note zarf.yaml:12: ZarfPackageConfig site: components[web].charts[0]: the chart `podinfo` was not followed: Zarf carries the images that `images` lists
    note zarf.yaml:18: ZarfPackageConfig site: components[web].manifests[0]: the group of manifests `extra` was not followed: Zarf carries the images that `images` lists
    note zarf.yaml:26: ZarfPackageConfig site: components[web].repos[0]: the Git repository `https://***@v1` was not followed: Zarf carries the images that `images` lists
    ");
    assert_snapshot!(content("zarf-v1beta1.yaml"), @"
    ghcr.io/stefanprodan/podinfo:6.4.0 <- zarf-v1beta1.yaml:8: ZarfPackageConfig next: components[web].images[0]
    site/tool:1 <- zarf-v1beta1.yaml:9: ZarfPackageConfig next: components[web].images[1]
    PROBLEM zarf-v1beta1.yaml:9: ZarfPackageConfig next: components[web].images[1]: `site/tool:1` is taken from a Docker daemon, and may be in no registry
    ");
}

#[test]
fn lock_files_name_images_with_their_digests() {
    assert_snapshot!(content("Images.lock"), @"
    docker.io/bitnami/nginx:1.29.0-debian-12-r0 <- Images.lock:12: images[0].image
    docker.io/bitnami/nginx-exporter:1.4.2@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- Images.lock:20: images[1].image
    PROBLEM Images.lock:25: images[2].image: names no image
    note Images.lock:12: images[0].image: `docker.io/bitnami/nginx:1.29.0-debian-12-r0` is taken by its tag: the digests are those of its platforms (linux/amd64, linux/arm64), not that of the index
    note Images.lock:20: images[1].image: the digest of `docker.io/bitnami/nginx-exporter:1.4.2` may be that of one platform only (linux/amd64), and not that of the index
    ");
    assert_snapshot!(content("imgpkg-images.yml"), @"index.docker.io/site/app@sha256:4c8b96d4fffdfae29258d94a22ae4ad1fe36139d47288b8960d9958d1e63a9d0 <- imgpkg-images.yml:5: images[0].image");
}

#[test]
fn compose_files_name_the_images_of_services() {
    assert_snapshot!(content("docker-compose.yml"), @"
    nginx:1.29 <- docker-compose.yml:10: Compose shop: services.web.image
    site/price:1$2 <- docker-compose.yml:17: Compose shop: services.price.image
    ghcr.io/site/worker:1.4 <- docker-compose.yml:4: Compose shop: services.worker.image
    ghcr.io/site/built:3 <- docker-compose.yml:24: Compose shop: services.built-and-pushed.image
    busybox:1.37 <- docker-compose.yml:35: Compose shop: services.data.image
    ghcr.io/site/data:5 <- docker-compose.yml:37: Compose shop: services.data.volumes[0].source
    PROBLEM docker-compose.yml:6: Compose shop: include[0]: includes ../common/compose.yaml, which was not followed
    PROBLEM docker-compose.yml:7: Compose shop: include[1]: includes a.yaml, which was not followed
    PROBLEM docker-compose.yml:7: Compose shop: include[2]: includes b.yaml, which was not followed
    PROBLEM docker-compose.yml:45: Compose shop: models.small: refers to the model `ai/smollm2`, which was not followed
    PROBLEM docker-compose.yml:13: Compose shop: services.api.image: `ghcr.io/site/api:${TAG:-1.2}` holds a variable; with its default it is `ghcr.io/site/api:1.2`
    PROBLEM docker-compose.yml:21: Compose shop: services.built.build: is built from a Dockerfile, and names no image
    PROBLEM docker-compose.yml:15: Compose shop: services.job.image: `${REGISTRY}/site/job:$TAG` holds a variable
    PROBLEM docker-compose.yml:28: Compose shop: services.other.extends: has the image of a service in common.yml, which was not followed
    note docker-compose.yml:26: Compose shop: services.sibling.extends: has the image of another service of the file
    note docker-compose.yml:32: Compose shop: services.llm.provider: is run by the program `model`, not as a container
    ");
}

#[test]
fn nodes_name_the_images_that_they_have_stored() {
    assert_snapshot!(content("nodes.yaml"), @"
    docker.io/library/nginx:1.29@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- nodes.yaml:10: Node edge-1: status.images[0]
    registry.k8s.io/pause@sha256:5f0a8a5c0f1b6d4f2f6d4c8f8fb2f2cfa7c5b0d6f0e1d2c3b4a5968778695a4b <- nodes.yaml:14: Node edge-1: status.images[1]
    registry.site.example:5000/local:dev <- nodes.yaml:20: Node edge-1: status.images[3]
    note nodes.yaml:4: Node edge-1: status.images: also has images that nothing runs any more
    ");
}

#[test]
fn pods_name_the_digests_that_run() {
    assert_snapshot!(content("pods.json"), @"
    nginx:1.29@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- pods.json:35: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[0].image
    ghcr.io/site/migrate:3@sha256:5f0a8a5c0f1b6d4f2f6d4c8f8fb2f2cfa7c5b0d6f0e1d2c3b4a5968778695a4b <- pods.json:23: Pod shop/web-7d4b9c6f5-x2x9z: spec.initContainers[0].image
    ghcr.io/site/migrate:3 <- pods.json:11: Pod shop/web-7d4b9c6f5-x2x9z: spec.initContainers[0].image
    nginx:1.29 <- pods.json:13: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[0].image
    quay.io/site/tool:1 <- pods.json:13: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[0].env[0].value
    site/local:dev <- pods.json:14: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[1].image
    quay.io/site/pinned@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef <- pods.json:15: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[2].image
    registry.site.example/redis:7 <- pods.json:16: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[3].image
    quay.io/site/waiting:1 <- pods.json:17: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[4].image
    PROBLEM pods.json:40: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[1].image: `site/local:dev` runs from an image that the node has from no registry: `sha256:1111111111111111111111111111111111111111111111111111111111111111` is no digest of a registry
    note pods.json:30: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[3].image: `registry.site.example/redis:7` is taken by its tag: the node has it under the other name `docker.io/library/redis@sha256:4c8b96d4fffdfae29258d94a22ae4ad1fe36139d47288b8960d9958d1e63a9d0`
    note pods.json:50: Pod shop/web-7d4b9c6f5-x2x9z: spec.containers[4].image: `quay.io/site/waiting:1` has no digest, because its container does not run (ImagePullBackOff)
    ");
    let (images, problems) = used_images(&read("pods.json").collection.images);
    assert_eq!(problems, []);
    let images = images.iter().map(|image| image.reference.to_string()).collect::<Vec<_>>();
    assert_snapshot!(images.join("\n"), @"
    docker.io/library/nginx:1.29@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    docker.io/site/local:dev
    ghcr.io/site/migrate:3@sha256:5f0a8a5c0f1b6d4f2f6d4c8f8fb2f2cfa7c5b0d6f0e1d2c3b4a5968778695a4b
    quay.io/site/pinned@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    quay.io/site/tool:1
    quay.io/site/waiting:1
    registry.site.example/redis:7
    ");
}

#[test]
fn a_node_that_may_have_more_images_than_it_reports_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = Utf8PathBuf::from_path_buf(folder.path().join("nodes.yaml")).unwrap();
    for (count, problems) in [(49, 0), (50, 1), (51, 0)] {
        let images = (0..count).map(|n| format!("  - names: [quay.io/a/b:{n}]\n")).collect::<String>();
        std::fs::write(
            &file,
            format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n}}\nstatus:\n  images:\n{images}"),
        )
        .unwrap();
        let options = CollectOptions { sources: vec![file.clone()], ..CollectOptions::default() };
        let collection = collect(&options, None, &NoProgress).unwrap().collection;
        assert_eq!((collection.images.len(), collection.problems.len()), (count, problems));
    }
}
