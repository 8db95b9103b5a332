// SPDX-License-Identifier: Apache-2.0
//! What helm makes of the chart.

use std::fs;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use krs_importer::model::config::Config;
use krs_importer::model::policy::{AllowList, Destinations};
use krs_testing::tools;
use serde_json::{Value, json};

use crate::agree::{ROWS, in_list};
use crate::pod_security::violations;
use crate::upgrade::VALUES;
use crate::{chart, definitions, read, yaml};

/// Runs `helm template` with a file of values and more settings.
pub(crate) fn template(values: &str, settings: &[&str]) -> Result<Vec<Value>, String> {
    render(&chart(), values, settings)
}

fn render(chart: &Utf8Path, values: &str, settings: &[&str]) -> Result<Vec<Value>, String> {
    let mut helm = Command::new(tools::require("helm"));
    helm.args(["template", "krs", "--namespace", "krs-system"]).arg(chart).args(["--values", values]);
    for setting in settings {
        helm.args(["--set-json", setting]);
    }
    let output = helm.output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let resources = text.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let is_content = |text: &&str| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    Ok(resources.filter(is_content).map(yaml).collect())
}

pub(crate) fn value_sets() -> Vec<String> {
    let files = chart().join("ci").read_dir_utf8().unwrap().map(|file| file.unwrap().path().to_string());
    let mut files = files.collect::<Vec<_>>();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

pub(crate) fn minimal() -> String {
    chart().join("ci/minimal.yaml").to_string()
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

pub(crate) fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

pub(crate) fn config(objects: &[Value]) -> Config {
    let text = of_kind(objects, "ConfigMap").into_iter().find_map(|map| map["data"]["config.yaml"].as_str());
    let text = text.unwrap();
    Config::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn the_importer_understands_the_configuration_that_the_chart_writes() {
    for values in value_sets() {
        let objects = template(&values, &[]).unwrap();
        let config = config(&objects);
        Destinations::parse(&config.allowed_destinations).unwrap();
        AllowList::parse(&config.online.allowed_sources).unwrap();
        assert_eq!(config.namespace, "krs-system");
        let service = one(&objects, "Service")["metadata"]["name"].as_str().unwrap();
        assert_eq!(config.registry.host.as_str(), format!("{service}.krs-system.svc:5443"));
    }
}

#[test]
fn defaults_of_the_chart_are_those_of_the_program() {
    let rendered = config(&template(&minimal(), &[]).unwrap());
    let least = json!({
        "namespace": rendered.namespace,
        "allowedDestinations": rendered.allowed_destinations,
        "registry": {"host": rendered.registry.host.as_str()},
        "jobs": {"image": rendered.jobs.image, "log": "info"},
    });
    assert_eq!(rendered, Config::parse(&least.to_string()).unwrap());
}

#[test]
fn jobs_run_the_image_of_the_importer_unless_told_otherwise() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let image = format!(r#"image={{"repository":"edge.local/krs","digest":"{digest}"}}"#);
    let objects = template(&minimal(), &[&image]).unwrap();
    let container = &one(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], format!("edge.local/krs@{digest}"));
    assert_eq!(config(&objects).jobs.image, format!("edge.local/krs@{digest}"));
    let objects = template(&minimal(), &[&image, r#"jobs.image="edge.local/other:1""#]).unwrap();
    assert_eq!(config(&objects).jobs.image, "edge.local/other:1");
}

#[test]
fn the_definitions_are_rendered_as_they_are_and_stay_when_the_release_goes() {
    let objects = template(&minimal(), &[]).unwrap();
    let rendered = of_kind(&objects, "CustomResourceDefinition");
    for ((_, expected), rendered) in definitions().iter().zip(&rendered) {
        let (mut rendered, mut expected) = ((*rendered).clone(), yaml(expected));
        assert_eq!(rendered["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
        for object in [&mut rendered, &mut expected] {
            object["metadata"]["annotations"] = Value::Null;
            object["metadata"]["labels"] = Value::Null;
        }
        assert_eq!(rendered, expected);
    }
    assert_eq!(rendered.len(), definitions().len());
    let gone = template(&minimal(), &["crds.enabled=false"]).unwrap();
    assert!(of_kind(&gone, "CustomResourceDefinition").is_empty());
    let loose = template(&minimal(), &["crds.keep=false"]).unwrap();
    assert!(
        of_kind(&loose, "CustomResourceDefinition")
            .iter()
            .all(|crd| crd["metadata"]["annotations"].is_null())
    );
}

/// Rules of roles that are bound, all to the importer, as (namespace or nothing, group, resource, verb).
fn rights(objects: &[Value]) -> Vec<(String, String, String, String)> {
    let bound = |role: &Value| {
        objects.iter().any(|object| {
            let same = |field: &str| object["roleRef"][field] == role[field];
            same("kind") && object["roleRef"]["name"] == role["metadata"]["name"]
        })
    };
    let mut rights = Vec::new();
    let kinds = ["ClusterRole", "Role"];
    for role in
        objects.iter().filter(|object| kinds.iter().any(|kind| object["kind"] == *kind) && bound(object))
    {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        for rule in role["rules"].as_array().unwrap() {
            let words = |field: &str| {
                let words = rule[field].as_array().unwrap().iter();
                words.map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    let right = |verb| (namespace.clone(), group.clone(), resource.clone(), verb);
                    rights.extend(words("verbs").into_iter().map(right));
                }
            }
        }
    }
    rights
}

#[test]
fn secrets_are_read_by_name_and_never_listed_and_no_right_has_a_wildcard() {
    for values in value_sets() {
        let rights = rights(&template(&values, &[]).unwrap());
        assert!(rights.len() > 20);
        for right in &rights {
            assert!(![&right.1, &right.2, &right.3].iter().any(|word| word.contains('*')), "{right:?}");
            let reads_many = ["list", "watch"].contains(&right.3.as_str());
            assert!(!(right.2 == "secrets" && reads_many), "{right:?}");
        }
    }
}

#[test]
fn with_watched_namespaces_nothing_of_any_other_namespace_is_reached() {
    let values = chart().join("ci/watch-namespaces.yaml").to_string();
    let rights = rights(&template(&values, &[]).unwrap());
    let everywhere = rights.iter().filter(|(namespace, ..)| namespace.is_empty());
    let mut resources = everywhere.map(|(_, _, resource, _)| resource.as_str()).collect::<Vec<_>>();
    resources.dedup();
    // Of the Leases of other namespaces, only whether their importer runs.
    assert_eq!(resources, ["imagebundles", "imagebundles/status", "tokenreviews", "leases"]);
    let leases =
        rights.iter().filter(|(namespace, _, resource, _)| namespace.is_empty() && resource == "leases");
    assert_eq!(leases.map(|(.., verb)| verb.as_str()).collect::<Vec<_>>(), ["get"]);
    for namespace in ["shop", "plant"] {
        assert!(rights.contains(&(namespace.into(), String::new(), "secrets".into(), "get".into())));
    }
}

#[test]
fn only_who_applies_sets_may_write_them() {
    let writes = |apply: bool| {
        let rights = rights(&template(&minimal(), &[&format!("applySets={apply}")]).unwrap());
        rights.iter().any(|(_, _, resource, verb)| resource == "edgeimagesets" && verb == "patch")
    };
    assert!(!writes(false) && writes(true));
}

#[test]
fn every_pod_is_one_that_pod_security_restricted_admits() {
    for values in value_sets() {
        let objects = template(&values, &[]).unwrap();
        let deployment = one(&objects, "Deployment");
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
        for pod in [&deployment["spec"]["template"]["spec"], &one(&objects, "Pod")["spec"]] {
            assert_eq!(violations(pod), Vec::<String>::new(), "{values}");
            assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
        }
    }
}

#[test]
fn mistakes_in_the_values_are_refused_with_their_place() {
    for (setting, expected) in [
        ("allowedDestinations=[]", "allowedDestinations"),
        (r#"allowedDestinations=["https://edge.local"]"#, "allowedDestinations"),
        ("allowedDestinaitons=[]", "allowedDestinaitons"),
        ("online.enable=true", "enable"),
        ("online.enabled=true", "allowedSources"),
        (r#"allowedDestinations=[{"registry":"edge.local"}]"#, "allowedDestinations"),
        (r#"allowedDestinations=[{"registry":"edge.local","namespaces":[]}]"#, "allowedDestinations"),
        ("jobs.max=0", "max"),
        (r#"image.digest="sha256:short""#, "digest"),
        (r#"trustedKeys.existingSecret="""#, "name who may sign bundles"),
        (r#"trustedKeys.keys={"ci.pub":"RW"}"#, "not both"),
        (r#"dropFolder.existingClaim="""#, "exactly one of"),
        ("dropFolder.create.enabled=true", "exactly one of"),
        (r#"dropFolder={"node":{"path":"/media/usb"}}"#, "name the node"),
        (r#"online.proxy.url="http://u:p@proxy:3128""#, "holds credentials"),
        (r#"online.proxy.url="proxy:3128""#, "url"),
        (r#"extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy"}]"#, "online.proxy"),
        (r#"jobs.extraEnv=[{"name":"no_proxy","value":"x"}]"#, "online.proxy"),
        (r#"jobs.extraEnv=[{"name":"X","value":"http://u:p@host"}]"#, "credentials"),
        (r#"extraEnv=[{"name":"X","valueFrom":{}}]"#, "valueFrom"),
        (r#"jobs.labels={"app.kubernetes.io/component":"x"}"#, "jobs.labels: app.kubernetes.io/component is"),
        (
            r#"jobs.podLabels={"kuberegistrysync.io/set-uid":"x"}"#,
            "jobs.podLabels: kuberegistrysync.io/set-uid is",
        ),
        (r#"commonLabels={"app.kubernetes.io/name":"x"}"#, "commonLabels: app.kubernetes.io/name is"),
        (r#"jobs.annotations={"a b":"x"}"#, "/jobs/annotations"),
        (r#"hostAliases=[{"ip":"edge.local","hostnames":["x"]}]"#, "hostAliases"),
        (r#"dnsConfig={"nameserver":["10.0.0.1"]}"#, "nameserver"),
        ("networkPolicy.egress.registryPorts=[0]", "registryPorts"),
        (r#"nameOverride="Images""#, "nameOverride"),
    ] {
        let error = template(&minimal(), &[setting]).err().unwrap_or_else(|| panic!("{setting} is taken"));
        assert!(error.contains(expected), "{setting}: {error}");
    }
}

#[test]
fn alerts_ask_for_metrics_that_the_importer_has() {
    let code = read(chart().parent().unwrap().join("src/adapters/metrics.rs"));
    let objects = template(chart().join("ci/full.yaml").as_str(), &[]).unwrap();
    let rules = one(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() >= 5);
    for rule in rules {
        let expression = rule["expr"].as_str().unwrap();
        let names = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names = names.filter_map(|word| word.strip_prefix("krs_")).collect::<Vec<_>>();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            let name = name.trim_end_matches("_total").trim_end_matches("_info");
            assert!(code.contains(&format!("\"{name}\"")), "{expression}: no metric {name}");
        }
    }
}

#[test]
fn the_values_that_the_documentation_shows_are_taken() {
    let page = read(chart().join("../../docs/install.md"));
    let blocks = page.split("```yaml\n# values.yaml").skip(1).map(|rest| rest.split("```").next().unwrap());
    let blocks = blocks.collect::<Vec<_>>();
    assert!(!blocks.is_empty(), "docs/install.md shows no values");
    let folder = tempfile::tempdir().unwrap();
    for (n, block) in blocks.iter().enumerate() {
        let file = folder.path().join(format!("{n}.yaml"));
        std::fs::write(&file, format!("# {block}")).unwrap();
        config(&template(file.to_str().unwrap(), &[]).unwrap_or_else(|error| panic!("{error}\n{block}")));
    }
}

#[test]
fn t141_helm_takes_what_the_program_takes() {
    for (path, value, taken) in ROWS {
        let value = if in_list(path) { json!([value]) } else { json!(value) };
        let rendered = template(&minimal(), &[&format!("{path}={value}")]);
        assert_eq!(rendered.is_ok(), *taken, "{path}={value}: {rendered:?}");
    }
}

fn copy(from: &Utf8Path, to: &Utf8Path) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir_utf8().unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// `helm upgrade --reuse-values` puts the values of the release in the place of those of the new chart.
#[test]
fn t163_the_chart_renders_with_the_values_of_0_1() {
    let folder = tempfile::tempdir().unwrap();
    let reused = Utf8PathBuf::from_path_buf(folder.path().join("krs-importer")).unwrap();
    copy(&chart(), &reused);
    fs::write(reused.join("values.yaml"), VALUES).unwrap();
    for values in value_sets() {
        // The name of the image is the release's own, as it was: 0.1 had another default.
        let image = [r#"image.repository="krs-importer""#];
        let (mut reused, mut now) =
            (render(&reused, &values, &image).unwrap(), template(&values, &image).unwrap());
        assert_eq!(config(&reused), config(&now), "{values}");
        for objects in [&mut reused, &mut now] {
            for object in objects {
                // The text of the configuration may say a default, or not.
                drop(object.pointer_mut("/data/config.yaml").map(Value::take));
                drop(
                    object
                        .pointer_mut("/spec/template/metadata/annotations/checksum~1config")
                        .map(Value::take),
                );
            }
        }
        assert_eq!(reused, now, "{values}");
    }
}

/// Values of 0.1 that Prometheus takes, and no program of this repository sees.
#[test]
fn durations_for_prometheus_may_be_zero() {
    let full = chart().join("ci/full.yaml");
    for (value, taken) in [("0s", true), ("0m", true), ("1h0m30s", true), ("24", false), ("5s5m", false)] {
        for path in ["prometheusRule.notReadyFor", "serviceMonitor.interval"] {
            let rendered = template(full.as_str(), &[&format!("metrics.{path}={}", json!(value))]);
            assert_eq!(rendered.is_ok(), taken, "{path}={value}: {rendered:?}");
        }
    }
}
