// SPDX-License-Identifier: Apache-2.0
//! Watches that fail on their own: what is wrong with one of a namespace is reported, tried again, and stops nothing else.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::heartbeat::{Watched, Watches};

/// How long to wait before everything is listed again because a watch could not begin.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// A watch of one kind in one namespace, or in all.
pub(super) struct Source {
    watched: Watched,
    watches: Arc<Watches>,
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether everything was listed at least once.
    synced: bool,
    failing: Option<Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    /// Whether waiting does not help: somebody has to grant a permission or to install a definition.
    permanent: bool,
    text: String,
}

impl Source {
    /// `changed` is told of the first list, and of failures.
    pub(super) fn new(watched: Watched, watches: Arc<Watches>, changed: Arc<Notify>) -> Arc<Self> {
        watches.attempt(&watched);
        Arc::new(Self { watched, watches, state: Mutex::default(), changed })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything was listed at least once.
    pub(super) fn is_synced(&self) -> bool {
        self.state().synced
    }

    /// Whether it waits for a permission or a definition.
    pub(super) fn is_refused(&self) -> bool {
        self.state().failing.as_ref().is_some_and(|failure| failure.permanent)
    }

    /// The changes of what `config` selects of `api`. Errors are reported and left out: the controller would pause
    /// everything else for them.
    pub(super) fn watch<K>(
        self: &Arc<Self>,
        api: Api<K>,
        config: watcher::Config,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let source = Arc::clone(self);
        let begin = move || watcher(api.clone(), config.clone()).default_backoff();
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

    fn works<K>(&self, event: &Event<K>) {
        // Nothing was asked yet.
        if matches!(event, Event::Init) {
            return;
        }
        let mut state = self.state();
        if state.failing.take().is_some() {
            tracing::info!(watch = %self.watched, "the watch works again");
        }
        if matches!(event, Event::InitDone) && !state.synced {
            state.synced = true;
            self.changed.notify_one();
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
