// SPDX-License-Identifier: Apache-2.0
//! What the intake works by, and what it waits for.

use std::sync::Arc;

use futures::stream::BoxStream;
use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use tokio::sync::{mpsc, watch};

use super::ahead::{self, Times};
use crate::adapters::bundle_store::ReadFault;
use crate::adapters::heartbeat::{Heartbeat, Watches};
use crate::adapters::metrics::Metrics;
use crate::model::clock::Clock;
use crate::model::config::Config;
use crate::model::marks::Marks;
use crate::model::required_images::RequiredImages;

/// What the intake works by, and where it tells its progress.
pub(super) struct Context {
    pub config: Arc<Config>,
    pub metrics: Metrics,
    pub clock: Clock,
    pub heartbeat: Option<Heartbeat>,
    /// Where the time of the API server is known from.
    pub watches: Option<Arc<Watches>>,
}

/// What the intake waits for beside its own work.
pub(super) struct Inputs {
    pub faults: mpsc::UnboundedReceiver<ReadFault>,
    pub demand: watch::Receiver<Arc<RequiredImages>>,
    pub marks: watch::Receiver<Option<Arc<Marks>>>,
    pub bundles: BoxStream<'static, watcher::Result<Event<DynamicObject>>>,
}

impl Context {
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
        }
    }

    /// What is known of the time.
    pub(super) fn times(&self) -> Times {
        Times {
            site: self.now(),
            server: self.watches.as_ref().and_then(|watches| watches.server_time()),
            built: ahead::built(),
        }
    }
}
