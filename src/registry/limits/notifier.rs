// SPDX-License-Identifier: Apache-2.0
//! Messages for the user: retries, pauses, missing credentials.

use std::fmt;
use std::sync::Arc;

/// Receives one-line messages for the user.
pub type Notify = Arc<dyn Fn(&str) + Send + Sync>;

/// Sends messages to the receiver, if there is one, and to the log.
#[derive(Clone, Default)]
pub(in crate::registry) struct Notifier(Option<Notify>);

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

impl Notifier {
    pub(in crate::registry) const fn new(notify: Option<Notify>) -> Self {
        Self(notify)
    }

    pub(in crate::registry) fn send(&self, message: &str) {
        tracing::debug!("{message}");
        if let Some(notify) = &self.0 {
            notify(message);
        }
    }
}
