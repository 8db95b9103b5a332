// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::app::registry::fake::FakeApi;

const SECRET_PATH: &str = "/api/v1/namespaces/krs/secrets/krs-importer-tls";

fn host() -> RegistryHost {
    "krs-importer.krs.svc:5443".parse().unwrap()
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

async fn identity_for(api: &FakeApi, host: &RegistryHost, at: Timestamp) -> Result<ServerIdentity, TlsError> {
    identity_at(&api.client(), "krs", host, at).await
}

fn writes(api: &FakeApi) -> usize {
    api.with(|state| state.calls.iter().filter(|call| !call.starts_with("GET")).count())
}

#[tokio::test]
async fn the_identity_is_made_once_and_kept() {
    let api = FakeApi::default();
    let made = identity_for(&api, &host(), now()).await.unwrap();
    for name in ["krs-importer.krs.svc:5443", "krs-importer.krs.svc.cluster.local"] {
        check(&made, &name.parse().unwrap(), now() + DAY * 360).unwrap();
    }
    assert_eq!(identity_for(&api, &host(), now() + DAY * 300).await.unwrap(), made);
    assert_eq!(writes(&api), 1);
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_renewed_under_the_authority_that_jobs_trust() {
    let api = FakeApi::default();
    let made = identity_for(&api, &host(), now()).await.unwrap();
    let later = now() + DAY * 340;
    let renewed = identity_for(&api, &host(), later).await.unwrap();
    assert_eq!(renewed.ca, made.ca);
    assert_ne!(renewed.certificate, made.certificate);
    check(&renewed, &host(), later + DAY * 360).unwrap();
    let late = now() + DAY * 3500;
    let other = identity_for(&api, &host(), late).await.unwrap();
    assert_ne!(other.ca, made.ca, "an authority that ends before its certificate would is not used");
    assert_eq!(identity_for(&api, &host(), late + DAY).await.unwrap(), other);
}

#[tokio::test]
async fn a_secret_of_ours_that_does_not_fit_is_made_again() {
    let api = FakeApi::default();
    identity_for(&api, &host(), now()).await.unwrap();
    let moved = "registry.example:5443".parse().unwrap();
    let other = identity_for(&api, &moved, now()).await.unwrap();
    check(&other, &moved, now()).unwrap();
    for key in [CA, CA_KEY, CERTIFICATE, KEY] {
        for damage in [json!("bm90IFBFTQ=="), json!(null)] {
            api.with(|state| state.objects.get_mut(SECRET_PATH).unwrap()["data"][key] = damage);
            let made = identity_for(&api, &moved, now()).await.unwrap();
            check(&made, &moved, now()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_used_while_it_is_valid_and_never_written() {
    let api = FakeApi::default();
    let made = identity_for(&api, &host(), now()).await.unwrap();
    api.with(|state| state.objects.get_mut(SECRET_PATH).unwrap()["metadata"]["labels"] = json!({}));
    assert_eq!(identity_for(&api, &host(), now() + DAY * 360).await.unwrap(), made);
    let error = identity_for(&api, &host(), now() + DAY * 370).await.unwrap_err().to_string();
    assert!(error.contains("krs/krs-importer-tls") && error.contains("delete it"), "{error}");
    api.with(|state| state.objects.get_mut(SECRET_PATH).unwrap()["data"][CA] = json!(null));
    let error = identity_for(&api, &host(), now()).await.unwrap_err().to_string();
    assert!(error.contains("ca.crt"), "{error}");
    assert_eq!(writes(&api), 1);
}

#[tokio::test]
async fn of_two_importers_the_one_that_loses_takes_what_the_other_made() {
    let other = FakeApi::default();
    let made = identity_for(&other, &host(), now()).await.unwrap();
    let secret = other.with(|state| state.objects[SECRET_PATH].clone());
    let api = FakeApi::default();
    api.with(|state| state.racing = Some(secret.clone()));
    assert_eq!(identity_for(&api, &host(), now()).await.unwrap(), made);

    let later = now() + DAY * 340;
    let renewed = identity_for(&other, &host(), later).await.unwrap();
    api.with(|state| state.racing = Some(other.with(|state| state.objects[SECRET_PATH].clone())));
    assert_eq!(identity_for(&api, &host(), later).await.unwrap(), renewed);
}

#[tokio::test]
async fn who_may_not_touch_the_secret_is_told_what_is_missing() {
    for (call, verb) in [("GET", "get"), ("POST", "create")] {
        let api = FakeApi::default();
        api.with(|state| state.failing = Some((call, 403)));
        let error = identity_for(&api, &host(), now()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("cannot {verb} Secret krs/krs-importer-tls")), "{error}");
        assert!(error.contains("Role"), "{error}");
    }
}

#[tokio::test]
async fn t137_what_was_made_while_the_clock_was_ahead_is_valid_when_it_is_right_again() {
    let api = FakeApi::default();
    let ahead = now() + DAY * 3000;
    let made = identity_for(&api, &host(), ahead).await.unwrap();
    check(&made, &host(), now()).unwrap();
    check_authority(&made.ca, now()).unwrap();
    assert!(!made.is_due(&host(), now()));
    assert_eq!(identity_for(&api, &host(), now()).await.unwrap(), made);
    assert_eq!(writes(&api), 1);
}

#[tokio::test]
async fn t137_what_was_made_while_the_clock_was_behind_is_due_once_it_is_right_and_made_again() {
    let api = FakeApi::default();
    let behind = Timestamp::UNIX_EPOCH + DAY;
    let made = identity_for(&api, &host(), behind).await.unwrap();
    assert!(!made.is_due(&host(), behind) && made.is_due(&host(), now()));
    let renewed = identity_for(&api, &host(), now()).await.unwrap();
    assert_ne!(renewed.ca, made.ca);
    assert!(!renewed.is_due(&host(), now()));
}

/// Version 0.1 let a CA begin a day before its clock.
#[tokio::test]
async fn t137_an_authority_from_the_future_is_not_kept() {
    let api = FakeApi::default();
    let ahead = now() + DAY * 300;
    let key = KeyPair::generate().unwrap();
    let mut params = valid(ca_params(), ahead, CA_LIFE);
    params.not_before = rcgen::date_time_ymd(2026, 12, 1);
    let ca = params.self_signed(&key).unwrap().pem();
    let identity = leaf(ca, &key.serialize_pem(), &host(), now()).unwrap();
    check(&identity, &host(), now()).unwrap();
    assert!(identity.is_due(&host(), now()) && !identity.is_due(&host(), ahead));
    let SecretUse::Write(mut secret, _) = next(None, "krs", &host(), now()).unwrap() else {
        panic!("nothing is there")
    };
    write(&mut secret, &identity, key.serialize_pem());
    let end = (ahead + CA_LIFE).to_string();
    secret.metadata.annotations = Some(BTreeMap::from([(CA_END.to_owned(), end)]));
    api.with(|state| state.store(SECRET_PATH, json!(secret)));
    let renewed = identity_for(&api, &host(), now()).await.unwrap();
    assert_ne!(renewed.ca, identity.ca);
    check_authority(&renewed.ca, now()).unwrap();
}
