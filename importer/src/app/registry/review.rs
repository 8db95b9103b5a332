// SPDX-License-Identifier: Apache-2.0
//! What the API server knows of a token: it must be bound to a live Pod of a copy Job of ours.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{Request, header};
use futures::FutureExt as _;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use krs_core::crd::EdgeImageSet;
use krs_core::redact::Secret;
use kube::{Api, Resource};

use super::access::{Reviewer, TokenReviewResult, Unavailable};
use super::claims::{RefusalBudgets, claims_to_be_ours};
use crate::engine::job::is_selected;
use crate::model::required_images::SetName;
use crate::model::task::AUDIENCE;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Asks the API server behind `client`.
pub(super) fn reviewer(client: kube::Client) -> Reviewer {
    let budgets = Arc::new(RefusalBudgets::default());
    Box::new(move |token, peer| {
        let (client, budgets) = (client.clone(), Arc::clone(&budgets));
        async move {
            if !claims_to_be_ours(token.expose()) {
                return Ok(TokenReviewResult::Refused);
            }
            if !budgets.is_left(peer, Instant::now()) {
                return Err(Unavailable(format!("too many tokens of {peer} were refused lately")));
            }
            match review(&client, &token).await {
                Ok(set) => Ok(TokenReviewResult::Reader(set)),
                Err(No::Refused(why)) => {
                    budgets.spend(peer, Instant::now());
                    tracing::info!("the embedded registry refused a token of {peer}: {why}");
                    Ok(TokenReviewResult::Refused)
                }
                Err(No::Unavailable(error)) => {
                    tracing::warn!("{error}");
                    Err(error)
                }
            }
        }
        .boxed()
    })
}

enum No {
    /// Why, for the log.
    Refused(String),
    Unavailable(Unavailable),
}

fn refused<T>(why: impl Into<String>) -> Result<T, No> {
    Err(No::Refused(why.into()))
}

/// An answer that did not come. What the API server says of itself is no secret; it does not repeat tokens in errors.
fn unavailable(doing: &str) -> impl Fn(kube::Error) -> No {
    move |error| No::Unavailable(Unavailable(format!("{doing}: {error}")))
}

/// A Pod that a token is bound to.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    namespace: String,
    name: String,
    uid: String,
}

async fn review(client: &kube::Client, token: &Secret) -> Result<SetName, No> {
    let bound = token_review(client, token).await?;
    let Bound { namespace, name, uid } = &bound;
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let pod = pods.get_opt(name).await.map_err(unavailable("get Pod"))?;
    let Some(pod) = pod.filter(|pod| pod.metadata.uid.as_ref() == Some(uid)) else {
        return refused(format!("Pod {namespace}/{name} is gone"));
    };
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return refused(format!("Pod {namespace}/{name} has ended"));
    }
    let Some(owner) = controller::<Job>(&pod.metadata) else {
        return refused(format!("Pod {namespace}/{name} belongs to no Job"));
    };
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    let job = jobs.get_metadata_opt(&owner.name).await.map_err(unavailable("get Job"))?;
    let Some(job) = job.filter(|job| job.metadata.uid.as_ref() == Some(&owner.uid)) else {
        return refused(format!("the Job of Pod {namespace}/{name} is gone"));
    };
    if !is_selected(&job.metadata) {
        return refused(format!("Job {namespace}/{} is no copy Job", owner.name));
    }
    let Some(owner) = controller::<EdgeImageSet>(&job.metadata) else {
        return refused(format!("the Job of Pod {namespace}/{name} belongs to no EdgeImageSet"));
    };
    let sets = Api::<EdgeImageSet>::namespaced(client.clone(), namespace);
    let set = sets.get_metadata_opt(&owner.name).await.map_err(unavailable("get EdgeImageSet"))?;
    if set.is_none_or(|set| set.metadata.uid.as_ref() != Some(&owner.uid)) {
        return refused(format!("EdgeImageSet {namespace}/{} is gone", owner.name));
    }
    Ok(SetName { name: owner.name.clone(), namespace: bound.namespace })
}

async fn token_review(client: &kube::Client, token: &Secret) -> Result<Bound, No> {
    fn broken(error: impl Display) -> No {
        No::Unavailable(Unavailable(format!("create TokenReview: {error}")))
    }
    let spec = TokenReviewSpec {
        audiences: Some(vec![AUDIENCE.to_owned()]),
        token: Some(token.expose().to_owned()),
    };
    let review = TokenReview { spec, ..TokenReview::default() };
    let body = serde_json::to_vec(&review).map_err(broken)?;
    let request = Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(broken)?;
    // Not through `Api`: where an answer is not understood, that logs it, and this one repeats the token.
    let answer = client.request_text(request).await.map_err(unavailable("create TokenReview"))?;
    let answer = serde_json::from_str::<TokenReview>(&answer)
        .map_err(|error| broken(format!("the answer is not understood (line {})", error.line())))?;
    let Some(status) = answer.status else { return Err(broken("the answer has no status")) };
    if status.authenticated != Some(true) {
        return refused("the API server does not know it");
    }
    // An API server that knows nothing of audiences answers without them.
    if !status.audiences.unwrap_or_default().iter().any(|audience| audience == AUDIENCE) {
        return refused("it was made for another audience");
    }
    bound(status.user.unwrap_or_default()).map_or_else(|| refused("it is not bound to a Pod"), Ok)
}

fn bound(user: UserInfo) -> Option<Bound> {
    let account = user.username?;
    let (namespace, name) = account.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    if namespace.is_empty() || name.is_empty() {
        return None;
    }
    let mut extra = user.extra?;
    let mut only = |key: &str| match extra.remove(key)?.as_mut_slice() {
        [value] if !value.is_empty() => Some(std::mem::take(value)),
        _ => None,
    };
    Some(Bound { namespace: namespace.to_owned(), name: only(POD_NAME)?, uid: only(POD_UID)? })
}

/// The controller of an object, where it is a `K`.
fn controller<K: Resource<DynamicType = ()>>(object: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = object.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    (owner.kind == K::kind(&()) && group == K::group(&())).then_some(owner)
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
