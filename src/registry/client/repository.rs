// SPDX-License-Identifier: Apache-2.0
//! One repository of a registry, and how much its requests matter.

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::registry::auth::authenticator::{Asking, Scope};
use crate::registry::client::Inner;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::retry::{Attempts, Importance};
use crate::registry::transport::exchange::{Lane, Purpose, protocol};

/// One repository of a registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(in crate::registry) inner: Arc<Inner>,
    registry: RegistryHost,
    name: RepositoryName,
    lane: Lane,
    importance: Importance,
}

impl Repository {
    /// A repository of a registry, for required requests.
    pub(in crate::registry) fn new(
        inner: &Arc<Inner>,
        registry: &RegistryHost,
        name: &RepositoryName,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            registry: registry.clone(),
            name: name.clone(),
            lane: Lane::Requests,
            importance: Importance::Required,
        }
    }

    /// The registry as it was named, e.g. `docker.io`.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// Another repository of the same registry, reached by the same client.
    #[must_use]
    pub fn sibling(&self, name: &RepositoryName) -> Self {
        Self { name: name.clone(), ..self.clone() }
    }

    /// The same repository for downloads that are the body of an upload.
    pub(in crate::registry) fn for_relay(&self) -> Self {
        Self { lane: Lane::Relay, ..self.clone() }
    }

    /// The same repository for what an image can do without, and for requests that only save others: all of these
    /// together use at most a quarter of the retries and pauses of a run.
    #[must_use]
    pub fn optional(&self) -> Self {
        let optional = self.importance.is_optional();
        let importance = if optional { self.importance } else { Importance::Optional };
        Self { importance, ..self.clone() }
    }

    /// The same repository for requests like one that has failed in spite of retries: where they are optional, they are
    /// sent once.
    #[must_use]
    pub fn optional_once(&self) -> Self {
        let optional = self.importance.is_optional();
        let importance = if optional { Importance::OptionalOnce } else { self.importance };
        Self { importance, ..self.clone() }
    }

    /// Counts the tries of a request.
    pub(in crate::registry) fn attempts(&self) -> Attempts<'_> {
        Attempts::new(&self.inner, self.importance)
    }

    /// The repository's path in its registry.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// What a request is for, with the registry's address.
    pub(in crate::registry) async fn asking(
        &self,
        scope: Scope,
        what: String,
    ) -> Result<Asking<'_>, Failure> {
        let Self { registry, lane, importance, .. } = self;
        let purpose = Purpose { registry, what, lane: *lane, importance: *importance };
        self.inner.asking(purpose, Some(&self.name), scope).await
    }

    pub(in crate::registry) fn pulling(&self) -> Scope {
        Scope::pull(&self.name)
    }

    /// An address in this repository.
    pub(in crate::registry) fn url(
        &self,
        asking: &Asking<'_>,
        rest: impl fmt::Display,
    ) -> Result<Url, Failure> {
        url(asking, &format!("v2/{}/{rest}", self.name))
    }
}

/// An address below the registry's.
pub(in crate::registry) fn url(asking: &Asking<'_>, path: &str) -> Result<Url, Failure> {
    asking.home.join(path).map_err(|_| protocol(&asking.purpose, "its name is not an address").into())
}
