// SPDX-License-Identifier: Apache-2.0
//! One repository of a registry, and how much its requests matter.

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::registry::auth::context::{RequestContext, Scope};
use crate::registry::client::shared::ClientState;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::importance::Importance;
use crate::registry::limits::lane::Lane;
use crate::registry::limits::retry::Attempts;
use crate::registry::transport::operation::Operation;

/// One repository of a registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(in crate::registry) shared: Arc<ClientState>,
    registry: RegistryHost,
    name: RepositoryName,
    lane: Lane,
    importance: Importance,
}

impl Repository {
    /// A repository of a registry, for required requests.
    pub(in crate::registry) fn new(
        shared: &Arc<ClientState>,
        registry: &RegistryHost,
        name: &RepositoryName,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
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

    /// The same repository for optional content, and for requests that only save others. All of these together use at most a
    /// quarter of the retries and pauses of a run.
    #[must_use]
    pub fn optional(&self) -> Self {
        let optional = self.importance.is_optional();
        let importance = if optional { self.importance } else { Importance::Optional };
        Self { importance, ..self.clone() }
    }

    /// The same repository for requests like one that has failed after its retries: optional ones are sent only once.
    #[must_use]
    pub fn optional_once(&self) -> Self {
        let optional = self.importance.is_optional();
        let importance = if optional { Importance::OptionalOnce } else { self.importance };
        Self { importance, ..self.clone() }
    }

    /// Counts the attempts at a request.
    pub(in crate::registry) fn attempts(&self) -> Attempts<'_> {
        self.shared.retries.attempts(self.importance)
    }

    /// The repository's path in its registry.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The context of a request for `what`.
    pub(in crate::registry) async fn context(
        &self,
        scope: Scope,
        what: String,
    ) -> Result<RequestContext<'_>, Failure> {
        let Self { registry, lane, importance, .. } = self;
        let operation = Operation { registry, what, lane: *lane, importance: *importance };
        self.shared.auth.context(operation, Some(&self.name), scope).await
    }

    /// The permission to read this repository.
    pub(in crate::registry) fn pull_scope(&self) -> Scope {
        Scope::pull(&self.name)
    }

    /// The permission to write to this repository.
    pub(in crate::registry) fn push_scope(&self) -> Scope {
        Scope::push(&self.name)
    }

    /// A URL in this repository.
    pub(in crate::registry) fn url(
        &self,
        context: &RequestContext<'_>,
        rest: impl fmt::Display,
    ) -> Result<Url, Failure> {
        context.url(&format!("v2/{}/{rest}", self.name))
    }
}
