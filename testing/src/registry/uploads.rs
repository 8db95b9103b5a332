// SPDX-License-Identifier: Apache-2.0
//! Uploading blobs: in one request, in chunks, and by mounting.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use krs_core::oci::digest::Digest;
use tokio::sync::Mutex;

use super::blobs::digest_invalid;
use super::server::{Call, Cut, Reply, error, reply};
use super::state::IncomingContent;

type Session = Arc<Mutex<Option<IncomingContent>>>;

fn unknown() -> Reply {
    error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &dyn std::fmt::Display) {
    headers.insert(name, HeaderValue::try_from(value.to_string()).unwrap());
}

fn created(call: &Call, repository: &str, digest: &Digest) -> Reply {
    let mut reply = reply(201, "");
    set(reply.headers_mut(), "location", &format!("{}/v2/{repository}/blobs/{digest}", call.base()));
    set(reply.headers_mut(), "docker-content-digest", digest);
    reply
}

/// An answer about an upload that is not complete.
fn running(call: &Call, status: u16, repository: &str, id: &str, len: u64) -> Reply {
    let mut reply = reply(status, "");
    // The query is a part of the address that clients have to keep; Distribution keeps its state there.
    let location =
        format!("{}/v2/{repository}/blobs/uploads/{id}?_state={}", call.base(), state_of(repository, id));
    set(reply.headers_mut(), "location", &location);
    // Distribution writes `0-0` for nothing as well as for one byte.
    set(reply.headers_mut(), "range", &format!("0-{}", len.saturating_sub(1)));
    set(reply.headers_mut(), "docker-upload-uuid", &id);
    reply
}

fn state_of(repository: &str, id: &str) -> String {
    Digest::of(format!("{repository}/{id}").as_bytes()).short()
}

/// The upload, where the address is one that this registry gave for this repository.
fn session(call: &Call, repository: &str, id: &str) -> Result<Session, Reply> {
    let session = call.shared.state.stock().uploads.get(id).cloned();
    let session = session.ok_or_else(unknown)?;
    if call.query.get("_state") != Some(&state_of(repository, id)) {
        let message = "the query of the Location is missing, or of another repository";
        return Err(error(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message));
    }
    Ok(session)
}

pub(crate) async fn start(call: &mut Call, repository: &str) -> Result<Reply, Cut> {
    if let (Some(mount), Some(from), true) =
        (call.query.get("mount"), call.query.get("from"), call.shared.options.mounts)
    {
        let Ok(digest) = mount.parse::<Digest>() else { return Ok(digest_invalid(mount)) };
        let mut stock = call.shared.state.stock();
        if let Some(content) = stock.blob(from, &digest) {
            stock.add_blob(repository, digest, content);
            drop(stock);
            return Ok(created(call, repository, &digest));
        }
    } else if let Some(digest) = call.query.get("digest").cloned() {
        let session = Session::new(Mutex::new(Some(IncomingContent::default())));
        return end(call, repository, &session, &digest).await.map(|(reply, _)| reply);
    }
    let id = format!("upload-{}", call.shared.state.number());
    let mut stock = call.shared.state.stock();
    stock.repository(repository);
    stock.uploads.insert(id.clone(), Session::new(Mutex::new(Some(IncomingContent::default()))));
    drop(stock);
    Ok(running(call, 202, repository, &id, 0))
}

pub(crate) async fn status(call: &mut Call, repository: &str, id: &str) -> Reply {
    let session = match session(call, repository, id) {
        Ok(session) => session,
        Err(reply) => return reply,
    };
    let upload = session.lock().await;
    upload.as_ref().map_or_else(unknown, |upload| running(call, 204, repository, id, upload.len()))
}

/// Takes the request's body into the upload.
async fn receive(call: &mut Call, upload: &mut IncomingContent) -> Result<(), Cut> {
    while let Some(bytes) = call.body.next().await {
        upload.write(&call.shared.state, &bytes?).map_err(|_| Cut)?;
    }
    Ok(())
}

/// Whether a chunk starts where the upload stands.
fn fits(headers: &HeaderMap, len: u64) -> bool {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return true };
    let range = range.to_str().unwrap_or_default();
    let (start, end) = range.strip_prefix("bytes ").unwrap_or(range).split_once('-').unwrap_or_default();
    let (Ok(start), Ok(end)) = (start.parse::<u64>(), end.parse::<u64>()) else { return false };
    let content_length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    start == len
        && end >= start
        && content_length.is_none_or(|content_length| content_length == end - start + 1)
}

fn does_not_fit(call: &Call, repository: &str, id: &str, len: u64) -> Reply {
    let mut reply = running(call, 416, repository, id, len);
    let body =
        error(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "the chunk does not start at the end");
    let (parts, body) = body.into_parts();
    reply.headers_mut().extend(parts.headers);
    *reply.body_mut() = body;
    reply
}

pub(crate) async fn patch(call: &mut Call, repository: &str, id: &str) -> Result<Reply, Cut> {
    let session = match session(call, repository, id) {
        Ok(session) => session,
        Err(reply) => return Ok(reply),
    };
    let mut upload = session.lock().await;
    let Some(upload) = upload.as_mut() else { return Ok(unknown()) };
    if !fits(&call.parts.headers, upload.len()) {
        return Ok(does_not_fit(call, repository, id, upload.len()));
    }
    receive(call, upload).await?;
    Ok(running(call, 202, repository, id, upload.len()))
}

pub(crate) async fn put(call: &mut Call, repository: &str, id: &str) -> Result<Reply, Cut> {
    let session = match session(call, repository, id) {
        Ok(session) => session,
        Err(reply) => return Ok(reply),
    };
    let len = session.lock().await.as_ref().map_or(0, IncomingContent::len);
    if !fits(&call.parts.headers, len) {
        return Ok(does_not_fit(call, repository, id, len));
    }
    let Some(digest) = call.query.get("digest").cloned() else { return Ok(digest_invalid("")) };
    let (reply, over) = end(call, repository, &session, &digest).await?;
    if over {
        call.shared.state.stock().uploads.remove(id);
    }
    Ok(reply)
}

/// Takes the last (or only) part and checks the digest. Also answers whether the upload is over.
async fn end(
    call: &mut Call,
    repository: &str,
    session: &Session,
    digest: &str,
) -> Result<(Reply, bool), Cut> {
    let Ok(digest) = digest.parse::<Digest>() else { return Ok((digest_invalid(digest), false)) };
    let mut upload = session.lock().await;
    let Some(incoming) = upload.as_mut() else { return Ok((unknown(), true)) };
    receive(call, incoming).await?;
    let Some(incoming) = upload.take() else { return Ok((unknown(), true)) };
    let (got, content) = incoming.finish();
    if got != digest {
        return Ok((digest_invalid(&digest.to_string()), true));
    }
    call.shared.state.stock().add_blob(repository, digest, content);
    Ok((created(call, repository, &digest), true))
}

pub(crate) fn cancel(call: &Call, repository: &str, id: &str) -> Reply {
    if let Err(reply) = session(call, repository, id) {
        return reply;
    }
    call.shared.state.stock().uploads.remove(id);
    reply(204, "")
}
