// SPDX-License-Identifier: Apache-2.0
//! What the edge registry says about the targets of a set.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use krs_core::crd::{DestinationTls, reason};
use krs_core::error::{Classify as _, chain};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, Selector, Tag};
use krs_core::registry::{Client, ClientOptions, DenyList, RegistryError, Repository, RetryPolicy};
use krs_core::sync::verify_present::{Presence, PresenceError, verify_present};

use super::health::Health;
use crate::adapters::credentials::Credentials;
use crate::engine::advice::{Whose, about_denial, about_tls};
use crate::engine::decide::Blocker;
use crate::engine::registry_reason::reason_of;
use crate::engine::update_state::CheckKind;
use crate::model::answer::Answer;
use crate::model::target::{Target, TargetKey};

/// Targets that are asked for at once.
const MAX_CONCURRENT_CHECKS: usize = 8;
/// Targets of one list that are found missing before its rest is not asked for.
const MAX_MISSES: usize = 2;
/// How long one target may take: a walk over an image with some hundred layers is far below it.
const TARGET_TIMEOUT: Duration = Duration::from_secs(120);
/// How long all targets of a set may take; those without an answer by then are asked about by the next check.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(180);
/// Retries that a client has for all of its requests ([`RetryPolicy::budget`]).
pub(super) const RETRIES: u32 = 50;
/// How long a client may pause for all of its requests ([`RetryPolicy::max_wait`]). Shorter than a target may take: a rate
/// limit is a reason to requeue, not to hold a check.
pub(super) const MAX_PAUSES: Duration = Duration::from_secs(20);

/// How the importer itself talks to registries: a check that fails is repeated by the next reconcile, so that little is
/// retried within one.
pub(super) fn client_options(deny_list: &DenyList) -> ClientOptions {
    ClientOptions {
        deny_list: Some(deny_list.clone()),
        certs_dirs: Vec::new(),
        retry: RetryPolicy {
            attempts: 3,
            max: Duration::from_secs(5),
            budget: RETRIES,
            max_wait: MAX_PAUSES,
            ..RetryPolicy::default()
        },
        stall_timeout: Duration::from_secs(20),
        user_agent: crate::USER_AGENT.to_owned(),
        ..ClientOptions::default()
    }
}

/// The edge registry of one set, for one check.
pub(super) struct Edge {
    client: Client,
    registry: RegistryHost,
    deny_list: DenyList,
    whose: Whose,
}

/// What the edge registry said.
#[derive(Default)]
pub(super) struct RegistryView {
    pub(super) answers: BTreeMap<TargetKey, Answer>,
    /// Configs and layers of the targets that are complete.
    pub(super) contents: BTreeMap<TargetKey, Vec<Digest>>,
    /// Whether every target was asked about.
    pub(super) complete: bool,
}

/// What a client needs to reach the edge registry of a set.
pub(super) fn edge_options(
    registry: &RegistryHost,
    tls: Option<&DestinationTls>,
    credentials: Option<&Credentials>,
    ca_certificates: Option<Vec<u8>>,
    deny_list: &DenyList,
) -> ClientOptions {
    let mut options = client_options(deny_list);
    if let Some(credentials) = credentials {
        credentials.apply(registry, &mut options);
    }
    options.ca_certs.extend(ca_certificates.map(|pem| (registry.clone(), pem)));
    if let Some(tls) = tls {
        options.plain_http.extend(tls.plain_http.then(|| registry.clone()));
        options.insecure.extend(tls.insecure_skip_verify.then(|| registry.clone()));
    }
    options
}

impl Edge {
    /// `whose` is the registry of a destination.
    pub(super) fn new(client: Client, registry: RegistryHost, deny_list: &DenyList, whose: Whose) -> Self {
        Self { client, registry, deny_list: deny_list.clone(), whose }
    }

    /// Whether the registry answers at an address that the importer may talk to.
    pub(super) async fn reachable(&self) -> Result<(), (Blocker, Health)> {
        let unknown = |blocker| (blocker, Health::Unknown);
        allowed_address(&self.registry, &self.deny_list).await.map_err(unknown)?;
        let pinged = self.client.ping(&self.registry).await;
        pinged.map_err(|error| (blocker(&error, self.whose), Health::of(&error, &self.registry)))
    }

    /// Asks about the targets of `lists`, as many as there is time for; those of one list one after another, until
    /// [`MAX_MISSES`] of them are not there. `answered` counts. Also tells the health of the registry, and the failure that
    /// shows it.
    pub(super) async fn check_targets(
        &self,
        lists: &[Vec<(Target, CheckKind)>],
        answered: &AtomicUsize,
    ) -> (RegistryView, Health, String) {
        let deadline = tokio::time::Instant::now() + CHECK_TIMEOUT;
        let checks = lists.iter().map(|list| self.check_in_order(list).boxed()).collect::<Vec<_>>();
        let (mut view, mut worst) = (RegistryView::default(), None::<(Health, String)>);
        let mut answers = stream::iter(checks).flatten_unordered(MAX_CONCURRENT_CHECKS);
        while let Ok(next) = tokio::time::timeout_at(deadline, answers.next()).await {
            let Some((key, found)) = next else {
                view.complete = true;
                break;
            };
            answered.fetch_add(1, Ordering::Relaxed);
            let health = found.failure.unwrap_or(Health::Answered);
            if worst.as_ref().is_none_or(|(known, _)| health > *known) {
                worst = Some((health, found.answer.message().to_owned()));
            }
            view.answers.insert(key, found.answer);
            if let Some(contents) = found.contents {
                view.contents.insert(key, contents);
            }
        }
        let (health, message) = match worst {
            Some(worst) => worst,
            None if lists.is_empty() => (Health::Answered, String::new()),
            None => (Health::NoAnswer, self.timed_out(CHECK_TIMEOUT).message),
        };
        (view, health, message)
    }

    /// What it comes to if the registry does not answer in time.
    pub(super) fn timed_out(&self, time: Duration) -> Blocker {
        let message = format!(
            "{} did not answer within {} s: is it running, and reachable from here?",
            self.registry,
            time.as_secs()
        );
        Blocker { reason: reason::REGISTRY_UNREACHABLE, message, stalled: false }
    }

    fn check_in_order<'a>(
        &'a self,
        list: &'a [(Target, CheckKind)],
    ) -> impl Stream<Item = (TargetKey, Found)> + Send + 'a {
        stream::unfold((list.iter(), 0), move |(mut rest, misses)| async move {
            let (target, how) = rest.next().filter(|_| misses < MAX_MISSES)?;
            let (key, found) = self.check_in_time(target, *how).await;
            let is_there = matches!(found.answer, Answer::Complete | Answer::Observed);
            Some(((key, found), (rest, misses + usize::from(!is_there))))
        })
    }

    async fn check_in_time(&self, target: &Target, how: CheckKind) -> (TargetKey, Found) {
        let answer = tokio::time::timeout(TARGET_TIMEOUT, self.check_one(target, how)).await;
        let late = |_| {
            let answer = Answer::Failed { reason: reason::REGISTRY_UNREACHABLE, message: self.late(target) };
            Found { failure: Some(Health::NoAnswer), ..Found::from(answer) }
        };
        (target.key, answer.unwrap_or_else(late))
    }

    fn late(&self, target: &Target) -> String {
        format!(
            "{} did not say within {} s whether it has {}",
            self.registry,
            TARGET_TIMEOUT.as_secs(),
            target.repository
        )
    }

    async fn check_one(&self, target: &Target, how: CheckKind) -> Found {
        let repository = self.client.repository(&self.registry, &target.repository);
        match how {
            CheckKind::Head => {
                check_target(&repository, target).await.map_or_else(|error| self.failed(&error), Found::from)
            }
            CheckKind::Full | CheckKind::Renew => {
                match verify_present(&repository, &target.digest, &target.platforms, &target.tags).await {
                    Ok(Presence::Complete { blobs, .. }) => {
                        let contents = Some(blobs.iter().map(|blob| blob.digest).collect());
                        Found { contents, ..Found::from(Answer::Complete) }
                    }
                    Ok(Presence::Missing { what }) => Answer::Missing { what }.into(),
                    Ok(Presence::Tag { tag, found }) => tag_answer(&tag, found).into(),
                    Err(PresenceError::Registry(error)) => self.failed(&error),
                    Err(PresenceError::Closure(error)) => Answer::Corrupt { message: chain(&error) }.into(),
                }
            }
        }
    }

    fn failed(&self, error: &RegistryError) -> Found {
        Found { failure: Some(Health::of(error, &self.registry)), ..Found::from(failed(error, self.whose)) }
    }
}

/// What the registry said about one target.
struct Found {
    answer: Answer,
    /// Configs and layers, where all are there.
    contents: Option<Vec<Digest>>,
    /// What a failed request says about the registry.
    failure: Option<Health>,
}

impl From<Answer> for Found {
    fn from(answer: Answer) -> Self {
        Self { answer, contents: None, failure: None }
    }
}

/// HEAD of the top document and of the tags.
async fn check_target(repository: &Repository, target: &Target) -> Result<Answer, RegistryError> {
    if repository.head_manifest(&Selector::Digest(target.digest)).await?.is_none() {
        return Ok(Answer::Missing { what: format!("manifest {}", target.digest) });
    }
    for tag in &target.tags {
        let found = repository.head_manifest(&Selector::Tag(tag.clone())).await?.map(|top| top.digest);
        if found != Some(target.digest) {
            return Ok(tag_answer(tag, found));
        }
    }
    Ok(Answer::Observed)
}

/// A tag that names nothing is set again; one that somebody moved is reported.
fn tag_answer(tag: &Tag, found: Option<Digest>) -> Answer {
    match found {
        Some(found) => Answer::TagMoved { tag: tag.to_string(), found },
        None => Answer::Missing { what: format!("tag {tag}") },
    }
}

/// Refuses a registry of which one address is denied. The client refuses it again when it connects; here it is said in
/// the words of the site's policy.
pub(super) async fn allowed_address(registry: &RegistryHost, deny_list: &DenyList) -> Result<(), Blocker> {
    // A port is needed to look a name up, and does not matter.
    let host = registry.host().to_owned();
    let Ok(addresses) = tokio::net::lookup_host((host, 443)).await else {
        // The request itself says better what is wrong with the name.
        return Ok(());
    };
    for address in addresses {
        if let Err(why) = deny_list.check_address(address.ip()) {
            let message = format!(
                "spec.destinationRegistry: {registry}: {why}, which is never a destination; name the registry by an address that the Pods of this cluster reach"
            );
            return Err(Blocker { reason: reason::DESTINATION_NOT_ALLOWED, message, stalled: true });
        }
    }
    Ok(())
}

/// A failure as a sentence, with what helps in a cluster.
pub(super) fn explain(error: &RegistryError, whose: Whose) -> String {
    let text = chain(error);
    let help = match reason_of(error) {
        reason::AUTH_FAILED => {
            Some("correct the Secret that the set names; it is read again soon".to_owned())
        }
        reason::TLS_FAILED | reason::REGISTRY_UNREACHABLE => about_tls(error, whose),
        _ => about_denial(error).map(str::to_owned).or_else(|| error.help()),
    };
    help.map_or(text.clone(), |help| format!("{text}; {help}"))
}

pub(super) fn blocker(error: &RegistryError, whose: Whose) -> Blocker {
    let message = explain(error, whose);
    if let RegistryError::DeniedAddress { .. } = error {
        return Blocker { reason: reason::DESTINATION_NOT_ALLOWED, message, stalled: true };
    }
    Blocker { reason: reason_of(error), message, stalled: false }
}

fn failed(error: &RegistryError, whose: Whose) -> Answer {
    let message = explain(error, whose);
    match error {
        RegistryError::Content { .. } => Answer::Corrupt { message },
        // The credentials were accepted (`Edge::reachable`). Artifactory says this of what is absent.
        RegistryError::Forbidden { .. } => Answer::Unreadable { message },
        _ => Answer::Failed { reason: reason_of(error), message },
    }
}
