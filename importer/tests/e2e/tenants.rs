// SPDX-License-Identifier: Apache-2.0
//! Who may read from the embedded registry.

use serde_json::{Value, json};

use crate::edge::{block_on, edges};
use crate::harness::{
    JobWatch, TIMEOUT, all, apply, condition, get, kubectl, wait_for, wait_not_ready, wait_ready,
};
use crate::site::{SYSTEM, Site};
use crate::source::{Ci, namespace, reference, registry, set, small_image};

/// A token for the embedded registry, bound to a Pod where one is given.
fn token(namespace: &str, pod: Option<&Value>) -> String {
    let mut arguments =
        vec!["create", "token", "default", "--namespace", namespace, "--audience=krs-importer"];
    if let Some(pod) = pod {
        let field = |name: &str| pod["metadata"][name].as_str().unwrap();
        arguments.extend(["--bound-object-kind=Pod", "--bound-object-name", field("name")]);
        arguments.extend(["--bound-object-uid", field("uid")]);
    }
    kubectl(&arguments).trim().to_owned()
}

fn sleeping() -> Value {
    json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "main", "image": "krs.test/busybox:1", "command": ["/bin/busybox", "sleep", "3600"],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]})
}

fn running(namespace: &str, label: &str) -> Value {
    wait_for(&format!("a Pod of {label} runs"), TIMEOUT, || {
        all("pods", namespace)
            .into_iter()
            .find(|pod| pod["metadata"]["labels"]["test"] == label && pod["status"]["phase"] == "Running")
    })
}

/// A Pod that sleeps, of a Job that looks as much like ours as the arguments say.
fn pod_of_job(namespace: &str, name: &str, ours: bool, owner: Option<&Value>) -> Value {
    let mut labels = json!({"test": name});
    if ours {
        labels["app.kubernetes.io/managed-by"] = "krs-importer".into();
        labels["app.kubernetes.io/component"] = "copy".into();
    }
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": sleeping()}}});
    if let Some(owner) = owner {
        job["metadata"]["ownerReferences"] = json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"],
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true}]);
    }
    apply(&job);
    running(namespace, name)
}

fn request_status(path: &str, token: Option<&str>) -> u16 {
    let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    block_on(async {
        // Whether the certificate is right is for the copy Jobs to find out.
        let client =
            reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        let url = format!("https://krs-importer.{SYSTEM}.svc:5443{path}");
        let mut request = client.get(url).header("accept", accept);
        if let Some(token) = token {
            request = request.basic_auth("krs", Some(token));
        }
        request.send().await.unwrap().status().as_u16()
    })
}

/// The repository that the runners of a set read from, by their own arguments.
fn read_from(watch: &JobWatch) -> String {
    let jobs = watch.jobs();
    let arguments = jobs[0]["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let task = arguments.iter().find_map(|text| serde_json::from_str::<Value>(text.as_str()?).ok());
    task.unwrap()["targets"][0]["sourceRepository"].as_str().unwrap().to_owned()
}

#[test]
fn e9_only_a_copy_job_of_a_set_that_lists_an_image_reads_it() {
    let source = registry(None, false);
    let image = small_image("tenants", 20_000);
    image.push_to(&source, "tenants/app", Some("1"));
    let references = [reference(&source, "tenants/app", "1", &image)];
    let (access, _) = edges().open.access("e9");
    let host = edges().open.host();
    let app = set("e9", "app", host.as_str(), &references, &access);
    let mut ci = Ci::new();
    ci.commit(std::slice::from_ref(&app));
    let bundle = ci.bundle("e9", "e9", 1, &source, &[]);
    drop(source);
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("e9");
    namespace("e9-tenant");
    apply(&app);
    let watch = JobWatch::start("e9");
    site.insert(&bundle);
    wait_ready("e9", "app");
    apply(&set("e9-tenant", "own", host.as_str(), &["docker.io/library/other:1".to_owned()], &access));
    let theirs = get("edgeimagesets", "e9", "app").unwrap();
    let own = get("edgeimagesets", "e9-tenant", "own").unwrap();
    let path = format!("/v2/{}/manifests/{}", read_from(&watch), image.digest);

    apply(&json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "lone", "namespace": "e9-tenant", "labels": {"test": "lone"}}, "spec": sleeping()}));
    let lone = running("e9-tenant", "lone");
    let foreign = pod_of_job("e9-tenant", "foreign", false, Some(&own));
    let ownerless = pod_of_job("e9-tenant", "ownerless", true, None);
    let forged = pod_of_job("e9-tenant", "forged", true, Some(&own));
    let right = pod_of_job("e9", "right", true, Some(&theirs));

    let good = token("e9", Some(&right));
    wait_for("a copy Job's own token reads the image", TIMEOUT, || {
        (request_status(&path, Some(&good)) == 200).then_some(())
    });
    assert_eq!(request_status(&path, None), 401);
    let tokens = [
        ("no Pod", token("e9-tenant", None)),
        ("no Pod, in the namespace of the set", token("e9", None)),
        ("a Pod without a Job", token("e9-tenant", Some(&lone))),
        ("a Job that is no copy Job", token("e9-tenant", Some(&foreign))),
        ("a copy Job without a set", token("e9-tenant", Some(&ownerless))),
        ("a set that does not list the image", token("e9-tenant", Some(&forged))),
        ("nonsense", "nonsense".to_owned()),
    ];
    for (what, token) in &tokens {
        let status = request_status(&path, Some(token));
        assert!(matches!(status, 401 | 403 | 404), "{what}: {status}");
        assert_ne!(
            request_status("/v2/_catalog", Some(token)),
            200,
            "{what}: what there is, is nobody's business"
        );
    }

    // T-178: whoever may write a status says that a set is Ready which is not.
    wait_not_ready("e9-tenant", "own", "WaitingForBundle");
    let since = json!({"lastTransitionTime": "2026-01-01T00:00:00Z", "message": ""});
    let mut conditions = ["Ready", "Blessed"]
        .map(|type_| json!({"type": type_, "status": "True", "reason": "SyncSuccessful"}));
    for condition in &mut conditions {
        condition.as_object_mut().unwrap().extend(since.as_object().unwrap().clone());
    }
    let patch = json!({"status": {"conditions": conditions}}).to_string();
    let set = ["edgeimageset", "own", "--namespace", "e9-tenant"];
    kubectl(&[&["patch"][..], &set, &["--subresource=status", "--type=merge", "--patch", &patch]].concat());
    wait_for("the right status", TIMEOUT, || {
        let set = get("edgeimagesets", "e9-tenant", "own")?;
        let right = condition(&set, "Ready")?.0 == "False" && condition(&set, "Synced").is_some();
        (right && condition(&set, "Blessed").is_none()).then_some(())
    });
}
