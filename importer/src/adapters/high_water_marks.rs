// SPDX-License-Identifier: Apache-2.0
//! Where the marks are kept: the ConfigMap `krs-streams`, which is never pruned. A person may lower an entry, the importer
//! never does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use krs_core::bundle::StreamName;
use krs_core::oci::digest::Digest;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use thiserror::Error;
use tokio::sync::watch;

use crate::model::marks::{Mark, MarkComparison, Marks, UsedDecisions};

/// Name of the ConfigMap.
const NAME: &str = "krs-streams";
/// How often a write is repeated after another importer wrote in between.
const ATTEMPTS: usize = 5;
/// How long reading or raising the marks may take in all.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why the marks are not known or not kept.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum MarkError {
    /// The API server refused a call.
    #[error("ConfigMap {NAME} cannot be read or written: {0}")]
    Api(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("ConfigMap {NAME} cannot be read or written: timed out after {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// Other importers kept writing.
    #[error("ConfigMap {NAME} was changed by others {ATTEMPTS} times while it was written")]
    Contended,
    /// The entry is no mark. Nothing of the stream is used then.
    #[error("entry `{stream}` of ConfigMap {NAME} cannot be read: {detail}; correct or delete the entry")]
    Unreadable {
        stream: StreamName,
        /// What is wrong.
        detail: String,
    },
    /// A newer bundle was used in the meantime.
    #[error("sequence {got} of stream `{stream}` is superseded: sequence {mark} was used")]
    Superseded {
        stream: StreamName,
        /// The sequence that was to be used.
        got: u64,
        mark: u64,
    },
    /// The sequence stands for other content.
    #[error(
        "sequence {sequence} of stream `{stream}` was used for other content: expected {expected}, got {got}"
    )]
    Reused {
        stream: StreamName,
        sequence: u64,
        /// The identity that was used.
        expected: Digest,
        /// The identity that was to be used.
        got: Digest,
    },
}

impl MarkError {
    /// Whether the bundle itself must not decide, so that a retry cannot help.
    pub const fn is_verdict(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::Superseded { .. } | Self::Reused { .. })
    }
}

/// The marks in the cluster, and what was last seen of them.
#[derive(Debug)]
pub struct HighWaterMarks {
    api: Api<ConfigMap>,
    known: watch::Sender<Option<Arc<Marks>>>,
    writing: tokio::sync::Mutex<()>,
}

impl HighWaterMarks {
    /// The marks that importers of `namespace` keep. Nothing is read yet.
    pub fn new(client: kube::Client, namespace: &str) -> Arc<Self> {
        let api = Api::namespaced(client, namespace);
        Arc::new(Self { api, known: watch::channel(None).0, writing: tokio::sync::Mutex::default() })
    }

    /// What was last seen of the marks; `None` until they were read once.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Marks>>> {
        self.known.subscribe()
    }

    /// Reads the marks as they are in the cluster.
    ///
    /// # Errors
    /// [`MarkError`]; what was seen before still counts, for lower marks than those in the cluster let nothing be used: see
    /// [`Self::raise`].
    pub async fn read(&self) -> Result<Arc<Marks>, MarkError> {
        let reading = async {
            let _writing = self.writing.lock().await;
            let map = self.api.get_opt(NAME).await?;
            Ok(self.publish(parse(map.as_ref())))
        };
        tokio::time::timeout(TIMEOUT, reading).await.unwrap_or(Err(MarkError::TimedOut))
    }

    /// Raises the mark of `stream` to `bundle` before its decisions are used.
    ///
    /// # Guarantees
    /// The cluster is read first, so that neither another importer nor a stale view lets a superseded bundle be used; the
    /// write is refused where somebody else wrote in between, and repeated. A mark is never lowered.
    ///
    /// # Errors
    /// [`MarkError`]; nothing of the bundle may be used.
    pub async fn raise(&self, stream: &StreamName, bundle: &Mark) -> Result<UsedDecisions, MarkError> {
        let raising = async {
            let _writing = self.writing.lock().await;
            for _ in 0..ATTEMPTS {
                if let Some(used) = self.try_raise(stream, bundle).await? {
                    return Ok(used);
                }
            }
            Err(MarkError::Contended)
        };
        tokio::time::timeout(TIMEOUT, raising).await.unwrap_or(Err(MarkError::TimedOut))
    }

    /// `None`: somebody else wrote in between.
    async fn try_raise(
        &self,
        stream: &StreamName,
        bundle: &Mark,
    ) -> Result<Option<UsedDecisions>, MarkError> {
        let map = self.api.get_opt(NAME).await?;
        let marks = parse(map.as_ref());
        let (standing, reached) =
            (marks.standing(stream, bundle), marks.has_reached(stream, bundle.sequence));
        let marks = self.publish(marks);
        refuse(stream, bundle, standing)?;
        if !reached {
            let text = serde_json::json!(bundle).to_string();
            match self.write(map, stream, text).await {
                Err(kube::Error::Api(status)) if status.code == 409 => return Ok(None),
                written => written?,
            }
            self.publish(marks.with(stream, bundle));
        }
        Ok(Some(UsedDecisions::of(stream, bundle)))
    }

    async fn write(
        &self,
        map: Option<ConfigMap>,
        stream: &StreamName,
        text: String,
    ) -> Result<(), kube::Error> {
        let Some(map) = map else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let data = Some(BTreeMap::from([(stream.to_string(), text)]));
            let map = ConfigMap { metadata, data, ..ConfigMap::default() };
            return self.api.create(&PostParams::default(), &map).await.map(drop);
        };
        // Refused where somebody else wrote in between.
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": map.metadata.resource_version},
            "data": {stream.as_str(): text},
        });
        self.api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    }

    fn publish(&self, marks: Marks) -> Arc<Marks> {
        let marks = Arc::new(marks);
        self.known.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&marks);
            if is_new {
                *known = Some(Arc::clone(&marks));
            }
            is_new
        });
        marks
    }
}

fn parse(map: Option<&ConfigMap>) -> Marks {
    map.and_then(|map| map.data.as_ref()).map(Marks::parse).unwrap_or_default()
}

/// Only a bundle at or above the mark may be used.
fn refuse(stream: &StreamName, bundle: &Mark, standing: MarkComparison) -> Result<(), MarkError> {
    let stream = || stream.clone();
    match standing {
        MarkComparison::Current => Ok(()),
        MarkComparison::Superseded { by } => {
            Err(MarkError::Superseded { stream: stream(), got: bundle.sequence, mark: by })
        }
        MarkComparison::Reused { expected } => Err(MarkError::Reused {
            stream: stream(),
            sequence: bundle.sequence,
            expected,
            got: bundle.identity,
        }),
        MarkComparison::Unknown { detail } => Err(MarkError::Unreadable { stream: stream(), detail }),
    }
}
