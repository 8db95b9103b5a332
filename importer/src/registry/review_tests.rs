// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::registry::fake::{FakeApi, JOB, POD, SET, owner, token};

async fn ask(api: &FakeApi) -> Result<Verdict, Unavailable> {
    reviewer(api.client())(Secret::new(token("good"))).await
}

#[tokio::test]
async fn t154_the_token_of_a_live_pod_of_a_copy_job_stands_for_its_namespace() {
    assert_eq!(ask(&FakeApi::with_copy_job()).await, Ok(Verdict::Reader { namespace: "apps".to_owned() }));
}

#[tokio::test]
async fn t154_a_token_is_refused_when_anything_between_it_and_a_set_is_not_as_it_must_be() {
    let token = |pointer: &'static str, value: Value| ("good", pointer, value);
    let cases: &[(&str, &str, Value)] = &[
        token("/authenticated", json!(false)),
        token("/audiences", json!(["https://kubernetes.default.svc"])),
        token("/audiences", Value::Null),
        token("/user/username", json!("admin")),
        token("/user/username", json!("system:serviceaccount:other:default")),
        token("/user/extra", Value::Null),
        token("/user/extra", json!({POD_NAME: ["pod"]})),
        token("/user/extra", json!({POD_NAME: ["pod", "b"], POD_UID: ["p1"]})),
        (POD, "/metadata/uid", json!("p2")),
        (POD, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        (POD, "/status/phase", json!("Succeeded")),
        (POD, "/status/phase", json!("Failed")),
        (POD, "/metadata/ownerReferences", Value::Null),
        (POD, "/metadata/ownerReferences", owner("apps/v1", "ReplicaSet", "job", "j1")),
        (POD, "/metadata/ownerReferences", owner("tenant.io/v1", "Job", "job", "j1")),
        (POD, "/metadata/ownerReferences/0/controller", json!(false)),
        (POD, "/metadata/ownerReferences/0/uid", json!("j2")),
        (JOB, "/metadata/uid", json!("j2")),
        (JOB, "/metadata/labels", json!({"app.kubernetes.io/managed-by": "krs-importer"})),
        (JOB, "/metadata/ownerReferences", Value::Null),
        (JOB, "/metadata/ownerReferences", owner("tenant.io/v1", "EdgeImageSet", "set", "s1")),
        (SET, "/metadata/uid", json!("s2")),
    ];
    for (place, pointer, value) in cases {
        let api = FakeApi::with_copy_job();
        api.with(|state| {
            let object = match state.objects.get_mut(*place) {
                Some(object) => object,
                None => state.tokens.get_mut(*place).unwrap(),
            };
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[key] = value.clone();
        });
        assert_eq!(ask(&api).await, Ok(Verdict::Refused), "{place} {pointer} {value}");
    }
    for gone in [POD, JOB, SET] {
        let api = FakeApi::with_copy_job();
        api.with(|state| state.objects.remove(gone));
        assert_eq!(ask(&api).await, Ok(Verdict::Refused), "{gone}");
    }
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_refuses_nobody() {
    for call in
        ["POST /apis/authentication.k8s.io", "GET /api/v1/namespaces", "GET /apis/batch", "GET /apis/kube"]
    {
        for code in [403, 500] {
            let api = FakeApi::with_copy_job();
            api.with(|state| state.failing = Some((call, code)));
            let error = ask(&api).await.unwrap_err();
            assert!(!error.to_string().contains("good"), "{error}");
        }
    }
}

#[tokio::test]
async fn t144_strangers_do_not_make_the_importer_ask_without_end() {
    let api = FakeApi::with_copy_job();
    let reviewer = reviewer(api.client());
    let reviews = || api.with(|state| state.calls.iter().filter(|c| c.ends_with("/tokenreviews")).count());
    for n in 0..100 {
        assert_eq!(reviewer(Secret::new(format!("random-{n}"))).await, Ok(Verdict::Refused));
    }
    assert_eq!(reviews(), 0, "none of them is a token");
    let mut late = 0;
    for n in 0..100 {
        late += usize::from(reviewer(Secret::new(token(&n.to_string()))).await.is_err());
    }
    assert!(reviews() < 60 && late > 40, "{} reviews, {late} are to ask later", reviews());
}
