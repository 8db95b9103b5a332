// SPDX-License-Identifier: Apache-2.0
//! Indexes and manifests.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;

use crate::oci::digest::{ContentMismatch, Digest};
use crate::oci::reference::Selector;
use crate::oci::{self, Descriptor};
use crate::registry::auth::context::{RequestContext, Scope};
use crate::registry::client::capabilities::{ContentKind, HeadSupport, is_temporary};
use crate::registry::client::repository::Repository;
use crate::registry::failure::error::{RegistryError, SourceError};
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::request_body::RequestBody;
use crate::registry::transport::response::Response;

/// The digest of the requested or stored manifest.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// The subject of a stored manifest that the registry has processed.
const SUBJECT: &str = "oci-subject";

/// An index or manifest as a registry delivered it, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The media type that the registry states (`Content-Type`), without parameters.
    pub media_type: String,
    /// Digest of `bytes`. If a digest was requested, they match.
    pub digest: Digest,
    /// The bytes, at most [`oci::MAX_MANIFEST`].
    pub bytes: Bytes,
}

enum Head {
    Found(Box<Descriptor>),
    Absent,
    /// Refused or inconclusive.
    Unclear {
        /// Whether the next one would be refused too.
        lasting: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestType {
    media_type: Option<String>,
    schema_version: Option<u32>,
}

impl ManifestType {
    fn is_schema_1(&self) -> bool {
        self.schema_version == Some(1)
    }
}

/// What is wrong with an image that Docker pushed before 2016. (T-227)
const SCHEMA_1: &str = "the image is of Docker's manifest schema 1, which is obsolete: build it again, or pull and push it \
                        with skopeo copy --format oci";

fn accept_manifests() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&oci::MANIFEST_TYPES.join(", ")) {
        headers.insert(ACCEPT, value);
    }
    headers
}

/// The digest that a response names; `None` if it names none of an algorithm in use here.
fn content_digest(response: &Response) -> Option<Digest> {
    response.header(CONTENT_DIGEST)?.parse().ok()
}

fn media_type(response: &Response) -> Option<String> {
    let value = response.header(CONTENT_TYPE)?;
    let value = value.split(';').next().unwrap_or(value).trim();
    (!value.is_empty() && value.len() <= 255).then(|| value.to_owned())
}

/// What is known about an index or manifest in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestLookup {
    /// It is present.
    Found(Box<Descriptor>),
    /// The registry does not have the manifest.
    Absent,
    /// The registry does not say.
    Unknown,
}

impl ManifestLookup {
    /// The manifest, if it is known to be there.
    pub fn found(self) -> Option<Descriptor> {
        if let Self::Found(descriptor) = self { Some(*descriptor) } else { None }
    }
}

impl Repository {
    fn manifest_name(&self, selector: &Selector) -> String {
        let separator = if matches!(selector, Selector::Tag(_)) { ':' } else { '@' };
        format!("manifest {}/{}{separator}{selector}", self.registry(), self.name())
    }

    /// Type, digest and size of an index or manifest, or `None` if there is none. If `HEAD` is refused or inconclusive,
    /// a `GET` decides.
    ///
    /// # Errors
    /// Any [`RegistryError`] except [`RegistryError::NotFound`].
    pub async fn head_manifest(&self, selector: &Selector) -> Result<Option<Descriptor>, RegistryError> {
        self.find_manifest(selector, false).await.map(ManifestLookup::found)
    }

    /// Type, digest and size of an index or manifest, before it is pushed. If the registry does not say or fails, the result
    /// is `None`, and the push decides.
    ///
    /// # Errors
    /// Any [`RegistryError`] that is not a refusal.
    pub async fn head_manifest_for_push(
        &self,
        selector: &Selector,
    ) -> Result<Option<Descriptor>, RegistryError> {
        self.look_up_for_push(selector).await.map(ManifestLookup::found)
    }

    /// As [`Self::head_manifest_for_push`], but distinguishes an absent manifest from a registry that does not say.
    ///
    /// # Errors
    /// As for [`Self::head_manifest_for_push`].
    pub async fn look_up_for_push(&self, selector: &Selector) -> Result<ManifestLookup, RegistryError> {
        match self.find_manifest(selector, true).await {
            Err(error) if error.is_refusal() => Ok(ManifestLookup::Unknown),
            found => found,
        }
    }

    async fn find_manifest(
        &self,
        selector: &Selector,
        for_push: bool,
    ) -> Result<ManifestLookup, RegistryError> {
        let (capabilities, registry) = (&self.shared.capabilities, self.registry());
        let known = capabilities.head(registry, ContentKind::Manifest);
        let (mut unclear, mut failed) = (false, false);
        if known != HeadSupport::Contradicted {
            match self.head(selector).await? {
                Head::Found(descriptor) => return Ok(ManifestLookup::Found(descriptor)),
                Head::Absent => return Ok(ManifestLookup::Absent),
                Head::Unclear { .. } if for_push && known == HeadSupport::BothRefused => {
                    return Ok(ManifestLookup::Unknown);
                }
                Head::Unclear { lasting } => (unclear, failed) = (lasting, !lasting),
            }
        }
        let record = |support| {
            if unclear {
                capabilities.set_head(registry, ContentKind::Manifest, support);
            }
        };
        match self.manifest(selector).await {
            Ok(found) => {
                record(HeadSupport::Contradicted);
                let size = found.bytes.len() as u64;
                let found = Descriptor::new(found.media_type, found.digest, size);
                Ok(ManifestLookup::Found(Box::new(found)))
            }
            Err(RegistryError::NotFound { .. }) => {
                record(HeadSupport::Contradicted);
                Ok(ManifestLookup::Absent)
            }
            // The registry responds, but fails for this manifest. The push repairs it.
            Err(RegistryError::Unavailable { .. }) if for_push && failed => Ok(ManifestLookup::Unknown),
            Err(error) => {
                if error.is_refusal() {
                    record(HeadSupport::BothRefused);
                }
                Err(error)
            }
        }
    }

    async fn head(&self, selector: &Selector) -> Result<Head, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            let failure = match self.try_head(selector).await {
                Ok(head) => return Ok(head),
                Err(failure) => failure,
            };
            match attempts.wait_after(failure).await {
                Ok(()) => {}
                Err(error) if error.is_refusal() => return Ok(Head::Unclear { lasting: true }),
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_head(&self, selector: &Selector) -> Result<Head, Failure> {
        let context = self.context(self.pull_scope(), self.manifest_name(selector)).await?;
        let url = self.url(&context, format_args!("manifests/{selector}"))?;
        let response = self.shared.auth.request(&context, &Method::HEAD, &url, &accept_manifests()).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Head::Absent),
            status if is_temporary(status) => {
                return Err(self.shared.auth.rejected(&context, response).await);
            }
            status => {
                let lasting = !status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED;
                return Ok(Head::Unclear { lasting });
            }
        }
        // The length of this body is not that of the manifest.
        if response.is_encoded() {
            return Ok(Head::Unclear { lasting: true });
        }
        let named = content_digest(&response);
        if let (Selector::Digest(expected), Some(named)) = (selector, named) {
            self.check_digest(&context, *expected, named)?;
        }
        let expected = if let Selector::Digest(expected) = selector { Some(*expected) } else { None };
        let known = media_type(&response).filter(|media_type| oci::is_manifest(media_type));
        match (known, expected.or(named), response.length()) {
            (Some(media_type), Some(digest), Some(size)) if size > 0 => {
                Ok(Head::Found(Box::new(Descriptor::new(media_type, digest, size))))
            }
            _ => Ok(Head::Unclear { lasting: true }),
        }
    }

    fn check_digest(
        &self,
        context: &RequestContext<'_>,
        expected: Digest,
        got: Digest,
    ) -> Result<(), Failure> {
        if expected == got {
            return Ok(());
        }
        let (registry, what) = (self.registry().clone(), context.operation.what.clone());
        Err(Failure::retryable(RegistryError::OtherDigest { registry, what, expected, got }))
    }

    /// Fetches an index or manifest.
    ///
    /// # Errors
    /// [`RegistryError::Content`] if the bytes are not those of the requested digest, and the others.
    pub async fn manifest(&self, selector: &Selector) -> Result<FetchedManifest, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            match self.try_manifest(selector).await {
                Ok(manifest) => return Ok(manifest),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    async fn try_manifest(&self, selector: &Selector) -> Result<FetchedManifest, Failure> {
        let context = self.context(self.pull_scope(), self.manifest_name(selector)).await?;
        let url = self.url(&context, format_args!("manifests/{selector}"))?;
        let mut response =
            self.shared.auth.request(&context, &Method::GET, &url, &accept_manifests()).await?;
        if response.status() != StatusCode::OK {
            return Err(self.shared.auth.rejected(&context, response).await);
        }
        let header_type = media_type(&response);
        let named = content_digest(&response);
        let bytes = response.body(oci::MAX_MANIFEST, &context.operation).await?;
        let digest = Digest::of(&bytes);
        let compared = match selector {
            Selector::Digest(expected) if *expected != digest => {
                let source = ContentMismatch::Digest { expected: *expected, got: digest };
                let what = context.operation.what.clone();
                Err(Failure::retryable(RegistryError::Content { what, source }))
            }
            Selector::Digest(_) => Ok(()),
            Selector::Tag(_) => named.map_or(Ok(()), |named| self.check_digest(&context, digest, named)),
        };
        // A response that a proxy encoded or replaced does not count as damaged content. If the digest matches, the headers do
        // not matter. For a tag there is no digest, but every manifest is a JSON object.
        if compared.is_err() || (named.is_none() && !bytes.trim_ascii_start().starts_with(b"{")) {
            response.intercepted(&context.operation, &bytes).map_or(compared, Err)?;
        }
        // Some registries and proxies say `application/json` or nothing; then the manifest itself decides.
        let media_type = header_type.filter(|header_type| oci::is_manifest(header_type)).or_else(|| {
            let limit = usize::try_from(oci::MAX_MANIFEST).unwrap_or(usize::MAX);
            crate::json::parse::<ManifestType>(&bytes, limit)
                .ok()?
                .media_type
                .filter(|own| oci::is_manifest(own))
        });
        let Some(media_type) = media_type else {
            let schema_1 =
                crate::json::parse::<ManifestType>(&bytes, bytes.len()).is_ok_and(|of| of.is_schema_1());
            let detail =
                if schema_1 { SCHEMA_1 } else { "what it delivers is neither an index nor a manifest" };
            let unknown = || context.operation.invalid_response(detail).into();
            return Err(response.intercepted(&context.operation, &bytes).unwrap_or_else(unknown));
        };
        Ok(FetchedManifest { media_type, digest, bytes })
    }

    /// Stores an index or manifest under its digest or under a tag. Returns the subject that the registry has
    /// processed (`OCI-Subject`): then its referrers API lists the manifest.
    ///
    /// # Errors
    /// [`RegistryError::OtherDigest`] if the registry stored it under another digest, and the others. (T-58)
    pub async fn push_manifest(
        &self,
        selector: &Selector,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Option<Digest>, RegistryError> {
        let digest = Digest::of(&bytes);
        if let Selector::Digest(expected) = selector
            && *expected != digest
        {
            let source = SourceError::Corrupt(ContentMismatch::Digest { expected: *expected, got: digest });
            return Err(RegistryError::Source { digest: *expected, source });
        }
        let mut attempts = self.attempts();
        loop {
            match self.try_push(selector, media_type, digest, bytes.clone()).await {
                Ok(subject) => return Ok(subject),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    async fn try_push(
        &self,
        selector: &Selector,
        media_type: &str,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<Option<Digest>, Failure> {
        let context = self.context(Scope::push(self.name()), self.manifest_name(selector)).await?;
        let url = self.url(&context, format_args!("manifests/{selector}"))?;
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| context.operation.invalid_response("its media type cannot be sent"))?;
        headers.insert(CONTENT_TYPE, media_type);
        let response = self
            .shared
            .auth
            .request_with_body(&context, &Method::PUT, &url, headers, RequestBody::small(bytes))
            .await?;
        if !response.status().is_success() {
            return Err(self
                .shared
                .auth
                .rejected(&context, response)
                .await
                .of_push(context.operation.registry));
        }
        if let Some(named) = content_digest(&response) {
            self.check_digest(&context, digest, named)?;
        }
        Ok(response.header(SUBJECT).and_then(|subject| subject.parse().ok()))
    }
}
