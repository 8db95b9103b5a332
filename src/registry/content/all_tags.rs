// SPDX-License-Identifier: Apache-2.0
//! Lists all tags of a repository in a few requests, so that not every possible tag has to be requested. A list that may be
//! truncated says nothing about the tags that are not in it, and many registries truncate lists without saying so.

use std::collections::HashSet;

use http::{HeaderMap, Method, StatusCode};

use crate::oci::reference::Tag;
use crate::registry::client::repository::Repository;
use crate::registry::content::pages::next_page;
use crate::registry::content::tags::{MAX_PAGE, TagList};
use crate::registry::failure::outcome::Failure;

/// Tags that are requested of one page.
const PAGE_SIZE: usize = 1000;
/// Most pages that are requested: beyond this, requesting single tags is cheaper.
const MAX_PAGES: usize = 4;
/// Sorts after `sha256-HEX` and everything that starts with it.
const BEHIND_DIGESTS: &str = "sha256-g";

/// Whether a list, in the order in which registries sort, continues after the tags that are made of a digest. Then none of
/// these was cut off.
fn is_past_digests(tags: &[String]) -> bool {
    tags.is_sorted() && tags.last().is_some_and(|last| last.as_str() >= BEHIND_DIGESTS)
}

impl Repository {
    /// All tags of the repository, at least all of the kind `sha256-HEX…`, if a few requests are sure to list them. It
    /// only saves requests, so that any failure is `None`.
    pub async fn all_tags(&self) -> Option<HashSet<Tag>> {
        let (mut all, mut last) = (Vec::<String>::new(), None);
        for _ in 0..MAX_PAGES {
            let page = self.page_of_tags(last.as_deref()).await?;
            // An endless list, or a registry that ignores `last`: the end of the list is not known.
            let known = all.iter().collect::<HashSet<_>>();
            if page.iter().any(|tag| known.contains(tag)) {
                return None;
            }
            last = page.last().cloned();
            let is_last = last.is_none() && !all.is_empty();
            all.extend(page);
            if is_last || is_past_digests(&all) {
                // An invalid tag cannot be requested either.
                return Some(all.iter().filter_map(|tag| tag.parse().ok()).collect());
            }
            last.as_ref()?;
        }
        None
    }

    /// The tags after `last`; `None` if they cannot be read, or the registry says that there are more.
    async fn page_of_tags(&self, last: Option<&str>) -> Option<Vec<String>> {
        let repository = self.optional();
        let mut attempts = repository.attempts();
        loop {
            match repository.try_page_of_tags(last).await {
                Ok(tags) => return tags,
                Err(Failure::Retryable(_)) => return None,
                Err(failure) => attempts.wait_after(failure).await.ok()?,
            }
        }
    }

    async fn try_page_of_tags(&self, last: Option<&str>) -> Result<Option<Vec<String>>, Failure> {
        let what = format!("tags of {}/{}", self.registry(), self.name());
        let context = self.context(self.pull_scope(), what).await?;
        let mut url = self.url(&context, format_args!("tags/list?n={PAGE_SIZE}"))?;
        url.query_pairs_mut().extend_pairs(last.map(|last| ("last", last)));
        let mut response = self.shared.auth.request(&context, &Method::GET, &url, &HeaderMap::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(self.shared.auth.rejected(&context, response).await);
        }
        if next_page(&context, &response)?.is_some() {
            return Ok(None);
        }
        let body = response.body(MAX_PAGE, &context.operation).await?;
        let list = serde_json::from_slice::<TagList>(&body).map_err(|error| {
            context.operation.invalid_response(format!("the list cannot be read: {error}"))
        })?;
        Ok(Some(list.names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_past_the_digests_where_its_order_shows_it() {
        let past =
            |tags: &[&str]| is_past_digests(&tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>());
        let last = format!("sha256-{}.sig", "f".repeat(64));
        assert!(past(&["1.0", "latest", "v1"]) && past(&["1.0", &last, "sha256-g"]));
        assert!(!past(&[]) && !past(&["1.0", "latest"]) && !past(&["1.0", &last]));
        assert!(!past(&["v1", "1.0", "v2"]), "in another order the last tag tells nothing");
    }
}
