// SPDX-License-Identifier: Apache-2.0
//! What is requested of a registry, and with which permissions.

use url::Url;

use crate::oci::reference::RepositoryName;
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::operation::Operation;
use crate::registry::transport::redirect::same_origin;

/// What a request may do to which repositories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(in crate::registry) struct Scope(pub(in crate::registry) Vec<String>);

impl Scope {
    pub(in crate::registry) fn pull(name: &RepositoryName) -> Self {
        Self(vec![format!("repository:{name}:pull")])
    }

    pub(in crate::registry) fn push(name: &RepositoryName) -> Self {
        Self(vec![format!("repository:{name}:pull,push")])
    }

    /// Also reading `name`, which a mount needs.
    pub(in crate::registry) fn and_pull(mut self, name: &RepositoryName) -> Self {
        self.0.push(format!("repository:{name}:pull"));
        self
    }
}

/// What is requested, of which registry, with which permissions.
#[derive(Debug, Clone)]
pub(in crate::registry) struct RequestContext<'a> {
    pub(in crate::registry) operation: Operation<'a>,
    pub(in crate::registry) repository: Option<&'a RepositoryName>,
    pub(in crate::registry) scope: Scope,
    /// The URL of the registry.
    pub(in crate::registry) base_url: Url,
}

impl RequestContext<'_> {
    /// A URL below the registry's.
    pub(in crate::registry) fn url(&self, path: &str) -> Result<Url, Failure> {
        let url = self.base_url.join(path);
        url.map_err(|_| self.operation.invalid_response("its name is not a valid host name").into())
    }

    /// Whether `url` is one of the registry itself.
    pub(in crate::registry) fn is_of_registry(&self, url: &Url) -> bool {
        same_origin(url, &self.base_url)
    }
}
