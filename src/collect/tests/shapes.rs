// SPDX-License-Identifier: Apache-2.0
//! Resources of each shape, and the images that are found in them.

use crate::collect::images::images_of;
use crate::collect::model::{Collection, Problem};
use crate::collect::resource::resources;

fn read(text: &str) -> (Collection, Vec<Problem>) {
    let (mut collection, mut skipped) = (Collection::default(), Vec::new());
    let found = resources("f.yaml", false, text, &mut collection);
    found.resources.iter().for_each(|resource| images_of(resource, &mut collection, &mut skipped));
    (collection, skipped)
}

/// `FIELD = IMAGE` of each image.
fn images(text: &str) -> Vec<String> {
    let (collection, _) = read(text);
    assert_eq!(collection.problems, [], "{text}");
    let one = |image: &crate::collect::ImageUse| {
        format!("{} = {}", image.origin.field.clone().unwrap_or_default(), image.image)
    };
    collection.images.iter().map(one).collect()
}

#[test]
fn all_containers_of_all_workloads_are_read() {
    for (kind, path) in [
        ("apps/v1 Deployment", "spec.template.spec"),
        ("apps/v1 DaemonSet", "spec.template.spec"),
        ("apps/v1 StatefulSet", "spec.template.spec"),
        ("apps/v1 ReplicaSet", "spec.template.spec"),
        ("v1 ReplicationController", "spec.template.spec"),
        ("v1 PodTemplate", "template.spec"),
        ("batch/v1 Job", "spec.template.spec"),
        ("batch/v1 CronJob", "spec.jobTemplate.spec.template.spec"),
        ("v1 Pod", "spec"),
        ("argoproj.io/v1alpha1 Rollout", "spec.template.spec"),
        ("serving.knative.dev/v1 Service", "spec.template.spec"),
        ("apps.openshift.io/v1 DeploymentConfig", "spec.template.spec"),
    ] {
        let (version, kind) = kind.split_once(' ').unwrap();
        let mut text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n");
        let mut indent = String::new();
        for part in path.split('.') {
            text.push_str(&format!("{indent}{part}:\n"));
            indent.push_str("  ");
        }
        for (list, image) in [("initContainers", "i"), ("containers", "c"), ("ephemeralContainers", "e")] {
            text.push_str(&format!("{indent}{list}:\n{indent}- name: x\n{indent}  image: {image}\n"));
        }
        text.push_str(&format!(
            "{indent}volumes:\n{indent}- name: v\n{indent}  image: {{reference: quay.io/a/v:1}}\n"
        ));
        let expected = [
            format!("{path}.initContainers[0].image = i"),
            format!("{path}.containers[0].image = c"),
            format!("{path}.ephemeralContainers[0].image = e"),
            format!("{path}.volumes[0].image = quay.io/a/v:1"),
        ];
        assert_eq!(images(&text), expected, "{kind}");
    }
}

#[test]
fn lists_and_several_documents_have_their_own_lines() {
    let pod = |name: &str| {
        format!(
            "apiVersion: v1\n  kind: Pod\n  metadata: {{name: {name}}}\n  spec: {{containers: [{{image: {name}}}]}}\n"
        )
    };
    let text = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}---\napiVersion: v1\nkind: PodList\nitems:\n- metadata: {{name: b}}\n  spec: {{containers: [{{image: b}}]}}\n",
        pod("a")
    );
    let (collection, _) = read(&text);
    let origins = collection.images.iter().map(|image| image.origin.to_string()).collect::<Vec<_>>();
    assert_eq!(
        origins,
        ["f.yaml:7: Pod a: spec.containers[0].image", "f.yaml:13: Pod b: spec.containers[0].image"]
    );
}

#[test]
fn fields_of_custom_resources_are_found_by_their_shape() {
    for (version, kind, spec, expected) in [
        ("x.io/v1", "A", "{image: quay.io/a/b:1}", vec!["spec.image = quay.io/a/b:1"]),
        ("x.io/v1", "A", "{image: {repository: a/b, tag: v1}}", vec!["spec.image = a/b:v1"]),
        (
            "x.io/v1",
            "A",
            "{image: {registry: quay.io, repository: a/b, tag: v1}}",
            vec!["spec.image = quay.io/a/b:v1"],
        ),
        ("x.io/v1", "A", "{web: {repository: quay.io/a/b, tag: v1}}", vec!["spec.web = quay.io/a/b:v1"]),
        ("x.io/v1", "A", "{image: {name: quay.io/a/b, tag: v1}}", vec!["spec.image = quay.io/a/b:v1"]),
        ("x.io/v1", "A", "{image: quay.io/a/b, tag: v1}", vec!["spec.image = quay.io/a/b:v1"]),
        ("x.io/v1", "A", "{workerImage: a/b:1}", vec!["spec.workerImage = a/b:1"]),
        (
            "postgresql.cnpg.io/v1",
            "Cluster",
            "{imageName: ghcr.io/c/pg:16}",
            vec!["spec.imageName = ghcr.io/c/pg:16"],
        ),
        (
            "nvidia.com/v1",
            "ClusterPolicy",
            "{toolkit: {repository: nvcr.io/nvidia, image: driver, version: '550'}}",
            vec!["spec.toolkit = nvcr.io/nvidia/driver:550"],
        ),
        (
            "monitoring.coreos.com/v1",
            "Prometheus",
            "{image: quay.io/p/prometheus, version: v3.0.0}",
            vec!["spec.image = quay.io/p/prometheus:v3.0.0"],
        ),
        (
            "monitoring.coreos.com/v1",
            "Alertmanager",
            "{image: quay.io/p/am:v1, version: v1}",
            vec!["spec.image = quay.io/p/am:v1"],
        ),
        (
            "pkg.crossplane.io/v1",
            "Provider",
            "{package: xpkg.io/p/aws:v1}",
            vec!["spec.package = xpkg.io/p/aws:v1"],
        ),
        (
            "tekton.dev/v1",
            "Task",
            "{steps: [{name: s, image: alpine/git:1}], sidecars: [{image: docker:dind}]}",
            vec!["spec.steps[0].image = alpine/git:1", "spec.sidecars[0].image = docker:dind"],
        ),
        (
            "cdi.kubevirt.io/v1beta1",
            "DataVolume",
            "{source: {registry: {url: 'docker://quay.io/c/fedora:40'}}}",
            vec!["spec.source.registry.url = docker://quay.io/c/fedora:40"],
        ),
        (
            "image.openshift.io/v1",
            "ImageStream",
            "{tags: [{name: '1', from: {kind: DockerImage, name: 'quay.io/a/b:1'}}]}",
            vec!["spec.tags[0].from = quay.io/a/b:1"],
        ),
        (
            "operators.coreos.com/v1alpha1",
            "ClusterServiceVersion",
            "{relatedImages: [{name: a, image: 'quay.io/a/b:1'}]}",
            vec!["spec.relatedImages[0].image = quay.io/a/b:1"],
        ),
        ("kafka.strimzi.io/v1", "KafkaConnect", "{build: {output: {image: 'my.io/push/here:1'}}}", vec![]),
        ("kyverno.io/v1", "ClusterPolicy", "{rules: [{image: 'quay.io/*'}]}", vec![]),
        ("v1", "Secret", "{image: quay.io/a/b:1}", vec![]),
    ] {
        let text = format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\nstatus: {{image: quay.io/old:1}}\n"
        );
        assert_eq!(images(&text), expected, "{kind} {spec}");
    }
}

#[test]
fn arguments_and_variables_that_name_images_are_found() {
    let pod = |container: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{container}]}}\n"
        );
        images(&text)
            .into_iter()
            .map(|image| image.split(" = ").nth(1).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (container, expected) in [
        ("{args: ['--image=a/b:1']}", vec!["a/b:1"]),
        ("{args: [--worker-image, 'a/b:1', --level, 'c:1']}", vec!["a/b:1"]),
        ("{args: ['--prometheus-config-reloader=quay.io/p/r:v1', '--listen=:8080']}", vec!["quay.io/p/r:v1"]),
        ("{command: [run, 'SIDECAR_IMAGE=a/b:1']}", vec!["a/b:1"]),
        ("{args: ['--images=a/b:1,quay.io/c:2']}", vec!["a/b:1", "quay.io/c:2"]),
        ("{args: ['--image-pull-policy=Always', '--image=$(IMAGE)', '--url=http://a.io/b:1']}", vec![]),
        ("{command: [sh, -c, 'echo quay.io/a/b:1 | cat']}", vec![]),
        ("{env: [{name: RELATED_IMAGE_X, value: 'a/b'}]}", vec!["a/b"]),
        ("{env: [{name: HELPER_IMAGE, value: 'a/b:1'}, {name: IMAGE_TAG, value: v1}]}", vec!["a/b:1"]),
        ("{env: [{name: IMAGE_REPOSITORY, value: 'quay.io/a/b'}]}", vec![]),
        (
            "{env: [{name: STRIMZI_KAFKA_IMAGES, value: \"3.9=quay.io/s/kafka:3.9\\n4.0=quay.io/s/kafka:4.0\\n\"}]}",
            vec!["quay.io/s/kafka:3.9", "quay.io/s/kafka:4.0"],
        ),
        (
            "{env: [{name: RELOADER, value: 'quay.io/p/r:v1'}, {name: ADDRESS, value: 'a.b:80/c:1'}]}",
            vec!["quay.io/p/r:v1", "a.b:80/c:1"],
        ),
        ("{env: [{name: X_IMAGE, valueFrom: {fieldRef: {fieldPath: a}}}]}", vec![]),
    ] {
        assert_eq!(pod(container), expected, "{container}");
    }
}

#[test]
fn config_maps_and_annotations_are_read() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    x.io/proxyImage: quay.io/p:1\n    artifacthub.io/images: |\n      - name: a\n        image: quay.io/hub:1\ndata:\n  queue-sidecar-image: gcr.io/k/queue:1\n  note: see quay.io/x:1\n  pod.yaml: |\n    kind: Pod\n    spec:\n      containers:\n      - image: busybox\n";
    assert_eq!(
        images(text),
        [
            "metadata.annotations[x.io/proxyImage] = quay.io/p:1",
            "metadata.annotations[artifacthub.io/images] = quay.io/hub:1",
            "data[queue-sidecar-image] = gcr.io/k/queue:1",
            "data[pod.yaml].spec.containers[0].image = busybox",
        ]
    );
}

#[test]
fn what_is_no_image_is_said_and_what_is_unknown_is_a_problem() {
    let (collection, skipped) = read("apiVersion: x.io/v1\nkind: A\nspec: {image: logo.png}\n");
    assert_eq!((collection.images.len(), skipped.len()), (0, 1));
    let (collection, _) =
        read("apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nspec: {version: v3}\n");
    assert!(collection.problems[0].reason.contains("names no image"), "{collection:?}");
    let (collection, _) = read("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: auto}]}\n");
    assert!(collection.problems[0].reason.contains("Istio"), "{collection:?}");
    let (collection, _) = read("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: {{ .Values.x }}}]\n");
    assert!(collection.problems[0].help.as_deref().unwrap().contains("render it first"), "{collection:?}");
    // A text that is nobody's manifest.
    assert_eq!(read("title: {{ x }}\n: [").0, Collection::default());
}

#[test]
fn texts_with_templates_are_searched_line_by_line() {
    let text = "apiVersion: v1\nkind: ConfigMap\ndata:\n  template: |\n    {{- if .dump }}\n    - name: dump\n      image: \"busybox:1.28\"\n    {{- end }}\n    - image: {{ .proxy }}\n    - image: auto\n";
    let (collection, skipped) = read(text);
    let found = collection.images.iter().map(|image| image.image.as_str()).collect::<Vec<_>>();
    assert_eq!((found, collection.problems.len(), skipped.len()), (vec!["busybox:1.28"], 1, 1));
    assert!(skipped[0].reason.contains("without a template"), "{skipped:?}");
    assert!(
        collection.problems[0].reason.contains("the image `{{ .proxy }}` is not known"),
        "{collection:?}"
    );
    // A manifest in a value, as in a workflow that creates resources.
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec:\n  templates:\n  - resource:\n      manifest: |\n        kind: Pod\n        spec:\n          containers:\n          - image: quay.io/a/job:1\n";
    assert_eq!(
        images(text),
        ["spec.templates[0].resource.manifest.spec.containers[0].image = quay.io/a/job:1"]
    );
}

#[test]
fn a_tag_that_an_operator_extends_is_a_problem() {
    for (driver, problems) in [
        ("{repository: nvcr.io/nvidia, image: driver, version: 580.82.07}", 1),
        ("{enabled: false, repository: nvcr.io/nvidia, image: driver, version: 580.82.07}", 0),
        ("{enabled: true}", 0),
    ] {
        let text = format!(
            "apiVersion: nvidia.com/v1\nkind: ClusterPolicy\nmetadata: {{name: p}}\nspec: {{driver: {driver}}}\n"
        );
        let (collection, _) = read(&text);
        assert_eq!(collection.problems.len(), problems, "{collection:?}");
    }
}
