// SPDX-License-Identifier: Apache-2.0
//! What references with only a tag stand for: the signed answer of a bundle, else, where the site allows it, the image's
//! own registry, once per resync. An answer is kept until there is a newer one: a stick that is pulled and a registry that
//! is down turn nothing red.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use krs_core::crd::{EdgeImageSetSpec, Source, reason};
use krs_core::digest::Digest;
use krs_core::reference::Reference;
use krs_core::registry::Client;
use tokio::time::Instant;

use super::Parts;
use super::blocked::Blocked;
use super::edge::{client_options, explain, reason_of};
use super::hosts::Purpose;
use super::quiet::until;
use super::secrets::{SecretError, Secrets};
use super::wanted::Wanted;
use crate::decide;
use crate::marks::{HighWaterMarks, MarkError, UsedDecisions};
use crate::state::{Resolved, SetState};
use crate::stock::{Stock, TagAnswer, TagResolution};

/// Tags that one registry is asked for at once.
const ASKED_AT_ONCE: usize = 8;
/// Registries that are asked at once: those that do not answer hold up no other.
const REGISTRIES_AT_ONCE: usize = 8;
/// How long all tags of a set may take together. A reconcile has time for this and for the wait for the edge registry;
/// what is open then is asked for in the next one.
const BUDGET: Duration = Duration::from_secs(10);

/// What is known of the tags of a set without asking anybody.
#[derive(Default)]
pub(super) struct KnownTags<'a> {
    /// What bundles decide anew, by reference.
    answers: Vec<(String, TagAnswer<'a>)>,
    /// Positions of the images whose tags are to be asked for at their registry now.
    pub(super) ask: Vec<usize>,
}

/// Compares the tags of a set with what the bundles and `state` say. Tags that the set does not have any more are dropped
/// from `state`. Pure.
#[expect(clippy::too_many_arguments)]
pub(super) fn known<'a>(
    parts: &Parts,
    namespace: &str,
    spec: &EdgeImageSetSpec,
    wanted: &Wanted,
    stock: &'a Stock,
    state: &mut SetState,
    resync: Duration,
    now: Timestamp,
) -> KnownTags<'a> {
    let bare = wanted.images.iter().enumerate().filter(|(_, image)| image.reference.digest.is_none());
    let names = bare.clone().map(|(_, image)| image.reference.to_string()).collect::<BTreeSet<_>>();
    state.resolved.retain(|name, _| names.contains(name));
    let mut known = KnownTags::default();
    for (place, image) in bare {
        let name = image.reference.to_string();
        let held = state.resolved.get(&name);
        let in_stock = match spec.source {
            Source::Registry => TagResolution::Unanswered,
            Source::Auto | Source::Bundle => stock.resolve(namespace, &image.reference, held),
        };
        match in_stock {
            TagResolution::New(answer) => known.answers.push((name, answer)),
            TagResolution::Unchanged => {}
            TagResolution::Unanswered => {
                let fresh = held.is_some_and(|held| until(held.at, now) < resync && held.at <= now);
                if !fresh && online(parts, spec, &image.reference) {
                    known.ask.push(place);
                }
            }
        }
    }
    known
}

/// Takes over what bundles decide. The mark of a stream is raised first: a bundle that was superseded in the meantime, or
/// whose mark cannot be read, decides nothing, and what the tags stood for stays.
pub(super) async fn use_answers(
    marks: &HighWaterMarks,
    known: &KnownTags<'_>,
    state: &mut SetState,
    now: Timestamp,
) -> Result<(), MarkError> {
    let mut outcomes = BTreeMap::<Digest, Option<UsedDecisions>>::new();
    for (name, answer) in &known.answers {
        let bundle = answer.bundle();
        if let Entry::Vacant(outcome) = outcomes.entry(bundle.digest) {
            let used = match marks.raise(&bundle.stream, &bundle.mark()).await {
                Ok(used) => Some(used),
                Err(error) if error.is_verdict() => {
                    tracing::warn!(bundle = bundle.name, %error, "the bundle decides no tag");
                    None
                }
                Err(error) => return Err(error),
            };
            outcome.insert(used);
        }
        let used = outcomes.get(&bundle.digest).and_then(Option::as_ref);
        if let Some(resolved) = used.and_then(|used| answer.resolved(used, now)) {
            state.resolved.insert(name.clone(), resolved);
        }
    }
    Ok(())
}

/// Images whose tags a bundle knows for sets of other namespaces only: nothing says what they stand for here. Pure.
pub(super) fn withheld(
    namespace: &str,
    spec: &EdgeImageSetSpec,
    wanted: &Wanted,
    unresolved: &[usize],
    stock: &Stock,
) -> Blocked {
    let why = |place: &usize| {
        let reference = &wanted.images.get(*place)?.reference;
        let (bundle, held) = stock.withheld(namespace, |image| image.reference == *reference)?;
        let message = decide::withheld(namespace, &reference.to_string(), bundle, held);
        Some((*place, (reason::NAMESPACE_NOT_LISTED, message)))
    };
    if spec.source == Source::Registry {
        return Blocked::new();
    }
    unresolved.iter().filter_map(why).collect()
}

/// Whether the image's own registry may be asked.
pub(super) fn online(parts: &Parts, spec: &EdgeImageSetSpec, reference: &Reference) -> bool {
    let sources = &parts.sources;
    parts.config.online.enabled
        && spec.source != Source::Bundle
        && sources.source(&reference.registry, &reference.repository)
}

/// Asks source registries what tags stand for. What cannot be found out is blocked, and keeps its older answer.
pub(super) async fn ask(
    parts: &Parts,
    secrets: &Secrets<'_>,
    spec: &EdgeImageSetSpec,
    wanted: &Wanted,
    places: &[usize],
    state: &mut SetState,
    now: Timestamp,
) -> Result<Blocked, kube::Error> {
    let mut blocked = Blocked::new();
    let mut clients = BTreeMap::new();
    let mut asked = Vec::new();
    for place in places {
        let (Some(image), Some(written)) = (wanted.images.get(*place), spec.images.get(*place)) else {
            continue;
        };
        let reference = &image.reference;
        let secret = written.source_client_secret_name.as_deref();
        let key = (reference.registry.clone(), secret);
        if !clients.contains_key(&key) {
            let client = match client(parts, secrets, reference, secret, *place).await {
                Err(SecretError::Api(error)) => return Err(error),
                Err(SecretError::Obstacle(obstacle)) => Err((obstacle.reason, obstacle.message)),
                Ok(client) => client,
            };
            clients.insert(key.clone(), client);
        }
        match clients.get(&key) {
            Some(Ok(client)) => asked.push((*place, reference.clone(), client.clone())),
            Some(Err(why)) => drop(blocked.insert(*place, why.clone())),
            None => {}
        }
    }
    let mut open = BTreeMap::new();
    let mut registries = BTreeMap::<_, Vec<_>>::new();
    for (place, reference, client) in asked {
        open.insert(place, reference.clone());
        let of_registry = registries.entry(reference.registry.clone()).or_default();
        of_registry.push(async move { (place, tag(&client, &reference).await) }.boxed());
    }
    let deadline = Instant::now() + BUDGET;
    for (place, answer) in before(deadline, registries.into_values().collect()).await {
        let Some(reference) = open.remove(&place) else { continue };
        match answer {
            Ok(digest) => {
                let resolved = Resolved { digest, at: now, decided_by: None };
                state.resolved.insert(reference.to_string(), resolved);
            }
            Err(why) => drop(blocked.insert(place, why)),
        }
    }
    blocked.extend(open.into_iter().map(|(place, reference)| {
        let (registry, seconds) = (&reference.registry, BUDGET.as_secs());
        let message =
            format!("{registry} did not say within {seconds} s what {reference} is; it is asked again");
        (place, (reason::REGISTRY_UNREACHABLE, message))
    }));
    Ok(blocked)
}

/// The answers that came before `deadline` to what the registries are asked, each with its own questions: a registry that
/// never answers takes no place from another.
async fn before<T: Send>(deadline: Instant, registries: Vec<Vec<BoxFuture<'_, T>>>) -> Vec<T> {
    let asked = registries.into_iter();
    let asked = asked.map(|of_one| stream::iter(of_one).buffer_unordered(ASKED_AT_ONCE).boxed());
    let mut answers = stream::iter(asked.collect::<Vec<_>>()).flatten_unordered(REGISTRIES_AT_ONCE);
    let mut found = Vec::new();
    while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, answers.next()).await {
        found.push(answer);
    }
    found
}

async fn client(
    parts: &Parts,
    secrets: &Secrets<'_>,
    reference: &Reference,
    secret: Option<&str>,
    place: usize,
) -> Result<Result<Client, (&'static str, String)>, SecretError> {
    let mut options = client_options(&parts.barred);
    options.plain_http.clone_from(&parts.config.online.plain_http);
    if let Some(secret) = secret {
        let login = secrets.login(secret, &source_field(place), Purpose::Source(&reference.registry)).await?;
        login.credentials.apply(&reference.registry, &mut options);
    }
    Ok(Client::new(options).map_err(|error| (reason_of(&error), explain(&error))))
}

/// The field that names the login of an image's own registry.
pub(super) fn source_field(place: usize) -> String {
    format!("spec.images[{place}].sourceClientSecretName")
}

async fn tag(client: &Client, reference: &Reference) -> Result<Digest, (&'static str, String)> {
    let repository = client.repository(&reference.registry, &reference.repository);
    let missing = || (reason::IMAGE_NOT_FOUND, format!("{reference} does not exist"));
    let selector = reference.selector().ok_or_else(missing)?;
    match repository.head_manifest(&selector).await {
        Ok(Some(top)) => Ok(top.digest),
        Ok(None) => Err(missing()),
        Err(error) => Err((reason_of(&error), explain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future;

    #[tokio::test(start_paused = true)]
    async fn t159_registries_that_never_answer_take_no_place_from_one_that_does() {
        let silent = || (0..20).map(|_| future::pending::<usize>().boxed()).collect::<Vec<_>>();
        let mut registries = (0..REGISTRIES_AT_ONCE - 1).map(|_| silent()).collect::<Vec<_>>();
        registries.push((0..20).map(|n| future::ready(n).boxed()).collect());
        let begun = Instant::now();
        let mut found = before(begun + BUDGET, registries).await;
        found.sort_unstable();
        assert_eq!(found, (0..20).collect::<Vec<_>>());
        assert_eq!(begun.elapsed().as_secs(), BUDGET.as_secs());
    }
}
