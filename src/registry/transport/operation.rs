// SPDX-License-Identifier: Apache-2.0
//! The purpose of a request, and the errors that name it.

use std::time::Duration;

use url::Url;

use crate::oci::reference::RegistryHost;
use crate::redact::{SafeUrl, printable};
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::redirect_refusal::RedirectRefusal;
use crate::registry::host::authority;
use crate::registry::limits::importance::Importance;
use crate::registry::limits::lane::Lane;

/// The purpose of a request: its name in messages, and its share of the limits.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Operation<'a> {
    pub(in crate::registry) registry: &'a RegistryHost,
    pub(in crate::registry) what: String,
    pub(in crate::registry) lane: Lane,
    pub(in crate::registry) importance: Importance,
}

impl Operation<'_> {
    pub(in crate::registry) fn unavailable(&self, detail: String) -> RegistryError {
        let (registry, what) = (self.registry.clone(), self.what.clone());
        RegistryError::Unavailable { registry, what, detail, status: None, hint: None, source: None }
    }

    pub(in crate::registry) fn invalid_response(&self, detail: impl Into<String>) -> RegistryError {
        let (registry, what) = (self.registry.clone(), self.what.clone());
        RegistryError::Protocol { registry, what, detail: detail.into() }
    }

    /// A request that its host, which may be another than the registry, rate-limited.
    pub(in crate::registry) fn rate_limited(
        &self,
        url: &Url,
        detail: String,
        requested: Option<Duration>,
        left: Duration,
    ) -> RegistryError {
        let (registry, what, host) = (self.registry.clone(), self.what.clone(), authority(url));
        let optional = self.importance.is_optional();
        RegistryError::RateLimited { registry, what, host, detail, requested, left, optional }
    }

    /// A redirect or upload address that is not followed.
    pub(in crate::registry) fn redirect_refused(
        &self,
        location: &str,
        refusal: RedirectRefusal,
    ) -> RegistryError {
        let shown = location.parse::<Url>().map_or_else(
            |_| location.split(['?', '#']).next().unwrap_or_default().to_owned(),
            |url| SafeUrl::new(url).to_string(),
        );
        let (registry, what) = (self.registry.clone(), self.what.clone());
        RegistryError::Redirect { registry, what, target: printable(&shown, 200), refusal }
    }
}
