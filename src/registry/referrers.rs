// SPDX-License-Identifier: Apache-2.0
//! What refers to an image: signatures, SBOMs, attestations (referrers API, else the fallback tag).

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::client::Repository;
use super::error::RegistryError;
use super::manifest::{MAX_PAGES, next_page};
use super::retry::{Attempts, Failure};
use super::transport::protocol;
use crate::digest::Digest;
use crate::oci::{self, Descriptor, MAX_DOCUMENT, MAX_ENTRIES, OCI_INDEX};
use crate::reference::Selector;

/// An index that may be empty, other than one of an image.
#[derive(Deserialize)]
struct List {
    manifests: Option<Vec<Descriptor>>,
}

enum Page {
    Listed(Vec<Descriptor>, Option<Url>),
    /// The registry does not have the referrers API.
    NoApi,
}

fn read(bytes: &[u8]) -> Result<Vec<Descriptor>, crate::json::JsonError> {
    let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
    Ok(crate::json::parse::<List>(bytes, limit)?.manifests.unwrap_or_default())
}

impl Repository {
    /// What refers to the document of this digest: signatures, SBOMs, attestations. In the registry's order,
    /// each once; what is neither an index nor a manifest is left out.
    ///
    /// # Errors
    /// [`RegistryError`], also where there are more referrers than are accepted.
    pub async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let mut found: Vec<Descriptor> = Vec::new();
        let mut next = None;
        let mut attempts = Attempts::new(&self.inner);
        for _ in 0..MAX_PAGES {
            let page = loop {
                match self.try_referrers(digest, next.as_ref()).await {
                    Ok(page) => break page,
                    Err(failure) => attempts.after(failure).await?,
                }
            };
            let following = match page {
                Page::NoApi => {
                    add(&mut found, self.referrers_by_tag(digest).await?);
                    None
                }
                Page::Listed(page, following) => {
                    add(&mut found, page);
                    following
                }
            };
            if found.len() > MAX_ENTRIES {
                break;
            }
            match following {
                None => return Ok(found),
                Some(url) => next = Some(url),
            }
        }
        let what = self.referrers_name(digest);
        let detail = format!("it lists more than {MAX_ENTRIES} referrers");
        Err(RegistryError::Protocol { registry: self.registry().clone(), what, detail })
    }

    fn referrers_name(&self, digest: &Digest) -> String {
        format!("referrers of {}/{}@{digest}", self.registry(), self.name())
    }

    async fn try_referrers(&self, digest: &Digest, page: Option<&Url>) -> Result<Page, Failure> {
        let asking = self.asking(self.pulling(), self.referrers_name(digest)).await?;
        let first = self.url(&asking, format_args!("referrers/{digest}"))?;
        let url = page.unwrap_or(&first);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(OCI_INDEX));
        let mut answer = self.inner.ask(&asking, &Method::GET, url, &headers).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::NOT_IMPLEMENTED
                if page.is_none() =>
            {
                return Ok(Page::NoApi);
            }
            _ => return Err(self.inner.rejected(&asking, answer).await),
        }
        // Something before the registry that answers everything, for example with a page for people.
        if page.is_none() && !answer.header(CONTENT_TYPE).is_some_and(|value| value.starts_with(OCI_INDEX)) {
            return Ok(Page::NoApi);
        }
        let next = next_page(&asking, &answer)?;
        let bytes = answer.body(MAX_DOCUMENT, &asking.purpose).await?;
        let list = read(&bytes)
            .map_err(|error| protocol(&asking.purpose, format!("the list cannot be read: {error}")))?;
        Ok(Page::Listed(list, next))
    }

    /// Where there is no referrers API, clients keep the list under the tag `sha256-<hex>`.
    async fn referrers_by_tag(&self, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let Ok(tag) = format!("sha256-{}", digest.hex()).parse() else { return Ok(Vec::new()) };
        let list = match self.manifest(&Selector::Tag(tag)).await {
            Ok(list) => list,
            Err(RegistryError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if list.media_type != OCI_INDEX {
            return Ok(Vec::new());
        }
        read(&list.bytes).map_err(|error| RegistryError::Protocol {
            registry: self.registry().clone(),
            what: self.referrers_name(digest),
            detail: format!("the list under the fallback tag cannot be read: {error}"),
        })
    }
}

fn add(found: &mut Vec<Descriptor>, page: Vec<Descriptor>) {
    for descriptor in page {
        let known = found.iter().any(|known| known.digest == descriptor.digest);
        if !known && oci::is_document(&descriptor.media_type) && found.len() <= MAX_ENTRIES {
            found.push(descriptor);
        }
    }
}
