// SPDX-License-Identifier: Apache-2.0
//! The credentials for requests: those of the keychain, with the answers of credential helpers kept for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::redact::printable;
use crate::registry::auth::context::RequestContext;
use crate::registry::auth::credentials::{Credentials, LookupResult};
use crate::registry::auth::keychain::Keychain;
use crate::registry::failure::error::{CredentialUse, RegistryError};
use crate::registry::failure::keychain::KeychainError;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::notifier::Notifier;

/// How long the answer of a credential helper is used.
const HELPER_LIFETIME: Duration = Duration::from_secs(300);

/// The answer of a credential helper, or its failure.
type HelperAnswer = Result<Option<LookupResult>, KeychainError>;

/// What is kept for one registry.
#[derive(Debug, Default)]
struct Lookups {
    // Failures are kept too, so that a helper that hangs costs its time limit once and not for every image.
    helpers: tokio::sync::Mutex<HashMap<String, (Instant, HelperAnswer)>>,
    /// Whether it was reported that credentials may be missing.
    reported: AtomicBool,
}

/// Finds the credentials for requests.
#[derive(Debug)]
pub(in crate::registry) struct CredentialStore {
    keychain: Keychain,
    registries: Mutex<HashMap<RegistryHost, Arc<Lookups>>>,
    notifier: Notifier,
}

impl CredentialStore {
    pub(in crate::registry) fn new(keychain: Keychain, notifier: Notifier) -> Self {
        Self { keychain, registries: Mutex::default(), notifier }
    }

    fn lookups(&self, registry: &RegistryHost) -> Arc<Lookups> {
        Arc::clone(self.registries.lock().entry(registry.clone()).or_default())
    }

    /// The credentials for a repository. A helper that cannot be run counts as one without credentials, until the
    /// registry refuses a request.
    pub(in crate::registry) async fn find(
        &self,
        context: &RequestContext<'_>,
    ) -> Result<LookupResult, Failure> {
        let registry = context.operation.registry;
        let found = self.look_up(registry, context.repository).await.map_err(RegistryError::from)?;
        if let (None, Some(unusable)) = (&found.credentials, &found.unusable)
            && !self.lookups(registry).reported.swap(true, Ordering::Relaxed)
        {
            self.notifier.send(&format!("{registry}: continuing without credentials: {unusable}"));
        }
        Ok(found)
    }

    async fn look_up(
        &self,
        registry: &RegistryHost,
        repository: Option<&RepositoryName>,
    ) -> Result<LookupResult, KeychainError> {
        let keychain = &self.keychain;
        let Some(helper) = keychain.helper(registry, repository) else {
            return keychain.file_credentials(registry, repository);
        };
        let lookups = self.lookups(registry);
        let mut kept = lookups.helpers.lock().await;
        let known = kept.get(&helper.program).filter(|(at, _)| at.elapsed() < HELPER_LIFETIME);
        let answer = match known {
            Some((_, answer)) => answer.clone(),
            None => {
                let answer = helper.run(registry).await;
                kept.insert(helper.program.clone(), (Instant::now(), answer.clone()));
                answer
            }
        };
        match answer {
            Ok(Some(found)) => Ok(found),
            Ok(None) => keychain.fallback_credentials(&helper, registry, repository, None),
            Err(absent @ KeychainError::NoHelper { .. }) => {
                keychain.fallback_credentials(&helper, registry, repository, Some(absent))
            }
            Err(error) => Err(error),
        }
    }

    /// Which credentials there are for a request, for a message.
    pub(in crate::registry) async fn credential_use(&self, context: &RequestContext<'_>) -> CredentialUse {
        let used = match self.find(context).await {
            Ok(LookupResult {
                credentials: Some(Credentials::Basic { user, .. }),
                origin: Some(origin),
                ..
            }) => Some(format!("user `{}` ({origin})", printable(&user, 100))),
            Ok(LookupResult { origin: Some(origin), .. }) => Some(format!("the credentials from {origin}")),
            Ok(LookupResult { unusable: Some(unusable), .. }) => {
                return CredentialUse { used: None, search_summary: unusable.to_string() };
            }
            _ => None,
        };
        CredentialUse { used, search_summary: self.keychain.search_summary() }
    }
}
