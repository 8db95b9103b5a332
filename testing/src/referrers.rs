// SPDX-License-Identifier: Apache-2.0
//! What a registry lists as referring to an image.

use krs_core::oci::digest::Digest;
use krs_core::registry::{ReferrersApi, ReferrersTag, Repository};

/// What a repository lists as referring to `subject`, in its order: by the API, else under the tag that stands in for it.
///
/// # Panics
/// The list cannot be read, or not as a whole.
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
