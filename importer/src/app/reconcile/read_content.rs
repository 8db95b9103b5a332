// SPDX-License-Identifier: Apache-2.0
//! When the content of a set is read back, and what that means for its state.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use krs_core::registry::{Client, ClientOptions};

use super::content::{ContentRead, VERIFY_CONTENT_AT, apply, due, run};
use super::edge::edge_options;
use super::error::ReconcileError;
use super::observed::Observed;
use super::secrets::{SecretError, Secrets};
use super::set_reconcile::SetReconcile;
use crate::model::answer::Answer;
use crate::model::state::SetState;
use crate::model::target::TargetKey;

impl SetReconcile<'_> {
    /// Takes what was read back into the state, and takes back what the registry says of damaged images: that they are
    /// there.
    pub(super) fn content_found(&self, observed: &mut Observed, state: &mut SetState) {
        let found = self.importer.content.found.lock().remove(&self.uid).unwrap_or_default();
        if observed.wanted.is_none() {
            return;
        }
        let annotations = self.set.metadata.annotations.as_ref();
        let requested_at = annotations.and_then(|annotations| annotations.get(VERIFY_CONTENT_AT)).cloned();
        let wanted = observed.targets.iter().map(|target| target.key).collect::<BTreeSet<_>>();
        let is_wanted = |key: &TargetKey| wanted.contains(key);
        self.importer.content.forget_failures(&self.uid, is_wanted);
        apply(state, is_wanted, found, &observed.registry_view.answers, requested_at, self.now);
        let damaged = &state.content_damage;
        observed.registry_view.answers.retain(|key, _| !damaged.contains_key(key));
    }

    /// Says of damaged images that they are.
    pub(super) fn content_damage(observed: &mut Observed, state: &SetState) {
        for (key, message) in &state.content_damage {
            observed.registry_view.answers.insert(*key, Answer::Corrupt { message: message.clone() });
        }
    }

    /// Starts to read the next image back that is due, once it is this set's turn.
    pub(super) async fn read_content(
        &self,
        secrets: &Secrets<'_>,
        observed: &Observed,
        state: &SetState,
    ) -> Result<(), ReconcileError> {
        let (parts, content) = (&self.importer.parts, &self.importer.content);
        let may_read = |target| content.may_read(&self.uid, target, self.now);
        let is_idle = observed.blocker.is_some() || self.set.spec.suspend;
        let interval = parts.config.content_verify_interval;
        let target = due(state, &observed.targets, interval, may_read, self.now).filter(|_| !is_idle);
        let Some(target) = target else {
            let to_wake = content.permits.lock().leave(&self.name, self.now);
            self.importer.registries.wake(&to_wake);
            return Ok(());
        };
        if !content.permits.lock().take(&self.name, self.now) {
            return Ok(());
        }
        let reading = ContentRead {
            content: Arc::clone(content),
            registries: Arc::clone(&self.importer.registries),
            namespace: self.name.namespace.clone(),
            clock: Arc::clone(&parts.clock),
        };
        let (registry_secret, ca_certs) = match self.destination(secrets, &target.registry).await {
            Ok(found) => found,
            Err(SecretError::Api(error)) => return Err(ReconcileError::api("Secrets cannot be read")(error)),
            // The next check of the registry says what is wrong with it.
            Err(SecretError::Blocker(_)) => return Ok(()),
        };
        let credentials = registry_secret.as_ref().map(|registry_secret| &registry_secret.credentials);
        let tls = self.set.spec.destination_tls.as_ref();
        let rate = parts.config.content_verify_rate;
        let options = ClientOptions {
            bandwidth: NonZeroU64::new(rate.saturating_mul(1 << 20)),
            ..edge_options(&target.registry, tls, credentials, ca_certs.map(|ca| ca.pem), &parts.deny_list)
        };
        let Ok(client) = Client::new(options) else { return Ok(()) };
        let set = (self.uid.clone(), self.name.clone());
        tokio::spawn(run(reading, client, target.clone(), set, rate));
        Ok(())
    }
}
