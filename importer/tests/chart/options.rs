// SPDX-License-Identifier: Apache-2.0
//! What an administrator may change about the chart's objects, and what follows from it.

use krs_importer::model::config::{NO_SIDECAR_ANNOTATIONS, NO_SIDECAR_LABELS};
use serde_json::{Value, json};

use crate::chart;
use crate::pod_security::{copier, refused_by_restricted_v2};
use crate::rendered::{config, minimal, of_kind, one, template};

const NODE: &str = r#"dropFolder={"existingClaim":"","node":{"path":"/media/usb","hostname":"edge-1"}}"#;
const CREATE: &str = r#"dropFolder={"existingClaim":"","create":{"enabled":true}}"#;

fn site() -> String {
    chart().join("ci/site.yaml").to_string()
}

/// Name of the claim that the importer mounts; it is the rendered one, where one is rendered.
fn claim(objects: &[Value]) -> String {
    let volumes = one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "bundles").unwrap();
    let name = volume["persistentVolumeClaim"]["claimName"].as_str().unwrap().to_owned();
    for claim in of_kind(objects, "PersistentVolumeClaim") {
        assert_eq!(claim["metadata"]["name"], name);
    }
    name
}

/// A PersistentVolume can hardly be changed, nor a claim: what differs has another name.
#[test]
fn t184_a_drop_folder_that_is_changed_has_other_names() {
    let mut names = Vec::new();
    for more in [
        &[][..],
        &[r#"dropFolder.node.hostname="edge-2""#],
        &[r#"dropFolder.node.path="/media/a""#],
        &[r#"dropFolder.node.size="2Ti""#],
    ] {
        let settings = [&[NODE][..], more].concat();
        let objects = template(&minimal(), &settings).unwrap();
        let (volume, name) = (one(&objects, "PersistentVolume"), claim(&objects));
        assert_eq!(volume["metadata"]["name"], format!("krs-system-{name}"));
        assert_eq!(volume["spec"]["claimRef"], json!({"namespace": "krs-system", "name": name}));
        assert_eq!(one(&objects, "PersistentVolumeClaim")["spec"]["volumeName"], volume["metadata"]["name"]);
        assert_eq!(name, claim(&template(&minimal(), &settings).unwrap()), "the same values, the same name");
        names.push(name);
    }
    // A claim with bundles in it is that of 0.1.
    let created = template(&minimal(), &[CREATE]).unwrap();
    names.push(claim(&created));
    assert_eq!(names.last().unwrap(), "krs-krs-importer-bundles");
    assert_eq!(
        one(&created, "PersistentVolumeClaim")["metadata"]["annotations"],
        json!({"helm.sh/resource-policy": "keep"})
    );
    names.push(claim(&template(&minimal(), &[]).unwrap()));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

/// With the release's name of docs/install.md.
#[test]
fn the_pod_that_fills_a_claim_mounts_the_one_that_the_chart_creates() {
    let created = template(&minimal(), &[CREATE, r#"fullnameOverride="krs-importer""#]).unwrap();
    let pod = copier();
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], claim(&created));
    assert_eq!(pod["metadata"]["namespace"], "krs-system");
    let term = &pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    let labels = &one(&created, "Deployment")["spec"]["template"]["metadata"]["labels"];
    let wanted = term["labelSelector"]["matchLabels"].as_object().unwrap();
    assert!(!wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value));
}

#[test]
fn what_a_site_adds_to_jobs_reaches_the_configuration() {
    let objects = template(&site(), &[]).unwrap();
    let config = config(&objects);
    let jobs = &config.jobs;
    assert_eq!(jobs.labels["example.com/cost-centre"], "7");
    assert_eq!(jobs.annotations["example.com/owner"], "edge");
    assert_eq!(jobs.pod_labels["sidecar.istio.io/inject"], "true");
    assert_eq!(jobs.pod_annotations["example.com/pod"], "copy");
    assert_eq!(jobs.extra_env[0].name, "SSL_CERT_DIR");
    assert!(!jobs.set_ids);
    assert_eq!(config.online.proxy.url, "http://proxy.example.com:3128");
    assert!(!config.destination_tls.allow_plain_http && !config.destination_tls.allow_insecure_skip_verify);
    // The importer resolves names as its Jobs do.
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["hostAliases"], serde_json::to_value(&jobs.host_aliases).unwrap());
    assert_eq!(pod["dnsConfig"], serde_json::to_value(&jobs.dns_config).unwrap());
    let given = pod["containers"][0]["env"].as_array().unwrap();
    let given = given.iter().filter(|variable| variable["name"] == jobs.extra_env[0].name.as_str());
    let given = given.map(|variable| variable["value"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(given, [jobs.extra_env[0].value.as_str()]);
}

#[test]
fn no_sidecar_is_added_to_the_importer_either_unless_the_site_wants_it() {
    let metadata = |settings: &[&str]| {
        let objects = template(&minimal(), settings).unwrap();
        one(&objects, "Deployment")["spec"]["template"]["metadata"].clone()
    };
    let plain = metadata(&[]);
    for (pairs, field) in [(NO_SIDECAR_LABELS, "labels"), (NO_SIDECAR_ANNOTATIONS, "annotations")] {
        assert!(pairs.iter().all(|(key, value)| plain[field][*key] == *value), "{plain}");
    }
    let wanted = metadata(&[r#"podLabels={"sidecar.istio.io/inject":"true"}"#]);
    assert_eq!(wanted["labels"]["sidecar.istio.io/inject"], "true");
    assert_eq!(wanted["labels"]["app.kubernetes.io/component"], "importer");
}

#[test]
fn users_and_groups_are_left_out_where_the_platform_assigns_them() {
    let pods = |values: &str| {
        let objects = template(values, &[]).unwrap();
        [
            one(&objects, "Deployment")["spec"]["template"]["spec"].clone(),
            one(&objects, "Pod")["spec"].clone(),
        ]
    };
    for pod in pods(&site()) {
        assert_eq!(refused_by_restricted_v2(&pod), Vec::<String>::new());
        let context = &pod["securityContext"];
        assert_eq!(*context, json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
    }
    for pod in pods(&minimal()) {
        assert!(!refused_by_restricted_v2(&pod).is_empty(), "the check can fail");
        let context = &pod["securityContext"];
        assert_eq!((&context["runAsUser"], &context["fsGroup"]), (&json!(65532), &json!(65532)));
    }
}

#[test]
fn names_labels_and_the_registry_of_the_image_can_be_given() {
    let objects = template(&site(), &[]).unwrap();
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        if !name.ends_with("kuberegistrysync.io") && name != "krs-more" {
            assert!(name.contains("krs-images"), "{name}");
        }
        if name != "krs-more" {
            assert_eq!(object["metadata"]["labels"]["example.com/team"], "edge", "{name}");
        }
    }
    let deployment = one(&objects, "Deployment");
    let template_labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selector = deployment["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert_eq!(selector.len(), 3, "it cannot be changed later");
    assert!(selector.iter().all(|(key, value)| template_labels[key] == *value));
    assert_eq!(config(&objects).registry.host.as_str(), "krs-images.krs-system.svc:5443");
    assert_eq!(of_kind(&objects, "ConfigMap").len(), 2, "extraObjects are templates");
    for (repository, image) in [
        ("krs-importer", "edge.local:5000/krs-importer"),
        ("quay.io/team/krs", "edge.local:5000/team/krs"),
        ("localhost/krs", "edge.local:5000/krs"),
        ("old:5000/krs", "edge.local:5000/krs"),
        ("team/krs", "edge.local:5000/team/krs"),
    ] {
        let settings = [
            format!("image.repository={}", json!(repository)),
            r#"global.imageRegistry="edge.local:5000""#.to_owned(),
        ];
        let objects = template(&minimal(), &[&settings[0], &settings[1], r#"image.tag="1""#]).unwrap();
        assert_eq!(config(&objects).jobs.image, format!("{image}:1"));
    }
}

#[test]
fn people_get_rights_by_the_roles_of_the_cluster_and_none_on_a_status() {
    let objects = template(&minimal(), &[]).unwrap();
    let roles = of_kind(&objects, "ClusterRole")
        .into_iter()
        .filter(|role| role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true");
    let roles = roles.collect::<Vec<_>>();
    assert_eq!(roles.len(), 3);
    for role in roles {
        let view = role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true";
        assert_eq!(role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"], "true");
        let rule = &role["rules"][0];
        let resources = rule["resources"].as_array().unwrap();
        assert!(!resources.iter().any(|resource| resource.as_str().unwrap().contains('/')), "{rule}");
        let writes = rule["verbs"].as_array().unwrap().contains(&json!("create"));
        assert_eq!(writes, !view, "{rule}");
        assert!(!writes || resources == &[json!("edgeimagesets")], "ImageBundles are the importer's");
    }
    let none = template(&minimal(), &["rbac.aggregateClusterRoles=false"]).unwrap();
    assert_eq!(of_kind(&none, "ClusterRole").len(), 1);
}

/// Ports of rules, each with its protocol.
fn ports(policy: &Value, direction: &str) -> Vec<String> {
    let rules = policy["spec"][direction].as_array().into_iter().flatten();
    let ports = rules.flat_map(|rule| rule["ports"].as_array().unwrap());
    let text = |port: &Value| format!("{}{}", port["port"], port["protocol"].as_str().unwrap_or_default());
    ports.map(text).collect()
}

#[test]
fn network_policies_open_what_is_needed_and_nothing_else() {
    assert!(of_kind(&template(&minimal(), &[]).unwrap(), "NetworkPolicy").is_empty());
    let objects = template(&site(), &[]).unwrap();
    let policies = of_kind(&objects, "NetworkPolicy");
    assert_eq!(policies.len(), 3);
    let dns = ["53\"UDP", "53\"TCP"].map(|port| port.replace('"', ""));
    for policy in policies {
        let (copy, egress) = (policy["metadata"]["namespace"] != "krs-system", ports(policy, "egress"));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(dns.iter().all(|port| egress.contains(port)), "{egress:?}");
        assert_eq!(egress.contains(&"5443".to_owned()), copy, "Jobs reach the importer");
        assert_eq!(egress.contains(&"6443".to_owned()), !copy, "the importer reaches the API server");
        assert!(egress.contains(&"3128".to_owned()) && !egress.contains(&"80".to_owned()));
        assert_eq!(ports(policy, "ingress").len(), if copy { 0 } else { 2 });
        let rules = policy["spec"]["egress"].as_array().unwrap();
        let registries = rules.iter().find(|rule| rule["ports"][0]["port"] == 443 && !rule["to"].is_null());
        assert_eq!(registries.unwrap()["to"], json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]));
    }
    // `helm test` gets through, and no other Pod of the namespace.
    let importer = of_kind(&objects, "NetworkPolicy")[0];
    let test = &one(&objects, "Pod")["metadata"]["labels"];
    for rule in importer["spec"]["ingress"].as_array().unwrap() {
        let peers = rule["from"].as_array().unwrap();
        let matches =
            |labels: &Value| labels.as_object().unwrap().iter().all(|(key, value)| test[key] == *value);
        let own = peers.iter().filter(|peer| peer["namespaceSelector"].is_null());
        let own = own.map(|peer| &peer["podSelector"]["matchLabels"]).collect::<Vec<_>>();
        assert!(own.len() == 1 && matches(own[0]), "{rule}");
    }
}

/// The Secret has the key of the CA, too.
#[test]
fn the_test_of_a_release_sees_no_key_and_gets_no_requests_of_the_service() {
    let objects = template(&minimal(), &[]).unwrap();
    let pod = one(&objects, "Pod");
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    let secret = &pod["spec"]["volumes"][0]["secret"];
    assert_eq!(secret["items"], json!([{"key": "ca.crt", "path": "ca.crt"}]));
    let labels = &pod["metadata"]["labels"];
    let selector = one(&objects, "Service")["spec"]["selector"].as_object().unwrap();
    assert!(selector.iter().any(|(key, value)| labels[key] != *value), "{labels}");
    let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap();
    let registry = format!("--registry={}", config(&objects).registry.host);
    assert!(arguments.contains(&json!(registry)), "{arguments:?}");
}
