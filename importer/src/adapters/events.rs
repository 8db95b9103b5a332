// SPDX-License-Identifier: Apache-2.0
//! Events for people: each is a decision, which the log has as one line too, whether or not the event can be written.
//! Repeats are counted by the API server's series.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// Longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Writes events. Cheap to clone.
#[derive(Clone)]
pub struct Events(Recorder);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Events of the Pod `instance`.
    pub fn new(client: kube::Client, instance: Option<String>) -> Self {
        Self(Recorder::new(client, Reporter { controller: "krs-importer".to_owned(), instance }))
    }

    /// Something that a person may want to know.
    pub async fn normal(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Normal, about, reason, action, note).await;
    }

    /// Something that a person may have to mend.
    pub async fn warning(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Warning, about, reason, action, note).await;
    }

    async fn publish(
        &self,
        type_: EventType,
        about: &ObjectReference,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let note = cut(krs_core::redact::printable(note, MAX_NOTE));
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (kind, namespace, name) = (text(&about.kind), text(&about.namespace), text(&about.name));
        match type_ {
            EventType::Normal => tracing::info!(kind, namespace, name, reason, "{note}"),
            EventType::Warning => tracing::warn!(kind, namespace, name, reason, "{note}"),
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, about).await {
            tracing::warn!(reason, %error, "an event could not be written");
        }
    }
}

fn cut(mut text: String) -> String {
    while text.len() > MAX_NOTE {
        text.pop();
    }
    text
}
