// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use krs_core::oci::digest::Digest;
use serde_json::json;

use super::*;
use crate::model::config::Config;
use crate::model::job::{CopyJob, JobPhase};

const CONFIG: &str = "namespace: krs-system\nallowedDestinations: [edge.local:5000]\n\
    registry: {host: 'krs-importer.krs-system.svc:5443'}\njobs: {image: 'krs-importer:1', imagePullSecrets: [{name: pull}]}\n";

fn set() -> EdgeImageSet {
    let image = format!("docker.io/library/nginx:1.25@{}", Digest::of(b"nginx"));
    serde_json::from_value(json!({
        "apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
        "metadata": {"name": "shop.images", "namespace": "shop", "uid": "0b5b2c6e-0000-4000-8000-000000000001"},
        "spec": {
            "destinationRegistry": "edge.local:5000", "destinationClientSecretName": "edge-creds",
            "destinationTLS": {"caConfigMapName": "edge-ca"},
            "images": [{"image": image, "sourceClientSecretName": "hub"}],
        },
    }))
    .unwrap()
}

fn batch(set: &EdgeImageSet, source: BatchSource) -> Batch {
    let images = krs_core::set::check_spec(&set.spec).unwrap();
    let destination = set.spec.destination_registry.parse().unwrap();
    let targets =
        crate::model::target::targets(&destination, &images, |_| Some("hub".to_owned()), |r| r.digest)
            .unwrap();
    let targets = targets.into_iter().map(|t| (t, vec!["library/base".parse().unwrap()])).collect();
    Batch { source, targets, patches: BTreeMap::new(), attempt: 2, bytes: Some(5_000_000_000) }
}

fn from_bundle() -> BatchSource {
    BatchSource::Bundle { digest: Digest::of(b"bundle"), name: "prod-118".to_owned() }
}

fn from_registry() -> BatchSource {
    BatchSource::Registry { registry: "docker.io".parse().unwrap(), secret: Some("hub".to_owned()) }
}

fn surroundings<'a>(config: &'a Config, destination_ca_keys: &'a [String]) -> JobContext<'a> {
    JobContext { config, registry_ca: "PEM", destination_is_dockerconfigjson: true, destination_ca_keys }
}

fn built(source: BatchSource) -> Job {
    built_with(CONFIG, source)
}

fn built_with(config: &str, source: BatchSource) -> Job {
    let config = Config::parse(config).unwrap();
    let set = set();
    let keys = ["ca.crt".to_owned()];
    let surroundings = surroundings(&config, &keys);
    build(&set, &batch(&set, source), &surroundings)
}

#[test]
fn jobs_are_the_reviewed_ones() {
    insta::assert_snapshot!("bundle", serde_saphyr::to_string(&built(from_bundle())).unwrap());
    insta::assert_snapshot!("registry", serde_saphyr::to_string(&built(from_registry())).unwrap());
}

#[test]
fn a_job_is_read_back_as_it_was_written() {
    for source in [from_bundle(), from_registry()] {
        let job = built(source.clone());
        let back = read(&job, &[]).unwrap();
        let config = Config::parse(CONFIG).unwrap();
        let surroundings = surroundings(&config, &[]);
        let set = set();
        let name = job.metadata.name.clone().unwrap();
        assert!(name.len() <= 63 && name.starts_with("krs-shop-images-"), "{name}");
        let expected = CopyJob {
            created: None,
            suspended: false,
            batch: name.split('-').rev().nth(1).unwrap().to_owned(),
            name,
            attempt: 2,
            task: task(&set, &batch(&set, source), &surroundings),
            phase: JobPhase::Running { waiting: None, failed: None },
        };
        assert_eq!(back, expected);
    }
}

#[test]
fn a_job_that_is_not_ours_is_none() {
    let ours = built(from_bundle());
    let foreign: [fn(&mut Job); 4] = [
        |job| job.metadata.labels = None,
        |job| job.metadata.name = Some("other".to_owned()),
        |job| drop(job.metadata.annotations.as_mut().unwrap().insert(ATTEMPT.to_owned(), "many".to_owned())),
        |job| job.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].args = None,
    ];
    for change in foreign {
        let mut job = ours.clone();
        change(&mut job);
        assert_eq!(read(&job, &[]), None);
    }
}

fn pod(name: &str, created: &str, state: &serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "creationTimestamp": created,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job-uid"}],
        },
        "status": {"containerStatuses": [
            {"name": "copy", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state},
        ]},
    }))
    .unwrap()
}

#[test]
fn t84_the_report_of_the_newest_pod_is_read_and_made_printable() {
    let mut job = built(from_bundle());
    job.metadata.uid = Some("job-uid".to_owned());
    job.status = serde_json::from_value(json!({"conditions": [{
        "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too\nlong",
        "lastTransitionTime": "2026-03-01T08:00:00Z",
    }]}))
    .unwrap();
    let report = |text: &str| json!({"terminated": {"exitCode": 1, "message": text}});
    let text =
        r#"{"done":1,"failed":1,"failures":[{"target":0,"reason":"AuthFailed","message":"a\u001b[31m"}]}"#;
    let pods = [
        pod("old", "2026-03-01T07:00:00Z", &report("{\"done\": 7}")),
        pod("new", "2026-03-01T07:30:00Z", &report(text)),
    ];
    let JobPhase::Failed { at, why, report: Some(found) } = read(&job, &pods).unwrap().phase else {
        panic!("it failed, with a report")
    };
    assert_eq!(
        (at.to_string().as_str(), why.as_str()),
        ("2026-03-01T08:00:00Z", "DeadlineExceeded: too\\u{a}long")
    );
    assert_eq!((found.done, found.failures[0].message.as_str()), (1, "a\\u{1b}[31m"));
    let garbage = [pod("new", "2026-03-01T07:30:00Z", &report("no JSON"))];
    assert!(matches!(read(&job, &garbage).unwrap().phase, JobPhase::Failed { report: None, .. }));
}

#[test]
fn t206_why_a_job_failed_says_the_newest_pod_that_failed_and_no_older_one() {
    let mut job = built(from_bundle());
    job.metadata.uid = Some("job-uid".to_owned());
    job.status = serde_json::from_value(json!({"conditions": [{
        "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
        "lastTransitionTime": "2026-03-01T08:00:00Z",
    }]}))
    .unwrap();
    let text =
        r#"{"failed":1,"failures":[{"target":0,"reason":"RegistryUnreachable","message":"no route"}]}"#;
    let end = |code: i32, reason: &str, message: &str| json!({"terminated": {"exitCode": code, "reason": reason, "message": message}});
    let old = pod("old", "2026-03-01T07:00:00Z", &end(8, "Error", text));
    let newest = |state| pod("new", "2026-03-01T07:30:00Z", &state);
    // They are read one by one, the newest first.
    let phase = |newest: Pod| {
        let mut copy = read(&job, &[newest.clone(), old.clone()]).unwrap();
        let mut one_by_one = read(&job, &[]).unwrap();
        for pod in [newest, old.clone()] {
            add_pods(&mut one_by_one, "job-uid", &[pod]);
        }
        assert_eq!(copy, one_by_one);
        let JobPhase::Failed { why, report, .. } =
            std::mem::replace(&mut copy.phase, JobPhase::Running { waiting: None, failed: None })
        else {
            panic!("it failed")
        };
        (why, report.map(|report| report.failures[0].message.clone()))
    };
    let (why, report) = phase(newest(end(137, "OOMKilled", "")));
    assert_eq!(
        (why.as_str(), report),
        ("BackoffLimitExceeded; its last Pod: OOMKilled (exit code 137)", None)
    );
    // One that was stopped, for example at the deadline, has not failed.
    let (why, report) = phase(newest(end(143, "Error", "")));
    assert_eq!((why.as_str(), report.as_deref()), ("BackoffLimitExceeded", Some("no route")));
    job.status = None;
    let stopped = [newest(end(143, "Error", ""))];
    assert_eq!(read(&job, &stopped).unwrap().phase, JobPhase::Running { waiting: None, failed: None });
}

#[test]
fn t81_a_pod_that_does_not_start_says_why() {
    let mut job = built(from_bundle());
    job.metadata.uid = Some("job-uid".to_owned());
    let waiting = |reason: &str| {
        let state = json!({"waiting": {"reason": reason, "message": "no such image"}});
        read(&job, &[pod("p", "2026-03-01T07:00:00Z", &state)]).unwrap().phase
    };
    let why = Some("ErrImagePull: no such image".to_owned());
    assert_eq!(waiting("ErrImagePull"), JobPhase::Running { waiting: why, failed: None });
    assert_eq!(waiting("ContainerCreating"), JobPhase::Running { waiting: None, failed: None });
}

#[test]
fn t210_a_container_that_admission_added_and_that_does_not_start_is_named() {
    let mut job = built(from_bundle());
    job.metadata.uid = Some("job-uid".to_owned());
    let waiting = |field: &str, reason: &str| {
        let mut pod = pod("p", "2026-03-01T07:00:00Z", &json!({"waiting": {"reason": "PodInitializing"}}));
        let status = json!({
            "name": "mesh", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "no such image"}},
        });
        let status: ContainerStatus = serde_json::from_value(status).unwrap();
        let statuses = pod.status.as_mut().unwrap();
        match field {
            "init" => statuses.init_container_statuses = Some(vec![status]),
            _ => statuses.container_statuses.as_mut().unwrap().push(status),
        }
        match read(&job, &[pod]).unwrap().phase {
            JobPhase::Running { waiting, failed: None } => waiting,
            other => panic!("{other:?}"),
        }
    };
    for field in ["init", "main"] {
        let why = waiting(field, "ImagePullBackOff").unwrap();
        assert_eq!(why, "container mesh: ImagePullBackOff: no such image");
        assert_eq!(waiting(field, "PodInitializing"), None);
    }
}

#[test]
fn t194_a_job_whose_task_is_of_a_later_version_is_seen_with_its_targets() {
    let mut job = built(from_bundle());
    let args = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).unwrap();
    let args = args.containers[0].args.as_mut().unwrap();
    let before = read(&built(from_bundle()), &[]).unwrap();
    let later = args[2].replace("\"kind\":\"bundle\"", "\"kind\":\"tape\"");
    assert_ne!(later, args[2]);
    args[2] = later;
    let after = read(&job, &[]).unwrap();
    assert_eq!(after.task.source, crate::model::task::TaskSource::Later);
    assert_eq!(
        (after.task.targets, after.phase),
        (before.task.targets, before.phase),
        "it has its slot, and runs"
    );
}

/// What a site adds to Jobs, each in its field.
const ADDED: &str = r"
online: {proxy: {url: 'http://proxy.example:3128', noProxy: [.lab.example]}}
jobs:
  image: 'krs-importer:1'
  labels: {team: edge}
  annotations: {example.com/owner: edge}
  podLabels: {cost: '7'}
  podAnnotations: {example.com/pod: x}
  extraEnv: [{name: SSL_CERT_FILE, value: /ca.pem}]
  hostAliases: [{ip: 10.0.0.5, hostnames: [edge.local]}]
  dnsConfig: {nameservers: [10.0.0.1], options: [{name: ndots, value: '2'}]}
  nodeSelector: {disk: ssd}
  setIDs: false
";

fn added() -> String {
    CONFIG
        .lines()
        .filter(|line| !line.starts_with("jobs:"))
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        + ADDED
}

#[test]
fn what_the_site_adds_is_in_the_job_and_its_pod_and_hides_nothing_of_ours() {
    let (job, plain) = (built_with(&added(), from_registry()), built(from_registry()));
    assert_eq!(job.metadata.name, plain.metadata.name, "a change of the values disturbs no copy that runs");
    for (metadata, of_plain, pairs) in [
        (&job.metadata, &plain.metadata, [("team", "edge"), ("example.com/owner", "edge")]),
        (
            job.spec.as_ref().unwrap().template.metadata.as_ref().unwrap(),
            plain.spec.as_ref().unwrap().template.metadata.as_ref().unwrap(),
            [("cost", "7"), ("example.com/pod", "x")],
        ),
    ] {
        let labels = metadata.labels.as_ref().unwrap();
        assert_eq!(labels[pairs[0].0], pairs[0].1);
        assert_eq!(metadata.annotations.as_ref().unwrap()[pairs[1].0], pairs[1].1);
        let ours =
            of_plain.labels.as_ref().unwrap().iter().filter(|(key, _)| key.contains("kuberegistrysync.io/"));
        assert!(ours.clone().count() == 2 && ours.clone().all(|(key, value)| labels.get(key) == Some(value)));
    }
    let pod = serde_json::to_value(job.spec.unwrap().template.spec.unwrap()).unwrap();
    assert_eq!(pod["hostAliases"], json!([{"ip": "10.0.0.5", "hostnames": ["edge.local"]}]));
    assert_eq!(pod["dnsConfig"]["nameservers"], json!(["10.0.0.1"]));
    assert_eq!(pod["nodeSelector"], json!({"disk": "ssd", "kubernetes.io/os": "linux"}));
    assert_eq!(
        pod["containers"][0]["env"],
        json!([
            {"name": "SSL_CERT_FILE", "value": "/ca.pem"},
            {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},
            {"name": "HTTP_PROXY", "value": "http://proxy.example:3128"},
            {"name": "NO_PROXY", "value": ".lab.example,krs-importer.krs-system.svc,edge.local"},
        ])
    );
    let security = &pod["securityContext"];
    assert_eq!(*security, json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
    let from_bundle = built_with(&added(), from_bundle()).spec.unwrap().template.spec.unwrap();
    let variables =
        from_bundle.containers[0].env.as_ref().unwrap().iter().map(|variable| variable.name.as_str());
    assert_eq!(variables.collect::<Vec<_>>(), ["SSL_CERT_FILE"], "a bundle is not read by a proxy");
}

#[test]
fn t190_no_service_mesh_adds_a_sidecar_unless_the_site_wants_it() {
    let template = built(from_bundle()).spec.unwrap().template.metadata.unwrap();
    let (labels, annotations) = (template.labels.unwrap(), template.annotations.unwrap());
    assert_eq!(labels["sidecar.istio.io/inject"], "false");
    assert_eq!(labels["kuma.io/sidecar-injection"], "disabled");
    assert_eq!(annotations["linkerd.io/inject"], "disabled");
    assert_eq!(annotations["consul.hashicorp.com/connect-inject"], "false");
    let wanted = added().replace("cost: '7'", "sidecar.istio.io/inject: 'true'");
    let template = built_with(&wanted, from_bundle()).spec.unwrap().template.metadata.unwrap();
    assert_eq!(template.labels.unwrap()["sidecar.istio.io/inject"], "true");
}

#[test]
fn t268_of_the_secret_of_a_ca_only_what_holds_certificates_is_mounted() {
    let config = Config::parse(CONFIG).unwrap();
    let mut set = set();
    let tls = set.spec.destination_tls.get_or_insert_default();
    (tls.ca_secret_name, tls.ca_config_map_name) = (Some("corp-ca".to_owned()), None);
    let keys = ["ca.crt".to_owned(), "old.pem".to_owned()];
    let job = build(&set, &batch(&set, from_bundle()), &surroundings(&config, &keys));
    let volumes = job.spec.unwrap().template.spec.unwrap().volumes.unwrap();
    let found = volumes.iter().filter(|volume| volume.name == "destination-ca").collect::<Vec<_>>();
    assert_eq!(found.len(), 1);
    let expected = json!({
        "name": "destination-ca",
        "secret": {
            "secretName": "corp-ca", "defaultMode": 0o440, "optional": true,
            "items": [{"key": "ca.crt", "path": "ca.crt"}, {"key": "old.pem", "path": "old.pem"}],
        },
    });
    assert_eq!(serde_json::to_value(found[0]).unwrap(), expected);
    let job = build(&set, &batch(&set, from_bundle()), &surroundings(&config, &[]));
    let volumes = job.spec.unwrap().template.spec.unwrap().volumes.unwrap();
    assert!(volumes.iter().all(|volume| volume.name != "destination-ca"), "no items are all of the Secret");
}
