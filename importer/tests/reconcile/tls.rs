// SPDX-License-Identifier: Apache-2.0
//! Sets that want TLS where the registry has none, and the reverse.

use krs_importer::model::config::AllowedDestination;
use krs_testing::registry::{Auth, Matcher, Options, Registry, What};
use serde_json::json;

use crate::world::World;

/// A registry with TLS, one without, and a set that says the contrary.
#[tokio::test]
async fn t230_who_mixes_up_tls_and_plain_http_is_told_what_to_change() {
    let refused = "Client sent an HTTP request to an HTTPS server.\n";
    for (has_tls, body, tls, policy, reason, expected) in [
        (true, "", json!({}), "", "TLSFailed", "put the registry's CA certificate as ca.crt"),
        (false, "", json!({"insecureSkipVerify": true}), "", "TLSFailed", "set destinationTLS.plainHTTP"),
        (
            false,
            "",
            json!({"insecureSkipVerify": true}),
            "destinationTLS: {allowPlainHTTP: false}\n",
            "TLSFailed",
            "the site's policy forbids destinationTLS.plainHTTP",
        ),
        // One that says so, and one that sends a TLS alert.
        (
            false,
            refused,
            json!({"plainHTTP": true}),
            "",
            "TLSFailed",
            "the registry speaks TLS: remove destinationTLS.plainHTTP",
        ),
        (
            true,
            "",
            json!({"plainHTTP": true}),
            "",
            "RegistryUnreachable",
            "if the registry speaks TLS, remove destinationTLS.plainHTTP",
        ),
    ] {
        let mut world = World::new(1, Auth::None);
        world.edge = Registry::start(Options { tls: has_tls, ..Options::default() });
        world.allowed = vec![AllowedDestination::Any(world.edge.host().to_string())];
        world.config = policy.to_owned();
        if !body.is_empty() {
            world.edge.fail(Matcher::any(), What::Status(400, Vec::new(), body.to_owned()));
        }
        world.set("x", &[0], |set| set["spec"]["destinationTLS"] = tls.clone());
        world.reconcile(&world.importer()).await.unwrap();
        let (_, found, message) = world.condition("x", "Ready").unwrap();
        assert_eq!(found, reason, "{tls}: {message}");
        assert!(message.contains(expected), "{tls}: {message}");
        assert_eq!(message.contains("ca.crt"), expected.contains("ca.crt"), "{tls}: {message}");
        assert!(world.api.all("jobs").is_empty());
    }
}

/// What the importer's configuration says of a source registry, no set can change.
#[tokio::test]
async fn t230_of_a_source_registry_the_value_of_the_chart_is_named() {
    let source = Registry::start(Options::default());
    source.fail(
        Matcher::any(),
        What::Status(400, Vec::new(), "This combination of host and port requires TLS.".into()),
    );
    let mut world = World::new(1, Auth::None);
    let host = source.host();
    world.config = format!("online: {{enabled: true, allowedSources: ['{host}'], plainHTTP: ['{host}']}}\n");
    world.set("x", &[0], |set| set["spec"]["images"][0]["image"] = json!(format!("{host}/app:1")));
    world.reconcile(&world.importer()).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "TLSFailed");
    assert!(message.contains("online.plainHTTP") && !message.contains("destinationTLS"), "{message}");
}

#[tokio::test]
async fn t268_a_job_mounts_of_the_secret_of_a_ca_what_holds_its_certificate() {
    let mut world = World::new(1, Auth::None);
    world.edge = Registry::start(Options { tls: true, ..Options::default() });
    world.allowed = vec![AllowedDestination::Any(world.edge.host().to_string())];
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let (ca, client) = (world.edge.ca_pem().unwrap(), krs_testing::tls::Authority::new("other").client("ca"));
    world.api.put(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "corp-ca", "namespace": "shop"},
            "data": {
                "ca.crt": encode(ca), "tls.crt": encode(&client.certificate), "tls.key": encode(&client.key),
            },
        }),
    );
    world.set("x", &[0], |set| set["spec"]["destinationTLS"] = json!({"caSecretName": "corp-ca"}));
    world.reconcile(&world.importer()).await.unwrap();
    let jobs = world.api.all("jobs");
    assert_eq!(jobs.len(), 1, "{:?}", world.condition("x", "Ready"));
    let volumes = jobs[0]["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "destination-ca").unwrap();
    assert_eq!(volume["secret"]["items"], json!([{"key": "ca.crt", "path": "ca.crt"}]));
}
