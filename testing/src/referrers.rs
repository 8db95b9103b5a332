// SPDX-License-Identifier: Apache-2.0
//! The referrers that a registry lists for an image.

use krs_core::oci::digest::Digest;
use krs_core::registry::{ReferrersApi, ReferrersTag, Repository};

/// The referrers of `subject` that a repository lists, in its order: by the API, or else by the referrers tag.
///
/// # Panics
/// The list cannot be read completely.
pub async fn referrers_of(repository: &Repository, subject: &Digest) -> Vec<Digest> {
    let list = match repository.referrers_by_api(subject).await.unwrap() {
        ReferrersApi::Listed(list) => list,
        ReferrersApi::Unsupported | ReferrersApi::UnknownManifest => {
            let found = repository.referrers_tag(subject).await.unwrap();
            let ReferrersTag::List(bytes) = found else { return Vec::new() };
            repository.referrer_list(subject, &bytes).unwrap()
        }
    };
    assert!(list.cut_off.is_none(), "{list:?}");
    list.found.iter().map(|found| found.digest).collect()
}
