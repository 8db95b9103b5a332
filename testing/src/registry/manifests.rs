// SPDX-License-Identifier: Apache-2.0
//! Manifests and indexes, and the listings that follow from them: tags, referrers, repositories.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Tag;
use krs_core::oci::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, is_manifest};
use serde_json::{Value, json};

use super::server::{Call, Reply, error, json_reply, reply};
use super::state::{Repository, Stock, StoredManifest};

fn unknown(reference: &str) -> Reply {
    error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", &format!("manifest unknown to registry: {reference}"))
}

fn invalid(message: &str) -> Reply {
    error(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
}

fn name_unknown() -> Reply {
    error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry")
}

/// All `Accept` headers as one: skopeo and containerd send one line for each type.
pub(crate) fn accepted(headers: &HeaderMap) -> String {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.collect::<Vec<_>>().join(", ")
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = accepted(headers);
    let mut types = accepted.split(',').map(|one| one.split(';').next().unwrap_or_default().trim());
    accepted.is_empty() || types.any(|one| one == media_type || one == "*/*" || one == "application/*")
}

pub(crate) fn get(call: &Call, repository: &str, reference: &str) -> Reply {
    let stock = call.shared.state.stock();
    let digest = reference.replacen("sha256-", "sha256:", 1);
    let known =
        |digest: &str| stock.repositories.get(repository).is_some_and(|r| r.manifest(digest).is_some());
    let as_digest = call.shared.options.digest_tags && digest.parse::<Digest>().is_ok() && known(&digest);
    let reference = if as_digest { digest.as_str() } else { reference };
    let found = stock.repositories.get(repository).and_then(|found| found.manifest(reference));
    let Some((digest, manifest)) = found else { return unknown(reference) };
    if !accepts(&call.parts.headers, &manifest.media_type) {
        let message = format!("it is a {}, which the Accept header does not have", manifest.media_type);
        return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", &message);
    }
    let mut reply = reply(200, manifest.bytes);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(&manifest.media_type).unwrap());
    headers.insert("docker-content-digest", HeaderValue::try_from(digest.to_string()).unwrap());
    headers.insert(header::ETAG, HeaderValue::try_from(format!("\"{digest}\"")).unwrap());
    reply
}

pub(crate) fn put(call: &Call, repository: &str, reference: &str, bytes: Bytes) -> Reply {
    let options = &call.shared.options;
    let content_type = call.parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type =
        content_type.map(|content_type| content_type.split(';').next().unwrap_or_default().trim());
    let json = match serde_json::from_slice::<Value>(&bytes) {
        Ok(json) => json,
        Err(_) if options.unknown_types => Value::Null,
        Err(_) => return invalid("it is not JSON"),
    };
    let own = json["mediaType"].as_str();
    let Some(media_type) = content_type.or(own) else { return invalid("it has no media type") };
    if own.is_some_and(|own| own != media_type) {
        return invalid("its media type is another than Content-Type says");
    }
    let docker = matches!(media_type, DOCKER_INDEX | DOCKER_MANIFEST);
    let is_known = is_manifest(media_type) || options.unknown_types;
    if !is_known || (docker && !options.docker_types) {
        return invalid(&format!("media type {media_type} is not accepted"));
    }
    let digest = Digest::of(&bytes);
    let tag = match reference.parse::<Digest>() {
        Ok(claimed) if claimed != digest => return super::blobs::digest_invalid(reference),
        Ok(_) => None,
        Err(_) if reference.parse::<Tag>().is_err() => {
            return error(StatusCode::BAD_REQUEST, "TAG_INVALID", "it is neither a tag nor a digest");
        }
        Err(_) => Some(reference.to_owned()),
    };
    let mut stock = call.shared.state.stock();
    if let Err(reply) = check_children(&stock, repository, &json, options.sparse_indexes) {
        return reply;
    }
    let manifest = StoredManifest { media_type: media_type.to_owned(), bytes };
    let stored = stock.repository(repository);
    if !options.mutable_tags
        && let Some(tag) = &tag
        && stored.tags.get(tag).is_some_and(|found| *found != digest)
    {
        // As Harbor says it.
        let message =
            format!("Failed to process request due to '{repository}:{tag}' configured as immutable.");
        return error(StatusCode::PRECONDITION_FAILED, "PRECONDITION", &message);
    }
    stored.manifests.insert(digest, manifest);
    if let Some(tag) = tag {
        stored.tags.insert(tag, digest);
    }
    let mut reply = reply(201, "");
    let headers = reply.headers_mut();
    let location = format!("{}/v2/{repository}/manifests/{digest}", call.base());
    headers.insert(header::LOCATION, HeaderValue::try_from(location).unwrap());
    headers.insert("docker-content-digest", HeaderValue::try_from(digest.to_string()).unwrap());
    if let Some(subject) = json["subject"]["digest"].as_str().filter(|_| options.referrers_api) {
        headers.insert("oci-subject", HeaderValue::try_from(subject).unwrap());
    }
    reply
}

/// Everything that a manifest points to must be in the repository; its subject need not be.
fn check_children(stock: &Stock, repository: &str, json: &Value, sparse: bool) -> Result<(), Reply> {
    let empty = Repository::default();
    let repository = stock.repositories.get(repository).unwrap_or(&empty);
    let list = |field: &str| json[field].as_array().cloned().unwrap_or_default();
    let blobs = list("layers").into_iter().chain(json.get("config").cloned());
    // Foreign layers lie elsewhere.
    let blobs = blobs.filter(|blob| blob["urls"].as_array().is_none_or(Vec::is_empty));
    let children = if sparse { Vec::new() } else { list("manifests") };
    // As Distribution 3: what an index lists must be a manifest.
    let blobs = blobs.map(|blob| (blob, false));
    for (descriptor, is_child) in blobs.chain(children.into_iter().map(|child| (child, true))) {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let Ok(parsed) = digest.parse::<Digest>() else {
            return Err(invalid(&format!("`{digest}` is not a digest")));
        };
        let is_blob = repository.blobs.contains(&parsed) && !is_child;
        if !is_blob && !repository.manifests.contains_key(&parsed) {
            let errors = json!({"errors": [{
                "code": "MANIFEST_BLOB_UNKNOWN",
                "message": "manifest references a manifest or blob that is unknown to the registry",
                "detail": {"digest": digest},
            }]});
            return Err(json_reply(StatusCode::BAD_REQUEST, "application/json", &errors));
        }
    }
    Ok(())
}

/// Removes a tag, or a manifest with the tags that point to it. Returns whether it was there.
pub(crate) fn remove(stock: &mut Stock, repository: &str, reference: &str) -> bool {
    let Some(repository) = stock.repositories.get_mut(repository) else { return false };
    let Ok(digest) = reference.parse::<Digest>() else {
        return repository.tags.remove(reference).is_some();
    };
    repository.tags.retain(|_, target| *target != digest);
    repository.manifests.remove(&digest).is_some()
}

pub(crate) fn delete(call: &Call, repository: &str, reference: &str) -> Reply {
    let found = remove(&mut call.shared.state.stock(), repository, reference);
    if found { reply(202, "") } else { unknown(reference) }
}

/// A page of `names`, with a `Link` to the next one (distribution-spec, "Listing Tags").
fn page(call: &Call, path: &str, names: Vec<String>, body: impl FnOnce(&[String]) -> Value) -> Reply {
    let last = call.query.get("last");
    let names = names.into_iter().filter(|name| last.is_none_or(|last| name > last)).collect::<Vec<_>>();
    let most = call.query.get("n").map(|n| n.parse::<usize>());
    let most = match most {
        None => names.len(),
        Some(Ok(most)) => most.min(names.len()),
        Some(Err(_)) => {
            let message = "n must be a number";
            return error(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", message);
        }
    };
    let shown = &names[..most];
    let mut reply = json_reply(StatusCode::OK, "application/json", &body(shown));
    if let Some(last) = shown.last().filter(|_| most < names.len()) {
        let link = format!("<{path}?last={last}&n={most}>; rel=\"next\"");
        reply.headers_mut().insert(header::LINK, HeaderValue::try_from(link).unwrap());
    }
    reply
}

pub(crate) fn tags(call: &Call, repository: &str) -> Reply {
    let names = {
        let stock = call.shared.state.stock();
        let Some(found) = stock.repositories.get(repository) else { return name_unknown() };
        found.tags.keys().cloned().collect::<Vec<_>>()
    };
    let path = format!("/v2/{repository}/tags/list");
    page(call, &path, names, |tags| json!({"name": repository, "tags": tags}))
}

pub(crate) fn catalog(call: &Call) -> Reply {
    let names = call.shared.state.stock().repositories.keys().cloned().collect::<Vec<_>>();
    page(call, "/v2/_catalog", names, |repositories| json!({"repositories": repositories}))
}

/// The descriptor of a referrer, as the distribution-spec wants it.
fn referrer(digest: &Digest, manifest: &StoredManifest, subject: &Digest) -> Option<Value> {
    let json = serde_json::from_slice::<Value>(&manifest.bytes).ok()?;
    (json["subject"]["digest"].as_str()? == subject.to_string()).then(|| {
        let mut descriptor = json!({
            "mediaType": manifest.media_type, "digest": digest.to_string(), "size": manifest.bytes.len(),
        });
        let kind = json.get("artifactType").or_else(|| json.get("config")?.get("mediaType"));
        if let Some(kind) = kind {
            descriptor["artifactType"] = kind.clone();
        }
        if let Some(annotations) = json.get("annotations") {
            descriptor["annotations"] = annotations.clone();
        }
        descriptor
    })
}

pub(crate) fn referrers(call: &Call, repository: &str, digest: &str) -> Reply {
    if !call.shared.options.referrers_api {
        return Response::builder().status(404).body("404 page not found\n".into()).unwrap();
    }
    let Ok(subject) = digest.parse::<Digest>() else { return super::blobs::digest_invalid(digest) };
    let stock = call.shared.state.stock();
    let manifests = stock.repositories.get(repository).map(|found| &found.manifests);
    let all = manifests.into_iter().flatten();
    let all = all.filter_map(|(digest, manifest)| referrer(digest, manifest, &subject));
    let wanted = call.query.get("artifactType");
    let shown = all.filter(|found| wanted.is_none_or(|wanted| found["artifactType"] == wanted.as_str()));
    let shown = shown.collect::<Vec<_>>();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": shown});
    let mut reply = json_reply(StatusCode::OK, OCI_INDEX, &index);
    if wanted.is_some() {
        reply.headers_mut().insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
    }
    reply
}
