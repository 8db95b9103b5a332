// SPDX-License-Identifier: Apache-2.0
//! Sites with a network: the same Jobs, straight from the source registry.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::edge::edges;
use crate::harness::{apply, condition, get, stays, wait_for, wait_not_ready};
use crate::site::Site;
use crate::source::{
    Account, Ci, account_secret, basic_secret, namespace, reference, registry, set, small_image,
};

#[test]
fn e8_a_wrong_password_is_reported_and_not_hammered_and_a_mended_one_needs_no_restart() {
    let account = Account::unique("online");
    let source = registry(Some(&account), false);
    let host = source.host().to_string();
    let images = ["one", "two"].map(|name| small_image(name, 50_000));
    let references = ["one", "two"].iter().zip(&images).map(|(name, image)| {
        image.push_to(&source, &format!("online/{name}"), Some("1"));
        reference(&source, &format!("online/{name}"), "1", image)
    });
    let references = references.collect::<Vec<_>>();
    let _site = Site::new(
        &[&Ci::new().public_key()],
        &json!({"online": {"enabled": true, "allowedSources": [host], "plainHTTP": [host]}}),
    );
    namespace("e8");
    let wrong = Account { password: "wrong".to_owned(), ..account.clone() };
    apply(&account_secret("e8", "source", &host, &wrong));
    apply(&basic_secret("e8", "source-basic", &host, &account));
    let (mut access, _) = edges().open.access("e8");
    access["source"] = "Registry".into();
    let mut app = set("e8", "app", edges().open.host().as_str(), &references, &access);
    app["spec"]["images"][0]["sourceClientSecretName"] = "source".into();
    app["spec"]["images"][1]["sourceClientSecretName"] = "source-basic".into();
    apply(&app);
    wait_not_ready("e8", "app", "AuthFailed");
    wait_for("the image with the right password is there", Duration::from_secs(120), || {
        (get("edgeimagesets", "e8", "app")?["status"]["images"]["present"] == 1).then_some(())
    });

    // Nobody knocks all the time.
    source.clear_requests();
    stays("the set says what is wrong", Duration::from_secs(20), || {
        let set = get("edgeimagesets", "e8", "app").unwrap();
        condition(&set, "Ready").unwrap().0 == "False" && condition(&set, "Stalled").is_none()
    });
    let requests = source.requests().len();
    println!("with a wrong password: {requests} requests in 20 s");
    assert!(requests < 40, "{requests} requests in 20 s");

    apply(&account_secret("e8", "source", &host, &account));
    let start = Instant::now();
    let done = wait_for("the set is Ready", Duration::from_secs(300), || {
        let set = get("edgeimagesets", "e8", "app")?;
        (condition(&set, "Ready")?.0 == "True").then_some(set)
    });
    println!("from the mended Secret to Ready: {:?}", start.elapsed());
    assert_eq!(done["status"]["synchronizedImages"], json!(references));
    for (name, image) in ["one", "two"].iter().zip(&images) {
        edges().open.must_have(&format!("online/{name}"), "1", image);
    }
}
