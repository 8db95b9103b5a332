// SPDX-License-Identifier: Apache-2.0
//! What all clones of a client share.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use url::Url;

use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::registry::auth::authenticator::Authenticator;
use crate::registry::auth::credential_store::CredentialStore;
use crate::registry::client::capabilities::Capabilities;
use crate::registry::client::options::ClientOptions;
use crate::registry::failure::error::RegistryError;
use crate::registry::limits::notifier::Notifier;
use crate::registry::limits::retry::Retries;
use crate::registry::limits::run::RunLimits;
use crate::registry::transport::exchange::Transport;

/// Most uploads that are kept to be cancelled: far more than run at once. Registries remove the others by themselves.
const MAX_ABANDONED: usize = 256;

/// An upload whose future was dropped before it was complete.
#[derive(Debug)]
pub(in crate::registry) struct AbandonedUpload {
    pub(in crate::registry) registry: RegistryHost,
    pub(in crate::registry) name: RepositoryName,
    pub(in crate::registry) location: Url,
}

/// What all clones of a client share.
pub(in crate::registry) struct ClientState {
    pub(in crate::registry) options: ClientOptions,
    pub(in crate::registry) limits: RunLimits,
    pub(in crate::registry) retries: Retries,
    pub(in crate::registry) transport: Arc<Transport>,
    pub(in crate::registry) auth: Authenticator,
    pub(in crate::registry) capabilities: Capabilities,
    abandoned: Mutex<Vec<AbandonedUpload>>,
}

impl fmt::Debug for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ClientState {
    /// # Errors
    /// A CA or a client certificate that cannot be used.
    pub(in crate::registry) fn new(options: ClientOptions, limits: RunLimits) -> Result<Self, RegistryError> {
        let certificates = options.certificates()?;
        let notifier = Notifier::new(options.notify.clone());
        let (budget, counters) = (Arc::clone(&limits.retry_budget), Arc::clone(&limits.counters));
        let retries = Retries::new(options.retry.clone(), budget, counters, notifier.clone());
        let transport = Transport::new(options.transport(), certificates, limits.clone(), notifier.clone());
        let transport = Arc::new(transport);
        let credentials = CredentialStore::new(options.keychain.clone(), notifier);
        let auth = Authenticator::new(Arc::clone(&transport), credentials, options.realm_hosts.clone());
        let (capabilities, abandoned) = (Capabilities::default(), Mutex::default());
        Ok(Self { options, limits, retries, transport, auth, capabilities, abandoned })
    }

    /// Keeps an abandoned upload to be cancelled.
    pub(in crate::registry) fn abandon(&self, upload: AbandonedUpload) {
        let mut abandoned = self.abandoned.lock();
        if abandoned.len() < MAX_ABANDONED {
            abandoned.push(upload);
        }
    }

    /// Takes the abandoned uploads.
    pub(in crate::registry) fn take_abandoned(&self) -> Vec<AbandonedUpload> {
        std::mem::take(&mut *self.abandoned.lock())
    }
}
