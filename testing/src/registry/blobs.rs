// SPDX-License-Identifier: Apache-2.0
//! Reading and deleting blobs.

use std::ops::Range;

use axum::body::Body;
use http::{Response, StatusCode, header};
use krs_core::oci::digest::Digest;

use super::server::{Call, Reply, error, reply};
use super::state::Content;

/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

pub(crate) fn unknown() -> Reply {
    error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
}

pub(crate) fn digest_invalid(text: &str) -> Reply {
    let message = format!("provided digest did not match uploaded content, or is none: {text}");
    error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &message)
}

pub(crate) fn get(call: &Call, repository: &str, digest: &str) -> Reply {
    let Ok(digest) = digest.parse::<Digest>() else { return digest_invalid(digest) };
    let Some(content) = call.shared.state.stock().blob(repository, &digest) else { return unknown() };
    let all = content.len();
    let range_header = call.parts.headers.get(header::RANGE).filter(|_| call.shared.options.ranges);
    let range =
        match range_header.and_then(|range| range.to_str().ok()).and_then(|range| range_of(range, all)) {
            None => None,
            Some(Some(range)) => Some(range),
            Some(None) => {
                let mut reply = reply(416, "");
                reply.headers_mut().insert(header::CONTENT_RANGE, format!("bytes */{all}").parse().unwrap());
                return reply;
            }
        };
    let sent = range.clone().unwrap_or(0..all);
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, sent.end - sent.start)
        .header("docker-content-digest", digest.to_string())
        .header(header::ETAG, format!("\"{digest}\""));
    if call.shared.options.ranges {
        response = response.header(header::ACCEPT_RANGES, "bytes");
    }
    if let Some(range) = range {
        let value = format!("bytes {}-{}/{all}", range.start, range.end - 1);
        response = response.status(206).header(header::CONTENT_RANGE, value);
    }
    response.body(body(content, sent)).unwrap()
}

/// The part that a `Range` header asks for: `None` if it is not a single range of bytes (it is ignored then, as
/// RFC 9110 allows), `Some(None)` where it lies outside, or ends before it starts (RFC 9110 allows to ignore or to refuse
/// that; Distribution refuses it).
fn range_of(header: &str, all: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let suffix = last.parse::<u64>().ok()?;
        return Some((suffix > 0 && all > 0).then(|| all.saturating_sub(suffix)..all));
    }
    let first = first.parse::<u64>().ok()?;
    let last = if last.is_empty() { u64::MAX - 1 } else { last.parse().ok()? };
    Some((first < all && first <= last).then(|| first..last.saturating_add(1).min(all)))
}

/// Content in parts, so that a large blob is never completely in memory.
fn body(content: Content, range: Range<u64>) -> Body {
    let parts = futures::stream::unfold(range.start, move |offset| {
        let most = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(CHUNK);
        let read = (most > 0).then(|| content.read(offset, most));
        async move { read.map(|bytes| (bytes, offset + most as u64)) }
    });
    Body::from_stream(parts)
}

pub(crate) fn delete(call: &Call, repository: &str, digest: &str) -> Reply {
    let Ok(digest) = digest.parse::<Digest>() else { return digest_invalid(digest) };
    let mut stock = call.shared.state.stock();
    let found = stock.repositories.get_mut(repository).is_some_and(|found| found.blobs.remove(&digest));
    if !found {
        return unknown();
    }
    // As in Distribution, only the link of this repository is removed. There is no garbage collection here, but a blob
    // without links cannot be mounted.
    if !stock.repositories.values().any(|repository| repository.blobs.contains(&digest)) {
        stock.blobs.remove(&digest);
    }
    reply(202, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(range_of("bytes=0-0", 10), Some(Some(0..1)));
        assert_eq!(range_of("bytes=3-", 10), Some(Some(3..10)));
        assert_eq!(range_of("bytes=3-99", 10), Some(Some(3..10)));
        assert_eq!(range_of("bytes=-4", 10), Some(Some(6..10)));
        assert_eq!(range_of("bytes=-40", 10), Some(Some(0..10)));
        assert_eq!(range_of("bytes=10-", 10), Some(None));
        assert_eq!(range_of("bytes=-0", 10), Some(None));
        assert_eq!(range_of("bytes=0-", 0), Some(None));
        assert_eq!(range_of("bytes=5-3", 10), Some(None));
        for ignored in ["bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=-"] {
            assert_eq!(range_of(ignored, 10), None, "{ignored}");
        }
    }
}
