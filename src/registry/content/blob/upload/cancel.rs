// SPDX-License-Identifier: Apache-2.0
//! Cancels uploads, so that nothing of them stays at registries.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use http::{HeaderMap, Method};
use url::Url;

use crate::registry::client::Client;
use crate::registry::client::repository::Repository;
use crate::registry::client::shared::AbandonedUpload;
use crate::registry::content::blob::upload::state::Upload;

/// Longest wait for the response to a cancellation, on which nothing depends.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Uploads that are cancelled at once.
const CANCELLED_AT_ONCE: usize = 16;

impl Client {
    /// Cancels the uploads that were dropped in the middle, so that nothing of them stays at the registries.
    ///
    /// # Cancellation
    /// May be dropped at any time: registries forget uploads by themselves, later.
    pub async fn cancel_uploads(&self) {
        let uploads = self.shared.take_abandoned();
        let cancelled = uploads.iter().map(|AbandonedUpload { registry, name, location }| async move {
            self.repository(registry, name).cancel_upload(location).await;
        });
        stream::iter(cancelled).buffer_unordered(CANCELLED_AT_ONCE).collect::<Vec<()>>().await;
    }
}

impl Upload<'_> {
    /// Tells the registry to forget the upload. It forgets it later by itself, so the response does not matter.
    pub(in crate::registry) async fn cancel(&mut self) {
        if let Some(session) = &self.session {
            self.repository.cancel_upload(&session.location).await;
        }
        self.session = None;
    }
}

impl Repository {
    /// Tells the registry to forget an upload.
    pub(in crate::registry) async fn cancel_upload(&self, location: &Url) {
        let cancel = async {
            let what = format!("an upload to {}/{}", self.registry(), self.name());
            let context = self.context(self.push_scope(), what).await?;
            self.shared.auth.request(&context, &Method::DELETE, location, &HeaderMap::new()).await
        };
        if let Ok(Err(failure)) = tokio::time::timeout(CANCEL_TIMEOUT, cancel).await {
            tracing::debug!(?failure, "an upload was not cancelled");
        }
    }
}
