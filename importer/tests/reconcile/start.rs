// SPDX-License-Identifier: Apache-2.0
//! The program itself, from its start.

use std::net::SocketAddr;
use std::time::Duration;

use crate::api::FakeApi;
use crate::program::Running;

/// Longest time that anything here takes.
const TIMEOUT: Duration = Duration::from_secs(120);

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
    let in_time = tokio::time::timeout(TIMEOUT, waiting).await;
    in_time.unwrap_or_else(|_| panic!("{what}: {last}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn t181_the_importer_waits_for_an_api_server_that_is_away_when_it_starts() {
    let (api_address, health) = (unused().await, unused().await);
    let mut importer = Running::start(api_address, health, &[]);
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
    assert_eq!(importer.child.try_wait().unwrap(), None, "it runs");

    let listener = tokio::net::TcpListener::bind(api_address).await.unwrap();
    let service = FakeApi::default().service();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    until("it is ready", &ready, |status, _| status == 200).await;
    assert_eq!(importer.child.try_wait().unwrap(), None, "it runs");
}
