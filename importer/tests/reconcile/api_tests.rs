// SPDX-License-Identifier: Apache-2.0
//! The API server of the tests does what a real one does, where tests rely on it.

use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::api::{FakeApi, Trouble};

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn maps(api: &FakeApi) -> Api<ConfigMap> {
    Api::namespaced(api.client(), "ns")
}

async fn apply(api: &FakeApi, manager: &str, data: &Value, force: bool) -> Result<ConfigMap, kube::Error> {
    let how = PatchParams { force, ..PatchParams::apply(manager) };
    maps(api).patch("m", &how, &Patch::Apply(map("m", data))).await
}

fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn server_side_apply_keeps_who_wrote_what() {
    let api = FakeApi::default();
    apply(&api, "a", &json!({"x": "1", "y": "1"}), false).await.unwrap();
    let version = api.version();
    apply(&api, "a", &json!({"x": "1", "y": "1"}), false).await.unwrap();
    assert_eq!(api.version(), version, "what changes nothing has no version of its own");
    assert_eq!(code(apply(&api, "b", &json!({"x": "2"}), false).await.unwrap_err()), 409);
    apply(&api, "b", &json!({"x": "2", "z": "2"}), true).await.unwrap();
    let now = api.get("configmaps", "ns", "m").unwrap();
    assert_eq!(now["data"], json!({"x": "2", "y": "1", "z": "2"}));
    let managed = now["metadata"]["managedFields"].as_array().unwrap();
    let of = |name: &str| managed.iter().find(|entry| entry["manager"] == name).unwrap()["fieldsV1"].clone();
    assert_eq!(of("a"), json!({"f:data": {"f:y": {}}}));
    assert_eq!(of("b"), json!({"f:data": {"f:x": {}, "f:z": {}}}));
    // What a manager does not apply any more is removed, unless it is somebody else's.
    apply(&api, "b", &json!({"z": "2"}), false).await.unwrap();
    assert_eq!(api.get("configmaps", "ns", "m").unwrap()["data"], json!({"y": "1", "z": "2"}));
    api.edit("kubectl", "configmaps", "ns", "m", &json!({"data": {"y": "3"}}));
    assert_eq!(code(apply(&api, "a", &json!({"y": "1"}), false).await.unwrap_err()), 409, "kubectl has it");
}

#[tokio::test]
async fn a_status_is_written_through_its_subresource_and_conditions_by_their_type() {
    let api = FakeApi::default();
    let bundle = json!({
        "apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "ImageBundle", "metadata": {"name": "b"},
        "spec": {"file": "f"}, "status": {"message": "ignored"},
    });
    let bundles = Api::<krs_core::crd::ImageBundle>::all(api.client());
    let force = PatchParams::apply("krs").force();
    bundles.patch("b", &force, &Patch::Apply(&bundle)).await.unwrap();
    assert!(api.get("imagebundles", "", "b").unwrap()["status"].is_null());
    let condition = |kind: &str, reason: &str| {
        let since = "2026-01-01T00:00:00Z";
        json!({"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": since})
    };
    let conditions = |list: Vec<Value>| json!({"status": {"conditions": list}});
    let first = conditions(vec![condition("Verified", "x"), condition("Complete", "x")]);
    bundles.patch_status("b", &force, &Patch::Apply(&first)).await.unwrap();
    api.edit(
        "other",
        "imagebundles",
        "",
        "b",
        &conditions(vec![condition("Verified", "x"), condition("Complete", "x"), condition("Theirs", "x")]),
    );
    let second = conditions(vec![condition("Verified", "y")]);
    bundles.patch_status("b", &force, &Patch::Apply(&second)).await.unwrap();
    let now = api.get("imagebundles", "", "b").unwrap();
    let kinds = now["status"]["conditions"].as_array().unwrap();
    let kinds = kinds.iter().map(|c| (c["type"].as_str().unwrap(), c["reason"].as_str().unwrap()));
    assert_eq!(kinds.collect::<Vec<_>>(), [("Verified", "y"), ("Theirs", "x")]);
    assert_eq!(now["metadata"]["generation"], 1);
}

#[tokio::test]
async fn a_watch_tells_changes_and_bookmarks_and_one_from_before_the_history_is_gone() {
    let api = FakeApi::default();
    api.put(
        "configmaps",
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": "ns", "labels": {"a": "b"}}}),
    );
    let from = api.version().to_string();
    let parameters = WatchParams::default().labels("a=b");
    let watch = maps(&api).watch(&parameters, &from).await.unwrap();
    let mut watch = pin!(watch);
    api.put("configmaps", json!({"metadata": {"name": "other", "namespace": "ns"}}));
    api.edit("kubectl", "configmaps", "ns", "m", &json!({"data": {"x": "1"}}));
    api.edit("kubectl", "configmaps", "ns", "m", &json!({"metadata": {"labels": null}}));
    assert!(matches!(watch.try_next().await.unwrap().unwrap(), WatchEvent::Modified(_)));
    assert!(matches!(watch.try_next().await.unwrap().unwrap(), WatchEvent::Deleted(_)));
    api.bookmark();
    let WatchEvent::Bookmark(bookmark) = watch.try_next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(bookmark.metadata.resource_version, api.version().to_string());
    api.expire();
    let WatchEvent::Error(error) = watch.try_next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(error.code, 410);
    assert!(watch.next().await.is_none());
    let watch = maps(&api).watch(&parameters, &from).await.unwrap();
    let WatchEvent::Error(error) = pin!(watch).try_next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(error.code, 410);
    let now = api.version().to_string();
    let watch = maps(&api).watch(&parameters, &now).await.unwrap();
    api.disconnect();
    assert!(pin!(watch).next().await.is_none());
}

#[tokio::test]
async fn lists_have_pages_can_be_stale_and_go_back_to_a_backup() {
    let api = FakeApi::default();
    let put = |name: &str| api.put("configmaps", json!({"metadata": {"name": name, "namespace": "ns"}}));
    put("a");
    put("b");
    let (backup, version) = (api.snapshot(), api.version());
    put("c");
    let count = |list: &kube::core::ObjectList<ConfigMap>| list.items.len();
    let first = maps(&api).list(&ListParams::default().limit(2)).await.unwrap();
    let next = first.metadata.continue_.clone().unwrap();
    put("d");
    let rest = maps(&api).list(&ListParams::default().limit(2).continue_token(&next)).await.unwrap();
    assert_eq!((count(&first), count(&rest)), (2, 1), "all pages are of one version");
    api.trouble("GET", "configmaps", Trouble::Stale(version), Some(1));
    assert_eq!(count(&maps(&api).list(&ListParams::default()).await.unwrap()), 2);
    assert_eq!(count(&maps(&api).list(&ListParams::default()).await.unwrap()), 4);
    api.restore(backup);
    assert_eq!(api.version(), version);
    assert_eq!(count(&maps(&api).list(&ListParams::default()).await.unwrap()), 2);
    let expired = maps(&api).list(&ListParams::default().limit(2).continue_token("1:1")).await;
    assert_eq!(code(expired.unwrap_err()), 410);
}

#[tokio::test]
async fn calls_fail_hang_and_are_refused_on_demand() {
    let api = FakeApi::default();
    let object = serde_json::from_value::<ConfigMap>(map("m", &json!({}))).unwrap();
    for (status, reason) in [(403, "Forbidden"), (409, "Conflict"), (429, "TooManyRequests")] {
        api.trouble("POST", "configmaps", Trouble::Status(status, reason, "no"), Some(1));
        let refused = maps(&api).create(&PostParams::default(), &object).await;
        assert_eq!(code(refused.unwrap_err()), status);
    }
    api.trouble_in("ns", "POST", "configmaps", Trouble::HangAfter);
    let client = maps(&api);
    let how = PostParams::default();
    let create = client.create(&how, &object);
    assert!(tokio::time::timeout(Duration::from_millis(50), create).await.is_err());
    assert!(api.get("configmaps", "ns", "m").is_some(), "it took effect");
    api.mend();
    assert_eq!(code(client.create(&how, &object).await.unwrap_err()), 409);
    let stale = json!({"metadata": {"resourceVersion": "0"}, "data": {"x": "1"}});
    let patched = client.patch("m", &PatchParams::default(), &Patch::Merge(&stale)).await;
    assert_eq!(code(patched.unwrap_err()), 409);
}
