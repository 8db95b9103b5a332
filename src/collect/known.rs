// SPDX-License-Identifier: Apache-2.0
//! What is known of kinds of resources beside the general shapes of image fields.

use super::resource::Resource;

/// Groups and kinds (`*`: all) that name images which no workload pulls: definitions, policies, rules for
/// mirrors and for updates, and Secrets, which are never read.
const WITHOUT_IMAGES: &[(&str, &str)] = &[
    ("", "Secret"),
    ("apiextensions.k8s.io", "*"),
    ("admissionregistration.k8s.io", "*"),
    ("kuberegistrysync.io", "*"),
    ("kyverno.io", "*"),
    ("policies.kyverno.io", "*"),
    ("constraints.gatekeeper.sh", "*"),
    ("templates.gatekeeper.sh", "*"),
    ("policy.sigstore.dev", "*"),
    ("image.toolkit.fluxcd.io", "*"),
    ("config.openshift.io", "*"),
    ("operator.openshift.io", "ImageContentSourcePolicy"),
    ("bitnami.com", "SealedSecret"),
];

/// Kinds with fields that hold an image under a name that does not say so.
const FIELDS: &[(&str, &str, &[&str])] = &[
    ("pkg.crossplane.io", "*", &["spec.package"]),
    ("tekton.dev", "*", &["spec.taskRef.bundle", "spec.pipelineRef.bundle", "spec.tasks[].taskRef.bundle"]),
];

/// Kinds in which `version` beside an image without a tag is its tag.
const VERSIONS: &[(&str, &str)] = &[
    ("monitoring.coreos.com", "Prometheus"),
    ("monitoring.coreos.com", "PrometheusAgent"),
    ("monitoring.coreos.com", "Alertmanager"),
    ("monitoring.coreos.com", "ThanosRuler"),
    ("argoproj.io", "ArgoCD"),
    ("nvidia.com", "*"),
];

/// Kinds whose operator runs an image of its own choice where the first of these fields does not name one.
const IMPLIED: &[(&str, &str, &[&str])] = &[
    ("monitoring.coreos.com", "Prometheus", &["image", "baseImage"]),
    ("monitoring.coreos.com", "PrometheusAgent", &["image"]),
    ("monitoring.coreos.com", "Alertmanager", &["image", "baseImage"]),
    ("monitoring.coreos.com", "ThanosRuler", &["image"]),
];

/// Kinds whose operator adds something to the tag of the image in a field, and what.
const EXTENDED_TAGS: &[(&str, &str, &str, &str)] = &[(
    "nvidia.com",
    "ClusterPolicy",
    "driver",
    "the operating system of the node, as in 580.82.07-ubuntu22.04",
)];

/// Fields to which a build pushes: nothing is pulled from there.
const OUTPUTS: &[&str] = &["spec.output.image", "spec.build.output.image"];

fn is(resource: &Resource, group: &str, kind: &str) -> bool {
    resource.group == group && (kind == "*" || resource.kind == kind)
}

/// Whether the images of a resource are none that a workload pulls.
pub(super) fn is_without_images(resource: &Resource) -> bool {
    WITHOUT_IMAGES.iter().any(|(group, kind)| is(resource, group, kind))
}

/// Whether a field, written with `[]` for each place in a list, holds an image.
pub(super) fn holds_image(resource: &Resource, field: &str) -> bool {
    FIELDS.iter().any(|(group, kind, fields)| is(resource, group, kind) && fields.contains(&field))
}

/// Whether `version` is the tag of an image beside it.
pub(super) fn has_version_as_tag(resource: &Resource) -> bool {
    VERSIONS.iter().any(|(group, kind)| is(resource, group, kind))
}

/// Whether a field is where a build pushes to.
pub(super) fn is_output(field: &str) -> bool {
    OUTPUTS.contains(&field)
}

/// Whether the operator of a resource runs an image that the resource does not name.
pub(super) fn has_implied_image(resource: &Resource) -> bool {
    let kinds = IMPLIED.iter().filter(|(group, kind, _)| is(resource, group, kind));
    let mut fields = kinds.map(|(_, _, fields)| fields);
    fields.any(|fields| !fields.iter().any(|field| resource.node.text_at(&["spec", field]).is_some()))
}

/// The fields of `spec` whose image has another tag in the cluster, and what an operator adds to it. A field with
/// `enabled: false` has no image.
pub(super) fn extended_tags(resource: &Resource) -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = EXTENDED_TAGS.iter().filter(|(group, kind, ..)| is(resource, group, kind));
    kinds.map(|(_, _, field, addition)| (*field, *addition)).filter(|(field, _)| {
        let field = resource.node.at(&["spec", field]);
        field.is_some_and(|field| {
            field.text_at(&["version"]).is_some() && field.text_at(&["enabled"]) != Some("false")
        })
    })
}
