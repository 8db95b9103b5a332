// SPDX-License-Identifier: Apache-2.0
//! Parses requests (OCI distribution-spec, "Endpoints"). Pure.

use crate::oci::digest::Digest;
use crate::oci::reference::Selector;

/// A request of the pull part of the specification.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest(&'a str, Selector),
    /// `/v2/NAME/blobs/DIGEST`
    Blob(&'a str, Digest),
    /// `/v2/NAME/tags/list`
    Tags(&'a str),
    /// `/v2/NAME/referrers/DIGEST`
    Referrers(&'a str, Digest),
    /// An invalid reference or digest.
    Malformed(&'static str),
    /// Anything else.
    Unknown,
}

/// Parses the path of a request.
pub fn route(path: &str) -> Route<'_> {
    let Some(rest) = path.strip_prefix("/v2") else { return Route::Unknown };
    let rest = match rest {
        "" | "/" => return Route::Base,
        "/_catalog" => return Route::Catalog,
        rest => rest.trim_start_matches('/'),
    };
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Route::Tags(name);
    }
    let Some((before, last)) = rest.rsplit_once('/') else { return Route::Unknown };
    let Some((name, kind)) = before.rsplit_once('/') else { return Route::Unknown };
    let digest = || last.parse::<Digest>();
    match kind {
        "manifests" => match last.parse() {
            Ok(selector) => Route::Manifest(name, selector),
            Err(_) if last.contains(':') => Route::Malformed("DIGEST_INVALID"),
            Err(_) => Route::Malformed("MANIFEST_INVALID"),
        },
        "blobs" => digest().map_or(Route::Malformed("DIGEST_INVALID"), |digest| Route::Blob(name, digest)),
        "referrers" => {
            digest().map_or(Route::Malformed("DIGEST_INVALID"), |digest| Route::Referrers(name, digest))
        }
        _ => Route::Unknown,
    }
}

/// The value of `key` in a query, with `%xx` and `+` decoded.
pub(super) fn query(query: Option<&str>, key: &str) -> Option<String> {
    let pairs = url::form_urlencoded::parse(query?.as_bytes());
    pairs.into_iter().find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
}

/// A range of a blob: first byte and number of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// The complete blob: no range was requested, or one that a server may ignore.
    Full,
    /// The offset of the first byte, and the number of bytes.
    Part(u64, u64),
    /// Outside the blob.
    Unsatisfiable,
}

/// Reads a `Range` header for content of `size` bytes (RFC 9110, section 14). Several ranges in one request are
/// ignored, which the RFC allows.
pub(super) fn range(header: Option<&str>, size: u64) -> Range {
    let Some(spec) = header.and_then(|header| header.strip_prefix("bytes=")) else { return Range::Full };
    let Some((first, last)) = spec.split_once('-') else { return Range::Full };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (first.trim(), last.trim()) {
        ("", "") => Range::Full,
        ("", suffix) => match number(suffix) {
            Some(0) => Range::Unsatisfiable,
            Some(_) if size == 0 => Range::Unsatisfiable,
            Some(length) => Range::Part(size.saturating_sub(length), length.min(size)),
            None => Range::Full,
        },
        (first, last) => {
            let end = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), end) {
                (Some(first), Some(last)) if last < first => Range::Full,
                (Some(first), Some(_)) if first >= size => Range::Unsatisfiable,
                (Some(first), Some(last)) => Range::Part(first, last.min(size - 1) - first + 1),
                _ => Range::Full,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_names_of_several_parts() {
        let digest = Digest::of(b"x");
        assert_eq!(route("/v2/"), Route::Base);
        assert_eq!(route("/v2/a/b/tags/list"), Route::Tags("a/b"));
        assert_eq!(route(&format!("/v2/a/b/blobs/{digest}")), Route::Blob("a/b", digest));
        assert_eq!(
            route(&format!("/v2/manifests/manifests/{digest}")),
            Route::Manifest("manifests", Selector::Digest(digest))
        );
        assert_eq!(route("/v2/a/blobs/sha256:12"), Route::Malformed("DIGEST_INVALID"));
        assert_eq!(route("/v2/a/manifests/.bad"), Route::Malformed("MANIFEST_INVALID"));
        for other in ["/", "/v1/x", "/v2/a", "/v2/a/uploads/1"] {
            assert_eq!(route(other), Route::Unknown, "{other}");
        }
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (header, expected) in [
            ("bytes=0-", Range::Part(0, 10)),
            ("bytes=3-5", Range::Part(3, 3)),
            ("bytes=3-99", Range::Part(3, 7)),
            ("bytes=-4", Range::Part(6, 4)),
            ("bytes=-40", Range::Part(0, 10)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-3", Range::Full),
            ("bytes=0-1,3-4", Range::Full),
            ("lines=1-2", Range::Full),
        ] {
            assert_eq!(range(Some(header), 10), expected, "{header}");
        }
        assert_eq!(range(Some("bytes=0-"), 0), Range::Unsatisfiable);
    }
}
