// SPDX-License-Identifier: Apache-2.0
//! Whether a repository has a blob. `HEAD` only saves work: if it is refused or inconclusive, a `GET` of one byte
//! decides, and before a push the upload does.

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::oci::digest::Digest;
use crate::registry::client::capabilities::{ContentKind, HeadSupport, is_temporary};
use crate::registry::client::repository::Repository;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::response::Response;

/// What a response to `HEAD` says about a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Present,
    Absent,
    /// Present, but with another size, or without a size in the response.
    OtherSize(Option<u64>),
    /// Refused; `lasting` is whether the next one would be refused too.
    Refused {
        lasting: bool,
    },
}

/// Whether the registry itself failed to answer.
fn is_failure(head: Option<Head>) -> bool {
    matches!(head, Some(Head::Refused { lasting: false }))
}

/// What the responses to `HEAD` and `GET` show about `HEAD` at this registry.
fn assess_head(head: Head, got: Option<&Option<u64>>) -> Option<HeadSupport> {
    match (head, got) {
        (Head::Refused { lasting: true }, Some(_)) | (Head::Absent, Some(Some(_))) => {
            Some(HeadSupport::Contradicted)
        }
        (Head::OtherSize(head), Some(got)) if head != *got => Some(HeadSupport::Contradicted),
        (Head::Refused { lasting: true }, None) => Some(HeadSupport::BothRefused),
        _ => None,
    }
}

/// The total of `Content-Range: bytes 0-0/TOTAL` or `bytes */TOTAL`.
fn total_size(response: &Response) -> Option<u64> {
    response.header(CONTENT_RANGE)?.rsplit_once('/')?.1.trim().parse().ok()
}

impl Repository {
    /// Whether the repository has a blob of this digest and size. A blob of another size counts as absent.
    ///
    /// # Errors
    /// Any [`RegistryError`] except [`RegistryError::NotFound`]: the presence is not known.
    pub async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, RegistryError> {
        self.find_blob(digest, size, false).await
    }

    /// Whether a blob is present and need not be pushed. If the registry does not say or fails, the result is `false`, and
    /// the upload decides.
    ///
    /// # Errors
    /// Any [`RegistryError`] that is not a refusal.
    pub async fn has_blob_for_push(&self, digest: &Digest, size: u64) -> Result<bool, RegistryError> {
        match self.find_blob(digest, size, true).await {
            Err(error) if error.is_refusal() => Ok(false),
            found => found,
        }
    }

    /// One lookup without a retry, after the response to an upload was lost.
    pub(in crate::registry) async fn has_blob_now(&self, digest: &Digest, size: u64) -> bool {
        if matches!(self.try_head_blob(digest, size).await, Ok(Head::Present)) {
            return true;
        }
        // Also after a failure: it may have renewed the credentials.
        matches!(self.try_blob_size(digest, size).await, Ok(Some(got)) if got == size)
    }

    async fn find_blob(&self, digest: &Digest, size: u64, for_push: bool) -> Result<bool, RegistryError> {
        let known = self.shared.capabilities.head(self.registry(), ContentKind::Blob);
        let mut head = None;
        if known != HeadSupport::Contradicted {
            let found = self.head_blob(digest, size).await?;
            match found {
                Head::Present => return Ok(true),
                Head::Absent if for_push => return Ok(false),
                Head::Refused { .. } if for_push && known == HeadSupport::BothRefused => return Ok(false),
                _ => head = Some(found),
            }
        }
        let got = self.blob_size(digest, size).await;
        let refused = got.as_ref().is_err_and(RegistryError::is_refusal);
        if let Some(head) = head.filter(|_| got.is_ok() || refused)
            && let Some(support) = assess_head(head, got.as_ref().ok())
        {
            self.shared.capabilities.set_head(self.registry(), ContentKind::Blob, support);
        }
        match got {
            // The registry responds, but fails for this blob, for example because its storage has lost it. The upload
            // repairs it.
            Err(RegistryError::Unavailable { .. }) if for_push && is_failure(head) => Ok(false),
            got => Ok(got? == Some(size)),
        }
    }

    async fn head_blob(&self, digest: &Digest, size: u64) -> Result<Head, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            let failure = match self.try_head_blob(digest, size).await {
                Ok(head) => return Ok(head),
                Err(failure) => failure,
            };
            match attempts.wait_after(failure).await {
                Ok(()) => {}
                Err(error) if error.is_refusal() => return Ok(Head::Refused { lasting: true }),
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_head_blob(&self, digest: &Digest, size: u64) -> Result<Head, Failure> {
        let context = self.context(self.pull_scope(), self.blob_name(digest)).await?;
        let url = self.url(&context, format_args!("blobs/{digest}"))?;
        let response = self.shared.auth.request(&context, &Method::HEAD, &url, &HeaderMap::new()).await?;
        let status = response.status();
        match status {
            StatusCode::OK if response.length() == Some(size) => Ok(Head::Present),
            StatusCode::OK => Ok(Head::OtherSize(response.length())),
            StatusCode::NOT_FOUND => Ok(Head::Absent),
            status if is_temporary(status) => Err(self.shared.auth.rejected(&context, response).await),
            _ => {
                let lasting = !status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED;
                Ok(Head::Refused { lasting })
            }
        }
    }

    /// The size of a blob, by a `GET` of its first byte; `None` if there is none.
    async fn blob_size(&self, digest: &Digest, size: u64) -> Result<Option<u64>, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            match self.try_blob_size(digest, size).await {
                Ok(size) => return Ok(size),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    /// `expected` is what a body of unknown length is read up to.
    async fn try_blob_size(&self, digest: &Digest, expected: u64) -> Result<Option<u64>, Failure> {
        let context = self.context(self.pull_scope(), self.blob_name(digest)).await?;
        let url = self.url(&context, format_args!("blobs/{digest}"))?;
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let mut response = self.shared.auth.request(&context, &Method::GET, &url, &headers).await?;
        match response.status() {
            // The body is not read.
            StatusCode::OK if response.length().is_some() => Ok(response.length()),
            StatusCode::OK => {
                let mut came = 0;
                while came <= expected
                    && let Some(chunk) = response.chunk(&context.operation).await?
                {
                    came += chunk.len() as u64;
                }
                Ok(Some(came))
            }
            StatusCode::PARTIAL_CONTENT => {
                let detail = "the response to a range does not state the blob's size";
                let size = total_size(&response).ok_or_else(|| context.operation.invalid_response(detail))?;
                // The byte is read, so that the connection can be reused.
                if response.length() == Some(1) {
                    let _ = response.chunk(&context.operation).await;
                }
                Ok(Some(size))
            }
            // An empty blob has no first byte.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(total_size(&response).unwrap_or(0))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.shared.auth.rejected(&context, response).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_judged_by_what_get_says_of_the_same_blob() {
        let refused = Head::Refused { lasting: true };
        let contradicted = Some(HeadSupport::Contradicted);
        assert_eq!(assess_head(refused, Some(&Some(5))), contradicted);
        assert_eq!(assess_head(refused, Some(&None)), contradicted);
        assert_eq!(assess_head(refused, None), Some(HeadSupport::BothRefused));
        assert_eq!(assess_head(Head::Absent, Some(&Some(5))), contradicted);
        assert_eq!(assess_head(Head::OtherSize(Some(0)), Some(&Some(5))), contradicted);
        assert_eq!(assess_head(Head::OtherSize(None), Some(&Some(5))), contradicted);
        // A damaged or absent blob, or a temporary failure of the registry, says nothing about HEAD.
        assert_eq!(assess_head(Head::OtherSize(Some(0)), Some(&Some(0))), None);
        assert_eq!(assess_head(Head::Absent, Some(&None)), None);
        assert_eq!(assess_head(Head::Refused { lasting: false }, Some(&Some(5))), None);
    }
}
