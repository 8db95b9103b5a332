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
    /// The bytes that the registry keeps as a manifest of `media_type`, at most [`oci::MAX_DOCUMENT`] of them, whatever
    /// they are.
    ///
    /// # Errors
    /// [`RegistryError::Content`] where they are not those of `digest`, and the others.
    pub async fn manifest_of_type(&self, digest: &Digest, media_type: &str) -> Result<Bytes, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            match self.try_manifest_of_type(digest, media_type).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => attempts.after(failure).await?,
            }
        }
    }

    async fn try_manifest_of_type(&self, digest: &Digest, media_type: &str) -> Result<Bytes, Failure> {
        let what = format!("manifest {}/{}@{digest}", self.registry(), self.name());
        let asking = self.asking(self.pulling(), what).await?;
        let url = self.url(&asking, format_args!("manifests/{digest}"))?;
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_str(media_type).ok().map(|value| (ACCEPT, value)));
        let mut answer = self.inner.ask(&asking, &Method::GET, &url, &headers).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.inner.rejected(&asking, answer).await);
        }
        let bytes = answer.body(oci::MAX_DOCUMENT, &asking.purpose).await?;
        let got = Digest::of(&bytes);
        if got != *digest {
            let source = ContentMismatch::Digest { expected: *digest, got };
            let what = asking.purpose.what.clone();
            return Err(Failure::again(RegistryError::Content { what, source }));
        }
        Ok(bytes)
    }
}
