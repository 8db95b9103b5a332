// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::app::registry::fake::{FakeApi, JOB, POD, SET, owner, token};

fn peer(n: u8) -> std::net::IpAddr {
    [10, 0, 0, n].into()
}

async fn review(api: &FakeApi) -> Result<TokenReviewResult, Unavailable> {
    reviewer(api.client())(Secret::new(token("good")), peer(1)).await
}

#[tokio::test]
async fn t154_the_token_of_a_live_pod_of_a_copy_job_stands_for_its_namespace() {
    let set = SetName { namespace: "apps".to_owned(), name: "set".to_owned() };
    assert_eq!(review(&FakeApi::with_copy_job()).await, Ok(TokenReviewResult::Reader(set)));
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
    for (path, pointer, value) in cases {
        let api = FakeApi::with_copy_job();
        api.with(|state| {
            let object = match state.objects.get_mut(*path) {
                Some(object) => object,
                None => state.tokens.get_mut(*path).unwrap(),
            };
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[key] = value.clone();
        });
        assert_eq!(review(&api).await, Ok(TokenReviewResult::Refused), "{path} {pointer} {value}");
    }
    for gone in [POD, JOB, SET] {
        let api = FakeApi::with_copy_job();
        api.with(|state| state.objects.remove(gone));
        assert_eq!(review(&api).await, Ok(TokenReviewResult::Refused), "{gone}");
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
            let error = review(&api).await.unwrap_err();
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
        assert_eq!(
            reviewer(Secret::new(format!("random-{n}")), peer(1)).await,
            Ok(TokenReviewResult::Refused)
        );
    }
    assert_eq!(reviews(), 0, "none of them is a token");
    let mut late = 0;
    for n in 0..100 {
        late += usize::from(reviewer(Secret::new(token(&n.to_string())), peer(1)).await.is_err());
    }
    assert!(reviews() < 60 && late > 40, "{} reviews, {late} are to ask later", reviews());
}

/// Through the server, so that the address is that of the connection.
#[tokio::test]
async fn t172_an_address_that_floods_with_tokens_locks_out_no_other() {
    use base64::Engine as _;
    use krs_core::sync::serve::Peer;

    use crate::app::registry::access::Access;
    use crate::app::registry::front::RegistryService;

    let api = FakeApi::with_copy_job();
    let (library, _faults) = crate::adapters::bundle_store::BundleStore::new();
    let demand = tokio::sync::watch::channel(Arc::default()).1;
    let access = Access::new(reviewer(api.client()));
    let front =
        RegistryService::new(access, library, demand, false, crate::adapters::metrics::Metrics::new().0);
    let options = krs_core::sync::serve::ServeOptions { address: "127.0.0.1:0".parse().unwrap(), tls: None };
    let listener = krs_core::sync::serve::Listener::bind(&options).await.unwrap();
    let address = listener.address();
    let front = Arc::new(front);
    let server = tokio::spawn(listener.run(
        move |request: Request<()>| {
            let front = Arc::clone(&front);
            async move {
                assert!(request.extensions().get::<Peer>().is_some());
                front.answer(request).await
            }
        },
        std::future::pending(),
    ));
    let status = async |from: &str, name: &str| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("krs:{}", token(name)));
        let head = format!(
            "GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {pair}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let mut answers = Vec::new();
    for n in 0..60 {
        answers.push(status("127.0.0.2:0", &n.to_string()).await);
    }
    assert!(answers.contains(&"401".to_owned()) && answers.contains(&"503".to_owned()), "{answers:?}");
    assert_eq!(status("127.0.0.1:0", "good").await, "200");
    server.abort();
}
