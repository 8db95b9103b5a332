// SPDX-License-Identifier: Apache-2.0
//! What is said of resources of Flux and Argo CD.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use krs_testing::git::Checkout;

use super::tests::{messages, set, with};
use crate::set::load;

fn flux(spec: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: images, namespace: flux-system}}\n\
         spec:\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{spec}"
    )
}

fn argo_cd(source: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: images, namespace: argocd}}\n\
         spec:\n  source:\n    repoURL: https://git.example.com/edge\n{source}"
    )
}

/// What is said of a resource in `clusters/prod.yaml`. `sites/` holds a set without a kustomization, `over/` one that
/// takes the set in `base/`, `app/` a Deployment.
fn of(resource: &str) -> Vec<String> {
    let variable = set("varied", None).replace("spec:", "  annotations: {site: '${SITE}'}\nspec:");
    let off = variable
        .replace("name: varied", "name: fixed")
        .replace("annotations: {", "annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled, ");
    let files = [
        ("sites/a/own.yaml", &*set("own", Some("shop"))),
        ("varied/set.yaml", &*variable),
        ("off/set.yaml", &*off),
        ("base/kustomization.yaml", "resources: [set.yaml]\n"),
        ("base/set.yaml", &*set("base", None)),
        ("over/kustomization.yaml", "resources: [../base]\n"),
        ("rename/kustomization.yaml", "kind: Component\nnamePrefix: x-\n"),
        ("labels/kustomization.yaml", "kind: Component\nlabels: [{pairs: {a: b}}]\n"),
        ("app/deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\n"),
        ("clusters/prod.yaml", resource),
    ];
    with(&files, |folder| messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder))
}

const PIPE: &str = ", and pipe that into this command, with `-` in place of the folder";

#[test]
fn t199_what_flux_would_change_is_named_with_the_command_that_renders_it() {
    for (spec, fields, set) in [
        (
            "  path: ./sites\n  patches: [{target: {kind: EdgeImageSet}, patch: '[]'}]\n",
            "patches",
            "sites/a/own.yaml",
        ),
        ("  path: ./sites\n  patches: [{patch: 'kind: EdgeImageSet'}]\n", "patches", "sites/a/own.yaml"),
        (
            "  path: ./sites/a\n  patches: [{target: {labelSelector: a=b}, patch: '[]'}]\n",
            "patches",
            "sites/a/own.yaml",
        ),
        (
            "  path: /sites\n  patchesStrategicMerge: [{kind: EdgeImageSet, metadata: {name: own}}]\n",
            "patches",
            "sites/a/own.yaml",
        ),
        (
            "  path: sites/\n  patchesJson6902: [{target: {kind: EdgeImageSet}, patch: []}]\n",
            "patches",
            "sites/a/own.yaml",
        ),
        (
            "  path: ./sites\n  namePrefix: x-\n  nameSuffix: -x\n",
            "namePrefix, spec.nameSuffix",
            "sites/a/own.yaml",
        ),
        ("  path: ./sites\n  targetNamespace: other\n", "targetNamespace", "sites/a/own.yaml"),
        ("  path: ./sites\n  components: [../rename]\n", "components", "sites/a/own.yaml"),
        ("  path: ./over\n  targetNamespace: other\n", "targetNamespace", "base/set.yaml"),
        ("  path: ./varied\n  postBuild: {substitute: {SITE: berlin}}\n", "postBuild", "varied/set.yaml"),
    ] {
        let folder =
            spec.split_whitespace().nth(1).unwrap().trim_start_matches(['.', '/']).trim_end_matches('/');
        let expected = format!(
            "clusters/prod.yaml: the Flux Kustomization flux-system/images would change the sets of {set} by spec.{fields} if it \
             renders this repository, and krs reads sets as they are. Render it with `flux build kustomization images --namespace \
             flux-system --path DIR/{folder} --kustomization-file DIR/clusters/prod.yaml --dry-run`{PIPE}"
        );
        assert_eq!(of(&flux(spec)), [expected], "{spec}");
    }
    // Values that are in the cluster are not there without it.
    let messages =
        of(&flux("  path: ./varied\n  postBuild: {substituteFrom: [{kind: ConfigMap, name: x}]}\n"));
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("--kustomization-file DIR/clusters/prod.yaml`"), "{messages:?}");
}

#[test]
fn t199_what_argo_cd_would_change_is_named() {
    for (fields, named) in [
        ("namePrefix: x-", "namePrefix"),
        ("namespace: other", "namespace"),
        ("patches: [{target: {kind: EdgeImageSet}, patch: '[]'}]", "patches"),
        ("components: [../rename]", "components"),
    ] {
        let messages = of(&argo_cd(&format!("    path: over\n    kustomize:\n      {fields}\n")));
        let expected = format!(
            "clusters/prod.yaml: the Argo CD Application argocd/images would change the sets of base/set.yaml by \
             source.kustomize.{named} if it renders this repository, and krs reads sets as they are. Render it with \
             `argocd app manifests images`{PIPE}"
        );
        assert_eq!(messages, [expected], "{fields}");
    }
    let many = argo_cd("").replace("source:", "sources:").replace("    repoURL", "  - repoURL")
        + "  - {path: over, kustomize: {nameSuffix: -x}}\n";
    let messages = of(&many);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("by sources[].kustomize.nameSuffix"), "{messages:?}");
    let list = "kind: List\nitems:\n- apiVersion: argoproj.io/v1alpha1\n  kind: ApplicationSet\n  metadata: {name: all}\n  spec: \
                {template: {spec: {source: {path: over, kustomize: {namePrefix: x-}}}}}\n";
    let messages = of(list);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("the Argo CD ApplicationSet all would change"), "{messages:?}");
    assert!(messages[0].contains("Render each of its Applications"), "{messages:?}");
}

#[test]
fn t199_images_of_the_sets_that_workloads_get_from_elsewhere_are_named() {
    let expected = "replaces quay.io/base in workloads by `images`, and not in the sets of base/set.yaml; the bundle carries the images \
                    that the sets list";
    let messages =
        of(&flux("  path: ./over\n  images: [{name: quay.io/base, newTag: '2'}, {name: nginx}]\n"));
    assert_eq!(
        messages,
        [format!("clusters/prod.yaml: the Flux Kustomization flux-system/images {expected}")]
    );
    for image in ["quay.io/base:2", "quay.io/base=mirror.local:5000/base:2"] {
        let messages =
            of(&argo_cd(&format!("    path: over\n    kustomize: {{images: ['{image}', 'nginx:1']}}\n")));
        assert_eq!(
            messages,
            [format!("clusters/prod.yaml: the Argo CD Application argocd/images {expected}")]
        );
    }
}

#[test]
fn t199_what_cannot_touch_a_set_says_nothing() {
    let everything = "  targetNamespace: x\n  namePrefix: x-\n  patches: [{target: {kind: EdgeImageSet}, patch: '[]'}]\n  \
                      postBuild: {substitute: {SITE: x}}\n";
    for resource in [
        // No set lies there, or there is no such folder, or it is outside.
        flux(&format!("  path: ./app\n{everything}")),
        flux(&format!("  path: ./nowhere\n{everything}")),
        flux(&format!("  path: ../..\n{everything}")),
        // Not these sets.
        flux(
            "  path: ./over\n  patches: [{target: {kind: Deployment}, patch: '[]'}, {patch: 'kind: Service'}]\n",
        ),
        flux("  path: ./over\n  images: [{name: nginx, newTag: '2'}]\n  components: [../labels]\n"),
        flux("  path: ./sites\n  targetNamespace: shop\n  commonMetadata: {labels: {a: b}}\n"),
        // Nothing to replace, nothing to replace it by, or not wanted.
        flux("  path: ./over\n  postBuild: {substitute: {SITE: x}}\n"),
        flux("  path: ./varied\n  postBuild: {substitute: {}}\n"),
        flux("  path: ./off\n  postBuild: {substitute: {SITE: x}}\n"),
        argo_cd("    path: over\n    kustomize: {commonLabels: {a: b}}\n"),
        argo_cd("    path: app\n    kustomize: {namePrefix: x-}\n"),
        argo_cd("    path: over\n    helm: {releaseName: x}\n"),
        argo_cd("    path: '{{path}}'\n    kustomize: {namePrefix: x-}\n"),
        // Other resources with such fields, and templates.
        flux(&format!("  path: ./sites\n{everything}")).replace("kustomize.toolkit", "other.toolkit"),
        flux(&format!("  path: ./sites\n{everything}")).replace("kind: Kustomization", "kind: Other"),
        flux("  path: ./sites\n  namePrefix: {{ .Values.prefix }}\n"),
        flux("  path: ./sites\n  patches: {}\n"),
    ] {
        assert_eq!(of(&resource), [""; 0], "{resource}");
    }
}

#[test]
fn t199_resources_beside_the_folder_that_is_read_count_too() {
    let mut checkout = Checkout::new();
    checkout.write("sites/own.yaml", set("own", None));
    checkout.write(
        "clusters/prod.yaml",
        format!("# first\n---\n{}", flux("  path: ./sites\n  namePrefix: x-\n")),
    );
    checkout.commit("All");
    let loaded = load(&[checkout.path().join("sites")], None).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    let warning = &loaded.warnings[0];
    assert!(warning.file.ends_with("clusters/prod.yaml"), "{warning:?}");
    assert_eq!(warning.line, 3);
    assert!(warning.message.contains("would change the sets of own.yaml by spec.namePrefix"), "{warning:?}");
}

#[test]
fn t199_many_resources_are_counted() {
    let one = flux("  path: ./sites\n  namePrefix: x-\n");
    let messages = of(&vec![one; 13].join("---\n"));
    assert_eq!(messages.len(), 10);
    let last =
        messages.iter().find(|line| line.contains("3 more resources of Flux or Argo CD do so")).unwrap();
    assert!(last.ends_with(PIPE), "{last}");
}
