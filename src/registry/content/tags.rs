// SPDX-License-Identifier: Apache-2.0
//! The tags of a repository, which a registry lists in pages.

use std::collections::{BTreeSet, HashSet};

use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::oci::reference::Tag;
use crate::redact::printable;
use crate::registry::client::repository::Repository;
use crate::registry::content::pages::next_page;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;

/// Largest page of a list of tags, in bytes.
pub(in crate::registry) const MAX_PAGE: u64 = 8 << 20;
/// Most pages of a list.
const MAX_PAGES: usize = 1000;
/// Most tags of a repository.
const MAX_TAGS: usize = 200_000;
/// Most invalid entries that are reported, and most characters of one.
const MAX_INVALID: usize = 1000;
const MAX_SHOWN: usize = 150;
/// Tags of one page, if the registry lets the client choose.
const PAGE_SIZE: usize = 1000;

#[derive(Deserialize)]
pub(in crate::registry) struct TagList {
    tags: Option<Vec<Value>>,
}

impl TagList {
    /// The entries of the list that are strings.
    pub(in crate::registry) fn names(self) -> Vec<String> {
        let text = |entry| if let Value::String(text) = entry { Some(text) } else { None };
        self.tags.unwrap_or_default().into_iter().filter_map(text).collect()
    }

    /// Adds the tags to `read`, and the other entries to its invalid entries.
    fn add_to(self, read: &mut ReadableTags) {
        for entry in self.tags.unwrap_or_default() {
            match entry.as_str().and_then(|text| text.parse::<Tag>().ok()) {
                Some(tag) => {
                    read.tags.insert(tag);
                }
                None if read.invalid.len() < MAX_INVALID => {
                    let shown = entry.as_str().map_or_else(|| entry.to_string(), |text| format!("`{text}`"));
                    read.invalid.insert(printable(&shown, MAX_SHOWN));
                }
                None => {}
            }
        }
    }
}

/// The tags of a repository, as far as they can be read.
#[derive(Debug, Default)]
pub struct ReadableTags {
    /// Those that are valid.
    pub tags: BTreeSet<Tag>,
    /// Entries of the list that are not valid tags and cannot be requested. If there are very many, only the first.
    pub invalid: BTreeSet<String>,
    /// Why there may be more.
    pub error: Option<RegistryError>,
}

/// A page of the list of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Page {
    /// The first, of [`PAGE_SIZE`] tags.
    First,
    /// The first, with the registry's own size: some refuse `n`, or a value this large.
    Unsized,
    At(Url),
}

impl Repository {
    /// The tags as far as they can be read, and why the others cannot; none if the repository does not exist.
    pub async fn readable_tags(&self) -> ReadableTags {
        let mut tags = ReadableTags::default();
        tags.error = self.read_tags(&mut tags).await.err();
        tags
    }

    fn tags_name(&self) -> String {
        format!("tags of {}/{}", self.registry(), self.name())
    }

    async fn read_tags(&self, tags: &mut ReadableTags) -> Result<(), RegistryError> {
        let wrong = |detail: String| {
            let (registry, what) = (self.registry().clone(), self.tags_name());
            RegistryError::Protocol { registry, what, detail }
        };
        let (mut page, mut read) = (Page::First, HashSet::new());
        for _ in 0..MAX_PAGES {
            // Each page has attempts of its own: occasional failures do not end a long list.
            let mut attempts = self.attempts();
            let (url, next) = loop {
                match self.try_tags(&page, tags).await {
                    Ok(outcome) => break outcome,
                    Err(failure) => attempts.wait_after(failure).await?,
                }
            };
            read.insert(url);
            match next {
                None => return Ok(()),
                Some(next) => page = next,
            }
            if let Page::At(url) = &page
                && read.contains(url)
            {
                return Err(wrong("the list continues with a page that was read already".to_owned()));
            }
            if tags.tags.len() > MAX_TAGS {
                break;
            }
        }
        Err(wrong(format!("the list has more than {MAX_PAGES} pages or {MAX_TAGS} tags")))
    }

    /// Reads one page. Returns its URL and the URL of the next one.
    async fn try_tags(&self, page: &Page, tags: &mut ReadableTags) -> Result<(Url, Option<Page>), Failure> {
        let context = self.context(self.pull_scope(), self.tags_name()).await?;
        let url = match page {
            Page::First => self.url(&context, format_args!("tags/list?n={PAGE_SIZE}"))?,
            Page::Unsized => self.url(&context, "tags/list")?,
            Page::At(url) => url.clone(),
        };
        let mut response = self.shared.auth.request(&context, &Method::GET, &url, &HeaderMap::new()).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.shared.auth.rejected(&context, response).await);
            }
            // The limit of `n` is not specified, so that any other refusal may be because of `n`.
            status
                if *page == Page::First
                    && (status.is_client_error()
                        || matches!(
                            status,
                            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_IMPLEMENTED
                        )) =>
            {
                return Ok((url, Some(Page::Unsized)));
            }
            StatusCode::NOT_FOUND => return Ok((url, None)),
            _ => return Err(self.shared.auth.rejected(&context, response).await),
        }
        let next = next_page(&context, &response)?;
        let body = response.body(MAX_PAGE, &context.operation).await?;
        let list = serde_json::from_slice::<TagList>(&body).map_err(|error| {
            response.intercepted(&context.operation, &body).unwrap_or_else(|| {
                context.operation.invalid_response(format!("the list cannot be read: {error}")).into()
            })
        })?;
        list.add_to(tags);
        Ok((url, next.map(Page::At)))
    }
}
