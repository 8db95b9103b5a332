// SPDX-License-Identifier: Apache-2.0
//! `kill -9` after each side effect of an intake, and another one that continues from what is stored.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use futures::StreamExt as _;
use krs_core::oci::reference::Reference;
use serde_json::Value;
use tokio::sync::Notify;
use tower_service::Service as _;

use crate::api::FakeApi;
use crate::world::World;

/// More side effects than an intake has here.
const MAX_EFFECTS: usize = 40;
/// Worlds at once.
const AT_ONCE: usize = 6;

/// What must hold after every side effect.
#[derive(Default)]
struct Promises {
    mark: Mutex<u64>,
    broken: Mutex<Vec<String>>,
}

impl Promises {
    fn check(&self, api: &FakeApi) {
        let mut highest = self.mark.lock().unwrap();
        let now = mark(api);
        let mut broken = self.broken.lock().unwrap();
        if now < *highest {
            broken.push(format!("the mark fell from {highest} to {now}"));
        }
        *highest = now.max(*highest);
        for bundle in api.all("imagebundles") {
            let sequence = bundle["status"]["sequence"].as_u64().unwrap_or_default();
            if conditions(&bundle).contains("SafeToRemove=True") && now < sequence {
                broken.push(format!("{sequence} may be pulled, and the mark is {now}"));
            }
        }
        if !api.all("edgeimagesets").is_empty() && now < 5 {
            broken.push(format!("a set was applied, and the mark is {now}"));
        }
    }
}

fn mark(api: &FakeApi) -> u64 {
    let map = api.get("configmaps", "krs-system", "krs-streams").unwrap_or_default();
    let mark = map["data"]["prod"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    mark.and_then(|mark| mark["sequence"].as_u64()).unwrap_or_default()
}

fn conditions(bundle: &Value) -> BTreeSet<String> {
    let all = bundle["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter().map(|one| format!("{}={}", text(&one["type"]), text(&one["status"]))).collect()
}

/// A client whose process dies after so many side effects: it gets no answer any more, and nothing that it sends arrives.
fn mortal(api: &FakeApi, effects: usize, promises: &Arc<Promises>, died: &Arc<Notify>) -> kube::Client {
    let (api, promises, died) = (api.clone(), Arc::clone(promises), Arc::clone(died));
    let done = Arc::new(AtomicUsize::new(0));
    let service = Router::new().fallback(move |request: Request<Body>| {
        let (api, promises, died, done) =
            (api.clone(), Arc::clone(&promises), Arc::clone(&died), Arc::clone(&done));
        async move {
            let is_effect = request.method() != Method::GET;
            let before =
                if is_effect { done.fetch_add(1, Ordering::SeqCst) } else { done.load(Ordering::SeqCst) };
            if before >= effects {
                return std::future::pending().await;
            }
            let Ok(answer) = api.service().call(request).await;
            promises.check(&api);
            if is_effect && before + 1 == effects {
                died.notify_one();
                return std::future::pending().await;
            }
            answer
        }
    });
    kube::Client::new(service, "default")
}

/// The end that every schedule reaches.
async fn end(world: &World) {
    let all = ["Verified=True", "Complete=True", "Imported=True", "SafeToRemove=True", "Recorded=True"];
    for (name, more) in
        [("prod-4", &["Superseded=True"][..]), ("prod-5", &["Superseded=False", "SetsApplied=True"])]
    {
        let wanted = all.iter().chain(more).map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
        let reached = |status: &Value| conditions(&serde_json::json!({"status": status})) == wanted;
        world.until(name, reached).await;
    }
}

/// Whether the first intake died.
async fn dies_after(effects: usize) -> bool {
    let mut world = World::new();
    world.config.apply_sets = true;
    world.drop("prod-4.krs.tar", 4).await;
    world.drop("prod-5.krs.tar", 5).await;
    let image = format!("{}@{}", world.tag(), world.image.digest).parse::<Reference>().unwrap();
    let image = (image, world.image.digest);
    let (promises, died) = (Arc::<Promises>::default(), Arc::<Notify>::default());
    let first = world.start_with(mortal(&world.api, effects, &promises, &died));
    first.satisfied(image.clone());
    let has_died = tokio::select! {
        () = died.notified() => true,
        () = end(&world) => false,
    };
    first.kill().await;
    if has_died {
        let second = world.start_with(mortal(&world.api, usize::MAX, &promises, &died));
        second.satisfied(image);
        end(&world).await;
        second.stop().await;
    }
    assert_eq!(*promises.broken.lock().unwrap(), Vec::<String>::new(), "killed after {effects}");
    assert_eq!(mark(&world.api), 5, "killed after {effects}");
    assert_eq!(world.api.all("imagebundles").len(), 2, "killed after {effects}");
    let sets = world.api.all("edgeimagesets");
    assert_eq!(sets.len(), 1, "killed after {effects}: {sets:?}");
    has_died
}

#[tokio::test(flavor = "multi_thread")]
async fn t67_whatever_side_effect_the_intake_dies_after_the_same_end_is_reached() {
    let runs = futures::stream::iter((1..=MAX_EFFECTS).map(dies_after)).buffered(AT_ONCE);
    let died = runs.take_while(|died| std::future::ready(*died)).count().await;
    assert!((12..MAX_EFFECTS).contains(&died), "an intake has {died} side effects here");
}
