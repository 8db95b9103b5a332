// SPDX-License-Identifier: Apache-2.0
//! Authenticated requests: the challenge of a registry, and the credentials or the token that answer it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use url::Url;

use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::registry::auth::challenge::{self, Challenge};
use crate::registry::auth::context::{RequestContext, Scope};
use crate::registry::auth::credential_store::CredentialStore;
use crate::registry::auth::credentials::Credentials;
use crate::registry::auth::session::{Authorization, Session};
use crate::registry::auth::token::TokenRequest;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::base_url::BaseUrls;
use crate::registry::transport::exchange::Transport;
use crate::registry::transport::operation::Operation;
use crate::registry::transport::redirect::check_realm;
use crate::registry::transport::rejection::rejection;
use crate::registry::transport::request_body::RequestBody;
use crate::registry::transport::response::Response;

/// Sends requests with the authentication that each registry requires.
#[derive(Debug)]
pub(in crate::registry) struct Authenticator {
    transport: Arc<Transport>,
    credentials: CredentialStore,
    /// Hosts outside of a registry's domain that may be sent its credentials.
    realm_hosts: Vec<RegistryHost>,
    base_urls: BaseUrls,
    sessions: Mutex<HashMap<RegistryHost, Arc<Session>>>,
}

impl Authenticator {
    pub(in crate::registry) fn new(
        transport: Arc<Transport>,
        credentials: CredentialStore,
        realm_hosts: Vec<RegistryHost>,
    ) -> Self {
        let (base_urls, sessions) = (BaseUrls::default(), Mutex::default());
        Self { transport, credentials, realm_hosts, base_urls, sessions }
    }

    fn session(&self, registry: &RegistryHost) -> Arc<Session> {
        Arc::clone(self.sessions.lock().entry(registry.clone()).or_default())
    }

    /// Whether the registry has required credentials so far.
    pub(in crate::registry) fn was_challenged(&self, registry: &RegistryHost) -> bool {
        self.session(registry).was_challenged()
    }

    /// The context of a request, with the registry's URL.
    pub(in crate::registry) async fn context<'a>(
        &self,
        operation: Operation<'a>,
        repository: Option<&'a RepositoryName>,
        scope: Scope,
    ) -> Result<RequestContext<'a>, Failure> {
        let base_url = self.base_urls.get(&self.transport, &operation).await?;
        Ok(RequestContext { operation, repository, scope, base_url })
    }

    /// Whether two repositories of a registry are reached with the same credentials.
    pub(in crate::registry) async fn same_credentials(
        &self,
        one: &RequestContext<'_>,
        other: &RepositoryName,
    ) -> Result<bool, Failure> {
        let other = RequestContext { repository: Some(other), ..one.clone() };
        let (one, other) = (self.credentials.find(one).await?, self.credentials.find(&other).await?);
        Ok(one.origin == other.origin)
    }

    /// The `Authorization` of a request, as far as the registry's requirements are known.
    async fn authorization(
        &self,
        session: &Session,
        context: &RequestContext<'_>,
    ) -> Result<Option<Authorization>, Failure> {
        let Some((challenge, assumed)) = session.challenge(&context.scope) else { return Ok(None) };
        match self.meet(session, context, challenge).await {
            // The challenge to another request may not apply to this one, which was not refused yet.
            Err(Failure::Final(_)) if assumed => Ok(None),
            outcome => outcome,
        }
    }

    async fn meet(
        &self,
        session: &Session,
        context: &RequestContext<'_>,
        challenge: Challenge,
    ) -> Result<Option<Authorization>, Failure> {
        let lookup = self.credentials.find(context).await?;
        let Challenge::Bearer { realm, service, scopes } = &challenge else {
            let header = lookup.credentials.as_ref().and_then(Credentials::basic_header);
            return Ok(header.map(|header| Authorization { header, slot: None }));
        };
        let slot = session.slot((challenge.clone(), context.scope.clone(), lookup.origin.clone()));
        let mut token = slot.lock().await;
        let header = match token.as_ref().filter(|token| token.expires_at > Instant::now()) {
            Some(token) => token.header.clone(),
            None => {
                let (service, credentials) = (service.as_deref(), lookup.credentials.as_ref());
                let request = TokenRequest { context, realm, service, scopes, credentials };
                let credential_use = self.credentials.credential_use(context);
                let fresh = request.send(&self.transport, &self.realm_hosts, credential_use).await?;
                token.insert(fresh).header.clone()
            }
        };
        drop(token);
        Ok(Some(Authorization { header, slot: Some(slot) }))
    }

    /// Selects the first usable challenge. One whose token server may not receive the credentials comes last.
    fn choose(
        &self,
        context: &RequestContext<'_>,
        mut offers: Vec<Challenge>,
        credentials: Option<&Credentials>,
    ) -> Option<Challenge> {
        let suits = |challenge: &Challenge| match challenge {
            Challenge::Basic => matches!(credentials, Some(Credentials::Basic { .. })),
            Challenge::Bearer { realm, .. } => {
                check_realm(&context.base_url, realm, credentials.is_some(), &self.realm_hosts).is_ok()
            }
        };
        let index = offers.iter().position(suits).unwrap_or(0);
        (index < offers.len()).then(|| offers.swap_remove(index))
    }

    /// The registry refused a request with 401, sent with `used`: records what it wants. The failure says whether a retry
    /// can help.
    async fn challenged(
        &self,
        session: &Session,
        context: &RequestContext<'_>,
        response: Response,
        used: Option<Authorization>,
    ) -> Failure {
        let offers = challenge::offers(response.headers());
        let credentials = match self.credentials.find(context).await {
            Ok(lookup) => lookup.credentials,
            Err(failure) => return failure,
        };
        let wanted = self.choose(context, offers, credentials.as_ref());
        // Before the rest of the response is read, because other requests wait for it.
        let changed = wanted.as_ref().is_some_and(|wanted| session.record(&context.scope, wanted));
        let credential_use = self.credentials.credential_use(context);
        let rejection = rejection(response, true, credential_use, &context.operation).await;
        let (Some(wanted), Failure::Final(error)) = (wanted, rejection) else {
            let credentials = self.credentials.credential_use(context).await;
            let (registry, what) = (context.operation.registry.clone(), context.operation.what.clone());
            let detail = ", in a way that is not supported (neither Basic nor Bearer)".to_owned();
            return RegistryError::Unauthorized { registry, what, detail, credentials }.into();
        };
        let was_used = used.is_some();
        if let Some(Authorization { header, slot: Some(slot) }) = used {
            slot.lock().await.take_if(|token| token.header == header);
        }
        let bearer = matches!(wanted, Challenge::Bearer { .. });
        // A password that was refused stays refused; a token may have expired.
        if !bearer && ((was_used && !changed) || credentials.is_none()) {
            return Failure::Final(error);
        }
        Failure::Challenged(error)
    }

    /// One request to a registry, with the required authentication; redirects are followed. The response may have any
    /// status but 401 from the registry.
    pub(in crate::registry) async fn request(
        &self,
        context: &RequestContext<'_>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response, Failure> {
        self.exchange(context, method, url, headers, None).await
    }

    /// [`Self::request`] with a body, which is sent again after a redirect with status 307 or 308.
    pub(in crate::registry) async fn request_with_body(
        &self,
        context: &RequestContext<'_>,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Response, Failure> {
        self.exchange(context, method, url, &headers, Some(&body)).await
    }

    async fn exchange(
        &self,
        context: &RequestContext<'_>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<&RequestBody>,
    ) -> Result<Response, Failure> {
        let (transport, operation) = (&self.transport, &context.operation);
        if !context.is_of_registry(url) {
            return transport.follow(operation, method, url, headers, None, body).await;
        }
        let session = self.session(operation.registry);
        let _first = session.first_request().await;
        let used = self.authorization(&session, context).await?;
        let header = used.as_ref().map(|used| used.header.clone());
        let mut response = transport.follow(operation, method, url, headers, header, body).await?;
        if response.status() == StatusCode::UNAUTHORIZED && context.is_of_registry(&response.url) {
            return Err(self.challenged(&session, context, response, used).await);
        }
        // A web page that answers 200 to everything has stored nothing.
        if body.is_some() && response.status().is_success() && response.is_typed_as_page() {
            let page = response.beginning(operation).await;
            if let Some(failure) = response.intercepted(operation, &page) {
                return Err(failure);
            }
        }
        Ok(response)
    }

    /// The error for a response that is not a success.
    pub(in crate::registry) async fn rejected(
        &self,
        context: &RequestContext<'_>,
        response: Response,
    ) -> Failure {
        let is_registry = context.is_of_registry(&response.url);
        rejection(response, is_registry, self.credentials.credential_use(context), &context.operation).await
    }

    /// Where the response to a request of an upload says that the upload continues.
    pub(in crate::registry) fn upload_location(
        &self,
        context: &RequestContext<'_>,
        response: &Response,
    ) -> Result<Url, Failure> {
        self.transport.upload_location(&context.operation, &context.base_url, response)
    }
}
