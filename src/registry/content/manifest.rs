// SPDX-License-Identifier: Apache-2.0
//! Indexes and manifests.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;

use crate::oci::digest::{ContentMismatch, Digest};
use crate::oci::reference::Selector;
use crate::oci::{self, Descriptor};
use crate::registry::FetchedManifest;
use crate::registry::auth::authenticator::{Asking, Scope};
use crate::registry::client::capabilities::{HeadSupport, Kind, is_passing};
use crate::registry::client::repository::Repository;
use crate::registry::failure::error::{RegistryError, SourceError};
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::exchange::{Answer, Payload, protocol};

/// Names the digest of what was asked for or stored.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// Names the subject of a stored manifest that the registry has processed.
const SUBJECT: &str = "oci-subject";

enum Head {
    Is(Box<Descriptor>),
    Absent,
    /// It is refused, or says too little.
    Unclear {
        /// Whether the next one would be, too.
        lasting: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
    schema_version: Option<u32>,
}

impl Typed {
    fn is_schema_1(&self) -> bool {
        self.schema_version == Some(1)
    }
}

/// What is wrong with an image that Docker pushed before 2016. (T-227)
const SCHEMA_1: &str = "the image is of Docker's manifest schema 1, which is obsolete: build it again, or pull and push it \
                        with skopeo copy --format oci";

fn accept_documents() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&oci::DOCUMENT_TYPES.join(", ")) {
        headers.insert(ACCEPT, value);
    }
    headers
}

/// The digest that an answer names, where it names one of an algorithm in use here.
fn named_digest(answer: &Answer) -> Option<Digest> {
    answer.header(CONTENT_DIGEST)?.parse().ok()
}

fn media_type(answer: &Answer) -> Option<String> {
    let value = answer.header(CONTENT_TYPE)?;
    let value = value.split(';').next().unwrap_or(value).trim();
    (!value.is_empty() && value.len() <= 255).then(|| value.to_owned())
}

/// What a registry says of an index or manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestLookup {
    /// It is there.
    Found(Box<Descriptor>),
    /// It is not there.
    Absent,
    /// The registry does not say.
    Unknown,
}

impl ManifestLookup {
    /// The manifest, where it is known to be there.
    pub fn found(self) -> Option<Descriptor> {
        if let Self::Found(descriptor) = self { Some(*descriptor) } else { None }
    }
}

impl Repository {
    fn manifest_name(&self, selector: &Selector) -> String {
        let separator = if matches!(selector, Selector::Tag(_)) { ':' } else { '@' };
        format!("manifest {}/{}{separator}{selector}", self.registry(), self.name())
    }

    /// Type, digest and size of an index or manifest, or `None` where there is none. Where `HEAD` is refused or says too
    /// little, a `GET` decides.
    ///
    /// # Errors
    /// All but [`RegistryError::NotFound`].
    pub async fn head_manifest(&self, selector: &Selector) -> Result<Option<Descriptor>, RegistryError> {
        self.find_manifest(selector, false).await.map(ManifestLookup::found)
    }

    /// What is there of an index or manifest that may have to be pushed. Where the registry does not say, or
    /// fails, it has to be: then the push decides.
    ///
    /// # Errors
    /// [`RegistryError`], but no refusal.
    pub async fn head_manifest_for_push(
        &self,
        selector: &Selector,
    ) -> Result<Option<Descriptor>, RegistryError> {
        self.look_up_for_push(selector).await.map(ManifestLookup::found)
    }

    /// The same, for somebody to whom it matters whether nothing is there, or the registry does not say.
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
        let (capabilities, registry) = (&self.inner.capabilities, self.registry());
        let known = capabilities.head(registry, Kind::Manifest);
        let (mut unclear, mut failed) = (false, false);
        if known != HeadSupport::Contradicted {
            match self.head(selector).await? {
                Head::Is(descriptor) => return Ok(ManifestLookup::Found(descriptor)),
                Head::Absent => return Ok(ManifestLookup::Absent),
                Head::Unclear { .. } if for_push && known == HeadSupport::RefusedAlike => {
                    return Ok(ManifestLookup::Unknown);
                }
                Head::Unclear { lasting } => (unclear, failed) = (lasting, !lasting),
            }
        }
        let learn = |support| {
            if unclear {
                capabilities.set_head(registry, Kind::Manifest, support);
            }
        };
        match self.manifest(selector).await {
            Ok(found) => {
                learn(HeadSupport::Contradicted);
                let size = found.bytes.len() as u64;
                let found = Descriptor::new(found.media_type, found.digest, size);
                Ok(ManifestLookup::Found(Box::new(found)))
            }
            Err(RegistryError::NotFound { .. }) => {
                learn(HeadSupport::Contradicted);
                Ok(ManifestLookup::Absent)
            }
            // The registry answers, and fails for this manifest alone: the push mends it.
            Err(RegistryError::Unavailable { .. }) if for_push && failed => Ok(ManifestLookup::Unknown),
            Err(error) => {
                if error.is_refusal() {
                    learn(HeadSupport::RefusedAlike);
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
            match attempts.after(failure).await {
                Ok(()) => {}
                Err(error) if error.is_refusal() => return Ok(Head::Unclear { lasting: true }),
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_head(&self, selector: &Selector) -> Result<Head, Failure> {
        let asking = self.asking(self.pulling(), self.manifest_name(selector)).await?;
        let url = self.url(&asking, format_args!("manifests/{selector}"))?;
        let answer = self.inner.ask(&asking, &Method::HEAD, &url, &accept_documents()).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Head::Absent),
            status if is_passing(status) => return Err(self.inner.rejected(&asking, answer).await),
            status => {
                let lasting = !status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED;
                return Ok(Head::Unclear { lasting });
            }
        }
        // Its length is not that of the manifest.
        if answer.is_encoded() {
            return Ok(Head::Unclear { lasting: true });
        }
        let named = named_digest(&answer);
        if let (Selector::Digest(asked), Some(named)) = (selector, named) {
            self.same_digest(&asking, *asked, named)?;
        }
        let asked = if let Selector::Digest(asked) = selector { Some(*asked) } else { None };
        let known = media_type(&answer).filter(|media_type| oci::is_document(media_type));
        match (known, asked.or(named), answer.length()) {
            (Some(media_type), Some(digest), Some(size)) if size > 0 => {
                Ok(Head::Is(Box::new(Descriptor::new(media_type, digest, size))))
            }
            _ => Ok(Head::Unclear { lasting: true }),
        }
    }

    fn same_digest(&self, asking: &Asking<'_>, expected: Digest, got: Digest) -> Result<(), Failure> {
        if expected == got {
            return Ok(());
        }
        let (registry, what) = (self.registry().clone(), asking.purpose.what.clone());
        Err(Failure::again(RegistryError::OtherDigest { registry, what, expected, got }))
    }

    /// An index or manifest.
    ///
    /// # Errors
    /// [`RegistryError::Content`] where the bytes are not those of the digest that was asked for, and the others.
    pub async fn manifest(&self, selector: &Selector) -> Result<FetchedManifest, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            match self.try_manifest(selector).await {
                Ok(manifest) => return Ok(manifest),
                Err(failure) => attempts.after(failure).await?,
            }
        }
    }

    async fn try_manifest(&self, selector: &Selector) -> Result<FetchedManifest, Failure> {
        let asking = self.asking(self.pulling(), self.manifest_name(selector)).await?;
        let url = self.url(&asking, format_args!("manifests/{selector}"))?;
        let mut answer = self.inner.ask(&asking, &Method::GET, &url, &accept_documents()).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.inner.rejected(&asking, answer).await);
        }
        let stated = media_type(&answer);
        let named = named_digest(&answer);
        let bytes = answer.body(oci::MAX_DOCUMENT, &asking.purpose).await?;
        let digest = Digest::of(&bytes);
        let compared = match selector {
            Selector::Digest(asked) if *asked != digest => {
                let source = ContentMismatch::Digest { expected: *asked, got: digest };
                let what = asking.purpose.what.clone();
                Err(Failure::again(RegistryError::Content { what, source }))
            }
            Selector::Digest(_) => Ok(()),
            Selector::Tag(_) => named.map_or(Ok(()), |named| self.same_digest(&asking, digest, named)),
        };
        // Content that was encoded or replaced on the way is not damaged. What is right under its digest is right,
        // whatever its headers say; a tag does not tell, but every manifest is a JSON object.
        if compared.is_err() || (named.is_none() && !bytes.trim_ascii_start().starts_with(b"{")) {
            answer.intercepted(&asking.purpose, &bytes).map_or(compared, Err)?;
        }
        // Some registries and proxies say `application/json` or nothing; then the document speaks for itself.
        let media_type = stated.filter(|stated| oci::is_document(stated)).or_else(|| {
            let limit = usize::try_from(oci::MAX_DOCUMENT).unwrap_or(usize::MAX);
            crate::json::parse::<Typed>(&bytes, limit).ok()?.media_type.filter(|own| oci::is_document(own))
        });
        let Some(media_type) = media_type else {
            let schema_1 = crate::json::parse::<Typed>(&bytes, bytes.len()).is_ok_and(|of| of.is_schema_1());
            let detail =
                if schema_1 { SCHEMA_1 } else { "what it delivers is neither an index nor a manifest" };
            let unknown = || protocol(&asking.purpose, detail).into();
            return Err(answer.intercepted(&asking.purpose, &bytes).unwrap_or_else(unknown));
        };
        Ok(FetchedManifest { media_type, digest, bytes })
    }

    /// Stores an index or manifest under its digest or under a tag. Answers the subject that the registry says it
    /// has processed (`OCI-Subject`): then its referrers API lists the manifest.
    ///
    /// # Errors
    /// [`RegistryError::OtherDigest`] where the registry stored it under another digest, and the others. (T-58)
    pub async fn push_manifest(
        &self,
        selector: &Selector,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Option<Digest>, RegistryError> {
        let digest = Digest::of(&bytes);
        if let Selector::Digest(asked) = selector
            && *asked != digest
        {
            let source = SourceError::Corrupt(ContentMismatch::Digest { expected: *asked, got: digest });
            return Err(RegistryError::Source { digest: *asked, source });
        }
        let mut attempts = self.attempts();
        loop {
            match self.try_push(selector, media_type, digest, bytes.clone()).await {
                Ok(subject) => return Ok(subject),
                Err(failure) => attempts.after(failure).await?,
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
        let asking = self.asking(Scope::push(self.name()), self.manifest_name(selector)).await?;
        let url = self.url(&asking, format_args!("manifests/{selector}"))?;
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| protocol(&asking.purpose, "its media type cannot be sent"))?;
        headers.insert(CONTENT_TYPE, media_type);
        let answer = self.inner.ask_with(&asking, &Method::PUT, &url, headers, Payload::small(bytes)).await?;
        if !answer.status().is_success() {
            return Err(self.inner.rejected(&asking, answer).await.of_push(asking.purpose.registry));
        }
        if let Some(named) = named_digest(&answer) {
            self.same_digest(&asking, digest, named)?;
        }
        Ok(answer.header(SUBJECT).and_then(|subject| subject.parse().ok()))
    }
}
