// SPDX-License-Identifier: Apache-2.0
//! Pod Security `restricted` (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>), as far as a Pod can
//! break it that names no fields but those of this project.

use serde_json::{Value, json};

use crate::{read, yaml};

/// Types of volumes that are admitted.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What admission would refuse of a Pod's spec.
pub(crate) fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            found.push(format!("{field} is set"));
        }
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let types = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        found.extend(types.filter(|key| !VOLUMES.contains(&key.as_str())).map(|key| format!("volume {key}")));
    }
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    let containers = containers.iter().flat_map(|field| pod[*field].as_array().into_iter().flatten());
    for container in containers {
        let (of_pod, own) = (&pod["securityContext"], &container["securityContext"]);
        let effective = |field: &str| if own[field].is_null() { &of_pod[field] } else { &own[field] };
        if *effective("runAsNonRoot") != true {
            found.push("runAsNonRoot is not true".to_owned());
        }
        if *effective("runAsUser") == 0 {
            found.push("runAsUser is 0".to_owned());
        }
        let profile = &effective("seccompProfile")["type"];
        if !["RuntimeDefault", "Localhost"].iter().any(|name| profile == name) {
            found.push("no seccompProfile".to_owned());
        }
        if own["allowPrivilegeEscalation"] != false {
            found.push("allowPrivilegeEscalation is not false".to_owned());
        }
        if own["privileged"] == true {
            found.push("privileged".to_owned());
        }
        let drops = own["capabilities"]["drop"].as_array().is_some_and(|all| all.contains(&json!("ALL")));
        let adds = own["capabilities"]["add"].as_array().is_some_and(|all| !all.is_empty());
        if !drops || adds {
            found.push("capabilities are not dropped".to_owned());
        }
        let ports = container["ports"].as_array().into_iter().flatten();
        found
            .extend(ports.filter(|port| !port["hostPort"].is_null()).map(|port| format!("host port {port}")));
    }
    found
}

/// What the SecurityContextConstraints `restricted-v2` of OpenShift would refuse of a Pod's spec, beside what Pod Security
/// `restricted` does: users and groups are those of the namespace, which no chart knows, the SELinux context is assigned, and
/// the seccomp profile is that of the runtime.
/// <https://github.com/openshift/cluster-kube-apiserver-operator/blob/master/bindata/bootkube/scc-manifests/0000_20_kube-apiserver-operator_00_scc-restricted-v2.yaml>
pub(crate) fn refused_by_restricted_v2(pod: &Value) -> Vec<String> {
    let mut found = violations(pod);
    let containers = ["containers", "initContainers"];
    let containers = containers.iter().flat_map(|field| pod[*field].as_array().into_iter().flatten());
    let own = containers.map(|container| &container["securityContext"]);
    for context in std::iter::once(&pod["securityContext"]).chain(own) {
        for field in ["runAsUser", "fsGroup", "seLinuxOptions"] {
            if !context[field].is_null() {
                found.push(format!("{field} is set"));
            }
        }
        if context["seccompProfile"]["type"] == "Localhost" {
            found.push("another seccompProfile than the runtime's".to_owned());
        }
    }
    found
}

/// The Pod of docs/install.md that people fill a claim with.
pub(crate) fn copier() -> Value {
    let page = read(crate::chart().join("../../docs/install.md"));
    let block = page.split("```yaml\n# copier.yaml\n").nth(1).expect("docs/install.md has no copier.yaml");
    yaml(block.split("```").next().unwrap())
}

#[test]
fn the_pod_that_fills_a_claim_is_admitted_and_may_write_to_it() {
    let pod = &copier()["spec"];
    assert_eq!(violations(pod), Vec::<String>::new());
    assert_eq!(pod["securityContext"]["fsGroup"], 65532, "what it writes, the importer reads");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let mount = &pod["containers"][0]["volumeMounts"][0];
    assert!(mount["readOnly"].is_null() && mount["name"] == pod["volumes"][0]["name"]);
    // As its comment has it.
    let mut assigned = pod.clone();
    let context = assigned["securityContext"].as_object_mut().unwrap();
    context.retain(|field, _| !["runAsUser", "runAsGroup", "fsGroup"].contains(&field.as_str()));
    assert_eq!(refused_by_restricted_v2(&assigned), Vec::<String>::new());
    assert_eq!(refused_by_restricted_v2(pod), ["runAsUser is set", "fsGroup is set"]);
    // The check can fail.
    for (pointer, value) in [
        ("/securityContext/runAsNonRoot", json!(false)),
        ("/securityContext/seccompProfile", Value::Null),
        ("/containers/0/securityContext/capabilities", Value::Null),
        ("/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("/volumes/0", json!({"name": "bundles", "hostPath": {"path": "/media"}})),
    ] {
        let mut broken = pod.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        assert_eq!(violations(&broken).len(), 1, "{pointer}");
    }
}
