// SPDX-License-Identifier: Apache-2.0
//! Asks source registries what tags stand for, in online mode. The clients are kept, and a registry that fails is left
//! alone, as with destination registries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use krs_core::crd::{EdgeImageSetSpec, reason};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{Reference, RegistryHost};
use krs_core::registry::Client;
use tokio::time::Instant;

use super::blocked::BlockedImages;
use super::checks::{NoTurn, Registries, Turn, left_alone};
use super::clients::{ClientKey, Connection};
use super::edge::{client_options, explain};
use super::health::Health;
use super::hosts::Purpose;
use super::reconciler::Context;
use super::secrets::{SecretError, Secrets};
use super::wanted::ParsedSpec;
use crate::engine::advice::Whose;
use crate::engine::registry_reason::reason_of;
use crate::model::required_images::SetName;
use crate::model::state::{ResolvedTag, SetState};

/// Tags that one registry is asked for at once.
const MAX_CONCURRENT_CHECKS: usize = 8;
/// Registries that are asked at once: those that do not answer hold up no other.
const REGISTRIES_AT_ONCE: usize = 8;
/// How long all tags of a set may take together. A reconcile has time for this and for the wait for the edge registry;
/// what is open then is asked for in the next one.
const BUDGET: Duration = Duration::from_secs(10);

/// What asking needs.
pub(super) struct Sources<'a> {
    pub(super) parts: &'a Context,
    pub(super) registries: &'a Arc<Registries>,
    pub(super) secrets: &'a Secrets<'a>,
    pub(super) set: &'a SetName,
    pub(super) spec: &'a EdgeImageSetSpec,
    pub(super) now: Timestamp,
}

/// What source registries did not say.
#[derive(Default)]
pub(super) struct SourceFailures {
    pub(super) blocked: BlockedImages,
    /// When the first of those that are left alone is asked again.
    pub(super) left_alone_until: Option<Timestamp>,
}

/// Why an image is blocked.
type Why = (&'static str, String);

/// The images of one registry and Secret.
struct Group {
    client: Client,
    turn: Turn,
    /// How long the registry had the client pause before.
    paused: Duration,
    /// Whether the registry was asked at all.
    is_started: Arc<AtomicBool>,
    /// By their positions.
    open: BTreeMap<usize, Reference>,
    health: Vec<Health>,
    /// The last failure.
    message: String,
}

impl Sources<'_> {
    /// Asks what the tags of the images at `positions` stand for. What cannot be found out is blocked, and keeps its older
    /// answer.
    pub(super) async fn resolve(
        &self,
        wanted: &ParsedSpec,
        positions: &[usize],
        state: &mut SetState,
    ) -> Result<SourceFailures, kube::Error> {
        let mut unanswered = SourceFailures::default();
        let mut groups = BTreeMap::<_, Result<Group, Why>>::new();
        for position in positions {
            let (Some(image), Some(written)) =
                (wanted.images.get(*position), self.spec.images.get(*position))
            else {
                continue;
            };
            let secret = written.source_client_secret_name.as_deref();
            let key = (image.reference.registry.clone(), secret);
            if !groups.contains_key(&key) {
                let mut resolutions = groups.iter().filter(|((registry, _), _)| *registry == key.0);
                let turn = resolutions.find_map(|(_, group)| group.as_ref().ok()).map(|group| &group.turn);
                let group = self.group(&key.0, secret, *position, turn, &mut unanswered).await?;
                groups.insert(key.clone(), group);
            }
            match groups.get_mut(&key) {
                Some(Ok(group)) => drop(group.open.insert(*position, image.reference.clone())),
                Some(Err(why)) => drop(unanswered.blocked.insert(*position, why.clone())),
                None => {}
            }
        }
        let mut groups = groups.into_values().filter_map(Result::ok).collect::<Vec<_>>();
        let resolutions = groups.iter().enumerate().map(|(n, group)| {
            let of_group = group.open.iter().map(|(position, reference)| {
                let (client, position, reference) = (group.client.clone(), *position, reference.clone());
                let is_started = Arc::clone(&group.is_started);
                async move {
                    is_started.store(true, Ordering::Relaxed);
                    (n, position, tag(&client, &reference).await)
                }
                .boxed()
            });
            of_group.collect::<Vec<_>>()
        });
        let answers = before(Instant::now() + BUDGET, resolutions.collect()).await;
        for (n, position, answer) in answers {
            let Some(group) = groups.get_mut(n) else { continue };
            let Some(reference) = group.open.remove(&position) else { continue };
            match answer {
                Ok(digest) => {
                    group.health.push(Health::Answered);
                    let resolved = ResolvedTag { digest, at: self.now, decided_by: None };
                    state.resolved.insert(reference.to_string(), resolved);
                }
                Err((health, why)) => {
                    group.health.push(health);
                    group.message.clone_from(&why.1);
                    unanswered.blocked.insert(position, why);
                }
            }
        }
        for mut group in groups {
            let paused = group.client.statistics().paused > group.paused;
            let silence = silence(group.is_started.load(Ordering::Relaxed), paused);
            for (position, reference) in std::mem::take(&mut group.open) {
                let (registry, seconds) = (&reference.registry, BUDGET.as_secs());
                let message = format!(
                    "{registry} did not say within {seconds} s what {reference} is; it is asked again"
                );
                group.health.push(silence);
                group.message.clone_from(&message);
                unanswered.blocked.insert(position, (reason::REGISTRY_UNREACHABLE, message));
            }
            let health = Health::of_all(group.health);
            group.turn.judge(health, None, &group.message);
        }
        Ok(unanswered)
    }

    /// What is needed to ask `registry` with the credentials in `secret`, which the image at `position` names; or why it is
    /// not asked. `turn`: it is asked with others already.
    async fn group(
        &self,
        registry: &RegistryHost,
        secret: Option<&str>,
        position: usize,
        turn: Option<&Turn>,
        unanswered: &mut SourceFailures,
    ) -> Result<Result<Group, Why>, kube::Error> {
        let registry_secret = match secret {
            Some(secret) => {
                let purpose = Purpose::Source(registry);
                match self.secrets.registry_secret(secret, &source_field(position), purpose).await {
                    Err(SecretError::Api(error)) => return Err(error),
                    Err(SecretError::Blocker(why)) => return Ok(Err((why.reason, why.message))),
                    Ok(registry_secret) => Some(registry_secret),
                }
            }
            None => None,
        };
        let plain_http = &self.parts.config.online.plain_http;
        let proxy = self.parts.config.online.proxy.options();
        let version = secret.and_then(|secret| {
            let name = format!("secret/{secret}");
            let version = self.secrets.versions().get(&name)?.clone()?;
            Some((name, version))
        });
        let key = ClientKey {
            namespace: self.set.namespace.clone(),
            connection: Connection {
                registry: registry.clone(),
                plain_http: plain_http.contains(registry),
                insecure: false,
                proxied: proxy.is_some(),
                ca_certs: None,
            },
            credentials: version,
        };
        let turn = match turn {
            Some(turn) => turn.also(&key, self.set, self.now),
            None => self.registries.turn(&key, self.set, self.now),
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(NoTurn::Busy) => {
                let message = format!("{registry} is being asked for other sets; this one is next");
                return Ok(Err((reason::REGISTRY_BACK_OFF, message)));
            }
            Err(NoTurn::LeftAlone(left)) => {
                let until = unanswered.left_alone_until.map_or(left.until, |until| until.min(left.until));
                unanswered.left_alone_until = Some(until);
                return Ok(Err((reason::REGISTRY_BACK_OFF, left_alone(registry, &left).message)));
            }
        };
        let make = || {
            let mut options = client_options(&self.parts.deny_list);
            options.plain_http.clone_from(plain_http);
            options.proxy.clone_from(&proxy);
            if let Some(registry_secret) = &registry_secret {
                registry_secret.credentials.apply(registry, &mut options);
            }
            Client::new(options)
        };
        let client = self.registries.clients.get(&key, self.now, make);
        let group = |client: Client| Group {
            paused: client.statistics().paused,
            client,
            turn,
            is_started: Arc::default(),
            open: BTreeMap::new(),
            health: Vec::new(),
            message: String::new(),
        };
        Ok(client.map(group).map_err(|error| (reason_of(&error), explain(&error, Whose::Source))))
    }
}

/// What it says about a registry that nothing came from in time. One without a first request (`is_started`), because others
/// took the time, is not known; one that had its client pause (`paused`) answered. Neither must be left alone by all
/// others.
const fn silence(is_started: bool, paused: bool) -> Health {
    match (is_started, paused) {
        (false, _) => Health::Unknown,
        (true, true) => Health::ServerError,
        (true, false) => Health::NoAnswer,
    }
}

/// The answers that came before `deadline` to what the registries are asked, each with its own questions: a registry that
/// never answers takes no slot from another.
async fn before<T: Send>(deadline: Instant, registries: Vec<Vec<BoxFuture<'_, T>>>) -> Vec<T> {
    let resolutions = registries.into_iter();
    let resolutions =
        resolutions.map(|of_one| stream::iter(of_one).buffer_unordered(MAX_CONCURRENT_CHECKS).boxed());
    let mut answers = stream::iter(resolutions.collect::<Vec<_>>()).flatten_unordered(REGISTRIES_AT_ONCE);
    let mut found = Vec::new();
    while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, answers.next()).await {
        found.push(answer);
    }
    found
}

/// The field that names the credentials of an image's own registry.
pub(super) fn source_field(position: usize) -> String {
    format!("spec.images[{position}].sourceClientSecretName")
}

async fn tag(client: &Client, reference: &Reference) -> Result<Digest, (Health, Why)> {
    let repository = client.repository(&reference.registry, &reference.repository);
    let missing = || (Health::Answered, (reason::IMAGE_NOT_FOUND, format!("{reference} does not exist")));
    let selector = reference.selector().ok_or_else(missing)?;
    match repository.head_manifest(&selector).await {
        Ok(Some(top)) => Ok(top.digest),
        Ok(None) => Err(missing()),
        Err(error) => Err((
            Health::of(&error, &reference.registry),
            (reason_of(&error), explain(&error, Whose::Source)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::{Counts, judge};
    use super::*;
    use futures::future;

    #[tokio::test(start_paused = true)]
    async fn t159_registries_that_never_answer_take_no_slot_from_one_that_does() {
        let silent = || (0..20).map(|_| future::pending::<usize>().boxed()).collect::<Vec<_>>();
        let mut registries = (0..REGISTRIES_AT_ONCE - 1).map(|_| silent()).collect::<Vec<_>>();
        registries.push((0..20).map(|n| future::ready(n).boxed()).collect());
        let start = Instant::now();
        let mut found = before(start + BUDGET, registries).await;
        found.sort_unstable();
        assert_eq!(found, (0..20).collect::<Vec<_>>());
        assert_eq!(start.elapsed().as_secs(), BUDGET.as_secs());
    }

    /// Each one counts: five failures in a row, and no set of any namespace asks the host.
    #[tokio::test(start_paused = true)]
    async fn a_registry_that_was_not_asked_or_asks_for_a_pause_counts_as_no_failure_of_its_host() {
        let flags = (0..=REGISTRIES_AT_ONCE).map(|_| Arc::<AtomicBool>::default()).collect::<Vec<_>>();
        let silent = flags.iter().map(|is_started| {
            let is_started = Arc::clone(is_started);
            let resolutions = async move {
                is_started.store(true, Ordering::Relaxed);
                future::pending::<()>().await;
            };
            vec![resolutions.boxed()]
        });
        assert!(before(Instant::now() + BUDGET, silent.collect()).await.is_empty());
        let host = |paused| {
            let silence =
                flags.iter().map(move |is_started| silence(is_started.load(Ordering::Relaxed), paused));
            silence.map(|silence| judge(silence, None).0).collect::<Vec<_>>()
        };
        let mut expected = vec![Counts::Failed; REGISTRIES_AT_ONCE];
        expected.push(Counts::Nothing);
        assert_eq!(host(false), expected, "the last one had no turn");
        expected[..REGISTRIES_AT_ONCE].fill(Counts::Answered);
        assert_eq!(host(true), expected, "they answered 429");
    }
}
