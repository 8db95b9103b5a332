// SPDX-License-Identifier: Apache-2.0
//! Whether watches follow the API server. One that is ahead of it, as after a restore of etcd, begins without an error and
//! hears nothing, until the API server has counted up to it. A fresh list tells.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use crate::adapters::heartbeat::Heartbeats;
use crate::adapters::watch_source::Source;

/// How often watches and their results are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two comparisons with a fresh list.
    pub compare: Duration,
    /// When everything is listed again although nothing was found wrong.
    pub max_age: Duration,
    /// How long a watch may be known to be ahead of the API server before health shows it.
    pub limit: Duration,
    /// How often sets that are gone are noticed: nothing needs them any more, so that nothing is in a hurry.
    pub sweep: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            compare: Duration::from_secs(60),
            max_age: Duration::from_secs(3600),
            limit: Duration::from_secs(300),
            sweep: Duration::from_secs(2),
        }
    }
}

/// Compares a watch with a fresh list of one object, which costs the API server little. An API server that does not answer
/// fails nothing here: metrics tell of that.
pub(crate) async fn follow<K>(
    source: Arc<Source>,
    api: Api<K>,
    labels: Option<&'static str>,
    heartbeats: Heartbeats,
    pace: Pace,
) where
    K: Clone + DeserializeOwned + Debug,
{
    let heartbeat =
        heartbeats.begin(format!("the comparison of {} with the API server", source.watched()), pace.limit);
    // Without a resource version the API server answers from what is stored, not from what it remembers.
    let mut one = ListParams::default().limit(1);
    one.label_selector = labels.map(str::to_owned);
    loop {
        tokio::time::sleep(pace.compare).await;
        let before = source.newest();
        let is_fine = match api.list_metadata(&one).await {
            Ok(list) => source.is_fit(before, list.metadata.resource_version.as_deref()),
            Err(error) => {
                tracing::debug!(watch = %source.watched(), %error, "no list to compare with");
                true
            }
        };
        if is_fine {
            heartbeat.beat();
        }
    }
}
