// SPDX-License-Identifier: Apache-2.0
//! The referrers of a manifest: signatures, SBOMs, attestations (referrers API, and the referrers tag schema).
//!
//! Registries and clients that write these lists make mistakes. An unusable entry does not affect the others.

use std::collections::HashSet;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::json::JsonError;
use crate::oci::digest::Digest;
use crate::oci::reference::{Selector, Tag};
use crate::oci::{self, Descriptor, MAX_ENTRIES, MAX_MANIFEST, OCI_INDEX};
use crate::redact::printable;
use crate::registry::client::repository::Repository;
use crate::registry::content::pages::next_page;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;

/// Most pages of a list of referrers.
const MAX_REFERRER_PAGES: usize = 100;

/// The referrers of a manifest, as a registry lists them.
#[derive(Debug, Default)]
pub struct ReferrerList {
    /// Indexes and manifests, each once, in the order of the list. Media type, size and artifact type are what the
    /// list says.
    pub found: Vec<Descriptor>,
    /// Entries that cannot be used.
    pub unusable: Vec<UnusableEntry>,
    /// Why the list is truncated.
    pub cut_off: Option<RegistryError>,
}

/// An entry of a list of referrers that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableEntry {
    /// Artifact type, if the entry states one.
    pub artifact_type: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// The result of the referrers API.
#[derive(Debug)]
pub enum ReferrersApi {
    /// The registry has a list, which may be empty.
    Listed(ReferrerList),
    /// The registry has no referrers API for this repository.
    Unsupported,
    /// The registry does not know the manifest, and reports it with a status that the API does not define.
    UnknownManifest,
}

/// The content of the referrers tag (distribution-spec 1.1, "Referrers Tag Schema").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferrersTag {
    /// Nothing.
    Absent,
    /// An index, which is to be read as a list ([`ReferrerList::parse`]).
    List(Bytes),
    /// Something else.
    NotAList(String),
}

/// An index that may be empty, other than one of an image.
#[derive(Deserialize)]
struct List {
    manifests: Option<Vec<Value>>,
}

/// The used fields of an entry. Mistakes in other fields do not matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
}

impl ReferrerList {
    /// Parses a list. An unusable entry does not affect the others.
    ///
    /// # Errors
    /// [`JsonError`]: not a list at all.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
        let list = crate::json::parse::<List>(bytes, limit)?;
        let mut read = Self::default();
        for entry in list.manifests.unwrap_or_default() {
            match parse_entry(entry) {
                Ok(descriptor) => read.found.push(descriptor),
                Err(unusable) => read.unusable.push(unusable),
            }
        }
        Ok(read)
    }

    /// Adds what is new in `page`. Returns whether there is room for more.
    fn extend(&mut self, page: Self, known: &mut HashSet<Digest>) -> bool {
        let new = page.found.into_iter().filter(|descriptor| known.insert(descriptor.digest));
        self.found.extend(new);
        self.unusable.extend(page.unusable);
        self.found.len() + self.unusable.len() <= MAX_ENTRIES
    }
}

fn parse_entry(entry: Value) -> Result<Descriptor, UnusableEntry> {
    let unusable = |artifact_type, reason| UnusableEntry { artifact_type, reason };
    let entry = serde_json::from_value::<Entry>(entry).map_err(|error| {
        unusable(None, format!("an entry of the list of referrers cannot be read: {error}"))
    })?;
    let artifact_type = entry.artifact_type.map(|artifact_type| printable(&artifact_type, 200));
    let shown = printable(&entry.digest, 140);
    let Ok(digest) = entry.digest.parse::<Digest>() else {
        let reason = format!("`{shown}` is not a digest that krs can check (sha256)");
        return Err(unusable(artifact_type, reason));
    };
    if !oci::is_manifest(&entry.media_type) {
        let media_type = printable(&entry.media_type, 100);
        let reason =
            format!("{shown} is of media type `{media_type}`, which is neither an index nor a manifest");
        return Err(unusable(artifact_type, reason));
    }
    let mut descriptor = Descriptor::new(entry.media_type, digest, entry.size);
    descriptor.artifact_type = artifact_type;
    Ok(descriptor)
}

enum Page {
    Listed {
        list: Box<ReferrerList>,
        /// Its URL, and the URL of the next page.
        url: Url,
        next: Option<Url>,
    },
    Unsupported,
    UnknownManifest,
}

impl Repository {
    /// Queries the referrers API.
    ///
    /// # Errors
    /// [`RegistryError`] if the first page cannot be fetched; a failure of a later one is in the list.
    pub async fn referrers_by_api(&self, digest: &Digest) -> Result<ReferrersApi, RegistryError> {
        let (mut list, mut known) = (ReferrerList::default(), HashSet::new());
        let (mut next, mut visited) = (None::<Url>, HashSet::new());
        let mut detail = format!("it has more than {MAX_REFERRER_PAGES} pages");
        for _ in 0..MAX_REFERRER_PAGES {
            let (page, following) = match self.referrers_page(digest, next.as_ref()).await {
                Ok(Page::Listed { list, url, next }) => {
                    visited.insert(url);
                    (*list, next)
                }
                Ok(Page::Unsupported) => return Ok(ReferrersApi::Unsupported),
                Ok(Page::UnknownManifest) => return Ok(ReferrersApi::UnknownManifest),
                Err(error) if next.is_none() => return Err(error),
                Err(error) => {
                    list.cut_off = Some(error);
                    return Ok(ReferrersApi::Listed(list));
                }
            };
            let room = list.extend(page, &mut known);
            next = match following {
                Some(url) if room && visited.contains(&url) => {
                    detail = "the list continues with a page that was read already".to_owned();
                    break;
                }
                Some(url) if room => Some(url),
                None if room => return Ok(ReferrersApi::Listed(list)),
                _ => {
                    detail = format!("it lists more than {MAX_ENTRIES} referrers");
                    break;
                }
            };
        }
        let (registry, what) = (self.registry().clone(), self.referrers_name(digest));
        list.found.truncate(MAX_ENTRIES);
        list.cut_off = Some(RegistryError::Protocol { registry, what, detail });
        Ok(ReferrersApi::Listed(list))
    }

    /// Fetches the content of the referrers tag.
    ///
    /// # Errors
    /// Any [`RegistryError`] except [`RegistryError::NotFound`].
    pub async fn referrers_tag(&self, subject: &Digest) -> Result<ReferrersTag, RegistryError> {
        let Some(tag) = referrers_tag(subject) else { return Ok(ReferrersTag::Absent) };
        let found = match self.manifest(&Selector::Tag(tag.clone())).await {
            Ok(found) => found,
            Err(RegistryError::NotFound { .. }) => return Ok(ReferrersTag::Absent),
            Err(error) => return Err(error),
        };
        // GitLab takes `sha256-HEX` for the digest, and an image that is an index would be read as a list.
        if found.digest == *subject {
            let reason = format!("the registry takes the tag {tag} for the digest of the image");
            return Ok(ReferrersTag::NotAList(reason));
        }
        if found.media_type != OCI_INDEX {
            let reason = format!("there is a manifest of type `{}` under the tag {tag}", found.media_type);
            return Ok(ReferrersTag::NotAList(reason));
        }
        Ok(ReferrersTag::List(found.bytes))
    }

    /// Parses the content of the referrers tag.
    ///
    /// # Errors
    /// [`RegistryError::Protocol`]: it is not a list.
    pub fn referrer_list(&self, subject: &Digest, bytes: &[u8]) -> Result<ReferrerList, RegistryError> {
        let mut list = ReferrerList::default();
        let parsed = ReferrerList::parse(bytes).map_err(|error| RegistryError::Protocol {
            registry: self.registry().clone(),
            what: self.referrers_name(subject),
            detail: format!("the list under the tag that stands in for the API cannot be read: {error}"),
        })?;
        list.extend(parsed, &mut HashSet::new());
        Ok(list)
    }

    fn referrers_name(&self, digest: &Digest) -> String {
        format!("referrers of {}/{}@{digest}", self.registry(), self.name())
    }

    async fn referrers_page(&self, digest: &Digest, page: Option<&Url>) -> Result<Page, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            match self.try_referrers(digest, page).await {
                Ok(page) => return Ok(page),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    async fn try_referrers(&self, digest: &Digest, page: Option<&Url>) -> Result<Page, Failure> {
        let context = self.context(self.pull_scope(), self.referrers_name(digest)).await?;
        let first = self.url(&context, format_args!("referrers/{digest}"))?;
        let url = page.unwrap_or(&first);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(OCI_INDEX));
        let mut response = self.shared.auth.request(&context, &Method::GET, url, &headers).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::NOT_IMPLEMENTED
                if page.is_none() =>
            {
                return Ok(match self.shared.auth.rejected(&context, response).await {
                    Failure::Final(error) if is_about_the_manifest(&error) => Page::UnknownManifest,
                    _ => Page::Unsupported,
                });
            }
            _ => return Err(self.shared.auth.rejected(&context, response).await),
        }
        // Some registries answer every path with 200. A web page comes from a proxy and says nothing about the registry.
        if page.is_none() && !response.header(CONTENT_TYPE).is_some_and(|value| value.starts_with(OCI_INDEX))
        {
            let body = response.beginning(&context.operation).await;
            return response.intercepted(&context.operation, &body).map_or(Ok(Page::Unsupported), Err);
        }
        let next = next_page(&context, &response)?;
        let bytes = response.body(MAX_MANIFEST, &context.operation).await?;
        let list = ReferrerList::parse(&bytes).map_err(|error| {
            let unreadable =
                || context.operation.invalid_response(format!("the list cannot be read: {error}")).into();
            response.intercepted(&context.operation, &bytes).unwrap_or_else(unreadable)
        })?;
        Ok(Page::Listed { list: Box::new(list), url: url.clone(), next })
    }
}

/// The referrers tag of a manifest: `sha256-<hex>`.
pub fn referrers_tag(subject: &Digest) -> Option<Tag> {
    // Always a tag: 71 letters, digits and a `-`.
    format!("sha256-{}", subject.hex()).parse().ok()
}

/// Whether a registry that has the API answers 404 because it does not know this manifest. Others may still
/// have referrers.
fn is_about_the_manifest(error: &RegistryError) -> bool {
    matches!(error, RegistryError::NotFound { detail, .. } if detail.contains("MANIFEST_UNKNOWN"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_entry_of_a_list_costs_only_itself() {
        let good = Digest::of(b"good");
        let entry = |more: &str| {
            format!(r#"{{"mediaType":"{}","digest":"{good}","size":7{more}}}"#, oci::OCI_MANIFEST)
        };
        let odd = [
            r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1,"artifactType":"a/b"}"#.to_owned(),
            format!(r#"{{"mediaType":"{}","digest":"sha512:{}","size":1}}"#, oci::OCI_MANIFEST, "a".repeat(128)),
            format!(r#"{{"mediaType":"{}","digest":"{good}","size":-7}}"#, oci::OCI_MANIFEST),
            "null".to_owned(),
            "3".to_owned(),
        ];
        let harmless = entry(r#","platform":{},"annotations":{"a":null},"urls":null,"artifactType":"x/y""#);
        for odd in &odd {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{odd},{harmless}]}}"#);
            let list = ReferrerList::parse(text.as_bytes()).unwrap();
            assert_eq!(list.unusable.len(), 1, "{odd}");
            assert_eq!(list.found.iter().map(|found| found.digest).collect::<Vec<_>>(), [good], "{odd}");
            assert_eq!(list.found[0].artifact_type.as_deref(), Some("x/y"));
        }
        assert!(ReferrerList::parse(br#"{"manifests":null}"#).unwrap().found.is_empty());
        for wrong in ["[]", "<html>", r#"{"manifests":{}}"#, r#"{"manifests":[],"manifests":[]}"#] {
            assert!(ReferrerList::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
