// SPDX-License-Identifier: Apache-2.0
//! The client: registries and their repositories. Uses `auth`.

pub(in crate::registry) mod capabilities;
pub(in crate::registry) mod options;
pub(in crate::registry) mod repository;
pub(in crate::registry) mod shared;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::registry::auth::context::Scope;
use crate::registry::client::options::ClientOptions;
use crate::registry::client::repository::Repository;
use crate::registry::client::shared::ClientState;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::importance::Importance;
use crate::registry::limits::lane::Lane;
use crate::registry::limits::run::RunLimits;
use crate::registry::transport::operation::Operation;

/// The statistics of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Requests sent, redirects and retries included.
    pub requests: u64,
    /// Bytes of bodies received.
    pub bytes_received: u64,
    /// Bytes of blobs sent.
    pub bytes_sent: u64,
    /// Requests and transfers that were retried.
    pub retries: u64,
    /// How many more there may be ([`crate::registry::RetryPolicy::budget`]).
    pub retries_left: u32,
    /// How long requests were paused for hosts that limit them ([`crate::registry::RetryPolicy::max_wait`]).
    pub paused: Duration,
}

/// Reaches registries. Cheap to clone; all clones share connections, tokens and budgets.
#[derive(Debug, Clone)]
pub struct Client {
    pub(in crate::registry) shared: Arc<ClientState>,
}

impl Client {
    /// A client with these options. Nothing is connected yet.
    ///
    /// # Errors
    /// A CA or a client certificate that cannot be used.
    pub fn new(options: ClientOptions) -> Result<Self, RegistryError> {
        let limits = options.limits();
        Self::with_limits(options, limits)
    }

    fn with_limits(options: ClientOptions, limits: RunLimits) -> Result<Self, RegistryError> {
        Ok(Self { shared: Arc::new(ClientState::new(options, limits)?) })
    }

    pub(in crate::registry) fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Another client in the same run, with other options. It shares the limits of this one (bytes, requests to a host, pauses
    /// and retries), whatever `options` says of them, and its statistics.
    pub(in crate::registry) fn with_options(&self, options: ClientOptions) -> Result<Self, RegistryError> {
        Self::with_limits(options, self.shared.limits.clone())
    }

    /// A repository, whether or not it exists.
    pub fn repository(&self, registry: &RegistryHost, name: &RepositoryName) -> Repository {
        Repository::new(&self.shared, registry, name)
    }

    /// Whether the registry answers, and accepts the credentials if it wants any.
    ///
    /// # Errors
    /// [`RegistryError`] says why it does not.
    pub async fn ping(&self, registry: &RegistryHost) -> Result<(), RegistryError> {
        let mut attempts = self.shared.retries.attempts(Importance::Required);
        loop {
            match self.try_ping(registry).await {
                Ok(()) => return Ok(()),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    /// Whether the registry asks for credentials, and then accepts them; `false` if it answers everybody, so that
    /// they were not sent.
    ///
    /// # Errors
    /// As for [`Self::ping`].
    pub async fn accepts_credentials(&self, registry: &RegistryHost) -> Result<bool, RegistryError> {
        self.ping(registry).await?;
        Ok(self.shared.auth.was_challenged(registry))
    }

    async fn try_ping(&self, registry: &RegistryHost) -> Result<(), Failure> {
        let auth = &self.shared.auth;
        let what = format!("https://{registry}/v2/");
        let operation = Operation { registry, what, lane: Lane::Requests, importance: Importance::Required };
        let mut context = auth.context(operation, None, Scope::default()).await?;
        let url = context.url("v2/")?;
        context.operation.what = url.to_string();
        let mut response = auth.request(&context, &Method::GET, &url, &HeaderMap::new()).await?;
        match response.status() {
            status if status.is_success() && response.is_typed_as_page() => {
                let body = response.beginning(&context.operation).await;
                response.intercepted(&context.operation, &body).map_or(Ok(()), Err)
            }
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => {
                let detail = "there is no registry at this address (HTTP status 404)";
                Err(context.operation.invalid_response(detail).into())
            }
            _ => Err(auth.rejected(&context, response).await),
        }
    }

    /// The statistics so far.
    pub fn statistics(&self) -> Statistics {
        let RunLimits { counters, hosts, retry_budget, .. } = &self.shared.limits;
        Statistics {
            requests: counters.requests(),
            bytes_received: counters.received(),
            bytes_sent: counters.sent(),
            retries: counters.retries(),
            retries_left: retry_budget.remaining(),
            paused: hosts.paused(),
        }
    }
}
