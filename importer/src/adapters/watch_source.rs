// SPDX-License-Identifier: Apache-2.0
//! Watches that fail on their own: what is wrong with one of a namespace is reported, retried, and stops nothing else.
//!
//! A watch that is ahead of the API server hears nothing, and no error tells of it: that happens after a restore of etcd.
//! Everything is listed again then.

use parking_lot::{Mutex, MutexGuard};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use crate::adapters::heartbeat::{WatchTarget, Watches};

/// How long to wait before everything is listed again because a watch could not begin.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// A watch of one kind in one namespace, or in all.
pub(crate) struct Source {
    watched: WatchTarget,
    watches: Arc<Watches>,
    state: Mutex<State>,
    changed: Arc<Notify>,
    /// How often the API server was seen to have gone back.
    restored: watch::Sender<u64>,
    /// How often everything was listed after that.
    relisted: watch::Sender<u64>,
    /// When everything is listed again at the latest.
    max_age: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Whether everything was listed at least once.
    synced: bool,
    failing: Option<Failure>,
    versions: Versions,
    /// For which restore everything was listed last, and is being listed.
    listed_for: u64,
    listing_for: u64,
}

/// Resource versions that the API server told. It only counts up, and stores that the importer runs on are compared so:
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>. One that is no number says nothing.
#[derive(Debug, Default)]
struct Versions {
    newest: Option<u64>,
    /// That of the last change. A list that was made since may be ahead of it.
    last_event: Option<u64>,
}

impl Versions {
    fn of_object(&mut self, version: Option<&str>) -> Option<u64> {
        let version = version?.parse().ok();
        self.newest = self.newest.max(version);
        version
    }

    /// Takes note of a change. Answers whether it is older than the one before.
    fn of_event(&mut self, version: Option<&str>) -> bool {
        let Some(version) = self.of_object(version) else { return false };
        self.last_event.replace(version).is_some_and(|last| version < last)
    }

    /// Takes note of a list. Answers whether it is older than what was told before it was asked for.
    fn of_list(&mut self, before: Option<u64>, version: Option<&str>) -> bool {
        let Some(version) = self.of_object(version) else { return false };
        before.is_some_and(|before| version < before)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    /// Whether waiting does not help: somebody has to grant a permission or to install a definition.
    permanent: bool,
    text: String,
}

impl Source {
    /// `changed` is told of the first list, and of failures. After `max_age` everything is listed again.
    pub(crate) fn new(
        watched: WatchTarget,
        watches: Arc<Watches>,
        changed: Arc<Notify>,
        max_age: Duration,
    ) -> Arc<Self> {
        watches.attempt(&watched);
        let (restored, relisted) = (watch::Sender::default(), watch::Sender::default());
        Arc::new(Self { watched, watches, state: Mutex::default(), changed, restored, relisted, max_age })
    }

    /// What it watches.
    pub(crate) const fn watched(&self) -> &WatchTarget {
        &self.watched
    }

    /// The highest resource version that the API server told so far.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.state().versions.newest
    }

    /// Compares with the resource version of a list, which was asked for when the API server had told `before` already.
    /// Everything is listed again where the API server went back. Answers whether it did not, or everything was listed since.
    pub(crate) fn is_fit(&self, before: Option<u64>, list: Option<&str>) -> bool {
        let went_back = {
            let versions = &mut self.state().versions;
            // Since then everything may be being listed again.
            let before = before.min(versions.newest);
            versions.of_list(before, list)
        };
        if went_back {
            self.list_again();
        }
        self.state().listed_for == *self.restored.borrow()
    }

    /// One item each time when everything was listed again because the API server went back: any object may be another one
    /// then, whatever its generation says.
    pub(crate) fn relisted(&self) -> impl Stream<Item = ()> + Send + use<> {
        stream::unfold(self.relisted.subscribe(), |mut relisted| async move {
            relisted.changed().await.ok().map(|()| ((), relisted))
        })
    }

    fn list_again(&self) {
        tracing::warn!(watch = %self.watched, "the API server went back to an older state, as after a restore of etcd; everything is listed again");
        self.restored.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether everything was listed at least once.
    pub(crate) fn is_synced(&self) -> bool {
        self.state().synced
    }

    /// Whether it waits for a permission or a definition.
    pub(crate) fn is_refused(&self) -> bool {
        self.state().failing.as_ref().is_some_and(|failure| failure.permanent)
    }

    /// The changes of what `config` selects of `api`. Errors are reported and left out: the controller would pause
    /// everything else for them.
    pub(crate) fn watch<K>(
        self: &Arc<Self>,
        api: Api<K>,
        config: watcher::Config,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let source = Arc::clone(self);
        let (restored, max_age) = (self.restored.clone(), self.max_age);
        let begin = move || {
            let mut restored = restored.subscribe();
            let listed_again = async move {
                // The sender lives as long as the watch.
                let _ = tokio::time::timeout(max_age, restored.changed()).await;
            };
            watcher(api.clone(), config.clone()).default_backoff().take_until(listed_again)
        };
        // The watcher itself lists again when a watch that runs is told that it is too old, and not when one that begins
        // is refused as that.
        let until_refused = |event: &watcher::Result<Event<K>>| {
            let expired = matches!(event, Err(watcher::Error::WatchStartFailed(error)) if is_expired(error));
            async move {
                if expired {
                    tokio::time::sleep(LIST_AGAIN).await;
                }
                !expired
            }
        };
        let events = stream::repeat_with(begin).flat_map(move |events| events.take_while(until_refused));
        events.filter_map(move |event| {
            source.watches.attempt(&source.watched);
            let event = match event {
                Ok(event) => {
                    source.works(&event);
                    Some(Ok(event))
                }
                Err(error) => {
                    source.fails(&error);
                    None
                }
            };
            futures::future::ready(event)
        })
    }

    fn works<K: Resource>(&self, event: &Event<K>) {
        let mut state = self.state();
        match event {
            // Nothing was asked yet.
            Event::Init => {
                state.versions = Versions::default();
                state.listing_for = *self.restored.borrow();
                return;
            }
            Event::InitApply(object) => {
                state.versions.of_object(object.meta().resource_version.as_deref());
            }
            Event::InitDone => {}
            Event::Apply(object) | Event::Delete(object) => {
                if state.versions.of_event(object.meta().resource_version.as_deref()) {
                    self.list_again();
                }
            }
        }
        if state.failing.take().is_some() {
            tracing::info!(watch = %self.watched, "the watch works again");
        }
        if matches!(event, Event::InitDone) {
            if !std::mem::replace(&mut state.synced, true) {
                self.changed.notify_one();
            }
            if state.listed_for != state.listing_for {
                state.listed_for = state.listing_for;
                self.relisted.send_modify(|count| *count += 1);
            }
        }
    }

    fn fails(&self, error: &watcher::Error) {
        let failure = failure(error);
        let mut state = self.state();
        // The same trouble is in the log once.
        if state.failing.as_ref() == Some(&failure) {
            return;
        }
        tracing::warn!(watch = %self.watched, error = failure.text, "the watch failed, retried");
        state.failing = Some(failure);
        self.changed.notify_one();
    }
}

fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

fn failure(error: &watcher::Error) -> Failure {
    use watcher::Error as E;
    let status = match error {
        E::InitialListFailed(kube::Error::Api(status))
        | E::WatchStartFailed(kube::Error::Api(status))
        | E::WatchFailed(kube::Error::Api(status))
        | E::WatchError(status) => Some(status),
        _ => None,
    };
    match status.map(|status| (status.code, &status.message)) {
        Some((404, message)) => Failure {
            permanent: true,
            text: format!(
                "{message}: the definitions may be missing; apply them (`krs crd | kubectl apply --server-side -f -`, or `helm upgrade` of the importer's chart with its crds)"
            ),
        },
        Some((403, message)) => Failure {
            permanent: true,
            text: format!("{message}: install the chart's RBAC, and compare watchNamespaces"),
        },
        _ => Failure { permanent: false, text: krs_core::error::chain(error) },
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::adapters::heartbeat::Heartbeats;
    use crate::adapters::metrics::Metrics;

    #[test]
    fn t182_all_are_told_once_when_everything_was_listed_after_the_api_server_went_back() {
        let watches = Watches::new(Heartbeats::default(), Metrics::new().0);
        let (watched, max_age) = (WatchTarget::of("/apis/g/v1/sets"), Duration::from_secs(3600));
        let source = Source::new(watched, watches, Arc::default(), max_age);
        let mut relisted = Box::pin(source.relisted());
        let mut list = |version: &str| {
            source.works(&Event::<ConfigMap>::Init);
            let mut object = ConfigMap::default();
            object.metadata.resource_version = Some(version.to_owned());
            source.works(&Event::InitApply(object));
            source.works(&Event::<ConfigMap>::InitDone);
            relisted.next().now_or_never().is_some()
        };
        assert!(!list("40"), "the first list");
        assert!(source.is_fit(Some(40), Some("41")));
        assert!(!source.is_fit(source.newest(), Some("30")));
        assert!(!source.is_fit(source.newest(), Some("41")), "not listed yet");
        assert!(list("31"));
        assert!(source.is_fit(source.newest(), Some("32")));
        assert!(!list("33"), "a list from time to time");
    }

    #[test]
    fn t182_an_api_server_that_counts_back_is_noticed_and_one_that_does_not_is_not() {
        let mut versions = Versions::default();
        // Objects of a list come in any order.
        for version in ["40", "12", "31"] {
            versions.of_object(Some(version));
        }
        assert_eq!(versions.newest, Some(40));
        assert!(!versions.of_event(Some("41")));
        assert!(!versions.of_list(Some(41), Some("50")), "others write, too");
        assert!(!versions.of_event(Some("45")), "a change from before the list");
        assert!(!versions.of_list(Some(41), Some("44")), "a list that was asked for before the change came");
        assert!(versions.of_list(versions.newest, Some("49")));
        assert!(versions.of_event(Some("44")));
        assert!(!versions.of_event(Some("45")), "everything was listed since");
        assert!(!versions.of_list(Some(50), Some("opaque")) && !versions.of_event(None), "no number");
    }
}
