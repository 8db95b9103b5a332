// SPDX-License-Identifier: Apache-2.0
//! The program itself, from its start.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::api::FakeApi;

/// Longest time that anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that nobody listens at.
async fn unused() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.77:0").await.unwrap().local_addr().unwrap()
}

async fn until(what: &str, url: &str, wanted: impl Fn(u16, &str) -> bool) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut last = String::new();
    let waiting = async {
        loop {
            if let Ok(answer) = client.get(url).send().await {
                let status = answer.status().as_u16();
                last = answer.text().await.unwrap_or_default();
                if wanted(status, &last) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    in_time.unwrap_or_else(|_| panic!("{what}: {last}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn t181_the_importer_waits_for_an_api_server_that_is_away_when_it_starts() {
    let (api_address, health) = (unused().await, unused().await);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["bundles", "keys"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let config = json!({
        "namespace": "krs-system", "allowedDestinations": ["edge.example.com:5000"],
        "registry": {"host": "krs-importer.krs-system.svc:5443", "listen": "127.0.0.1:0"},
        "http": health.to_string(), "jobs": {"image": "krs-importer:1"},
        "trustedKeys": path("keys"), "intake": {"folder": path("bundles")},
    });
    std::fs::write(path("config.yaml"), config.to_string()).unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": format!("http://{api_address}")}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    std::fs::write(path("kubeconfig"), kubeconfig.to_string()).unwrap();
    let importer = Command::new(env!("CARGO_BIN_EXE_krs-importer"))
        .args(["run", "--config", &path("config.yaml"), "--log", "warn"])
        .env("KUBECONFIG", path("kubeconfig"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut importer = Running(importer);
    let ready = format!("http://{health}/readyz");
    until("it says what it waits for", &ready, |status, text| {
        status == 503
            && text.contains("the importer starts: the Lease")
            && text.contains("Connection refused")
    })
    .await;
    until("it is alive", &format!("http://{health}/healthz"), |status, text| {
        status == 200 && text.contains("the start")
    })
    .await;
    assert_eq!(importer.0.try_wait().unwrap(), None, "it runs");

    let listener = tokio::net::TcpListener::bind(api_address).await.unwrap();
    let service = FakeApi::default().service();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    until("it is ready", &ready, |status, _| status == 200).await;
    assert_eq!(importer.0.try_wait().unwrap(), None, "it runs");
}
