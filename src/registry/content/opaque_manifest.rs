// SPDX-License-Identifier: Apache-2.0
//! Manifests of a type that this client does not know, fetched as bytes.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::oci;
use crate::oci::digest::{ContentMismatch, Digest};
use crate::registry::client::repository::Repository;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;

impl Repository {
    /// The bytes that the registry keeps as a manifest of `media_type`, at most [`oci::MAX_MANIFEST`] of them. They
    /// are not parsed.
    ///
    /// # Errors
    /// [`RegistryError::Content`] if they are not those of `digest`, and the others.
    pub async fn manifest_of_type(&self, digest: &Digest, media_type: &str) -> Result<Bytes, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            match self.try_manifest_of_type(digest, media_type).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    async fn try_manifest_of_type(&self, digest: &Digest, media_type: &str) -> Result<Bytes, Failure> {
        let what = format!("manifest {}/{}@{digest}", self.registry(), self.name());
        let context = self.context(self.pull_scope(), what).await?;
        let url = self.url(&context, format_args!("manifests/{digest}"))?;
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_str(media_type).ok().map(|value| (ACCEPT, value)));
        let mut response = self.shared.auth.request(&context, &Method::GET, &url, &headers).await?;
        if response.status() != StatusCode::OK {
            return Err(self.shared.auth.rejected(&context, response).await);
        }
        let bytes = response.body(oci::MAX_MANIFEST, &context.operation).await?;
        let got = Digest::of(&bytes);
        if got != *digest {
            let source = ContentMismatch::Digest { expected: *digest, got };
            let what = context.operation.what.clone();
            return Err(Failure::retryable(RegistryError::Content { what, source }));
        }
        Ok(bytes)
    }
}
