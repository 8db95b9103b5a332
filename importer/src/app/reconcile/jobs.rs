// SPDX-License-Identifier: Apache-2.0
//! Copy Jobs in the API server: created and deleted.

use k8s_openapi::api::batch::v1::Job;
use krs_core::redact::printable;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams, Preconditions, PropagationPolicy};

use super::job_reads::MAX_MESSAGE;
use crate::adapters::writes::FIELD_MANAGER;
use crate::engine::job;

/// What became of a Job that was to be created.
pub(super) enum JobCreation {
    /// It exists, with this UID.
    Exists(String),
    /// The API server does not take it: why.
    Rejected(String),
}

/// Creates a Job. One that is there already was created by an earlier reconcile whose answer was lost.
pub(super) async fn create(
    client: &kube::Client,
    namespace: &str,
    job: &Job,
) -> Result<JobCreation, kube::Error> {
    let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match Api::<Job>::namespaced(client.clone(), namespace).create(&how, job).await {
        Ok(created) => Ok(JobCreation::Exists(created.uid().unwrap_or_default())),
        Err(kube::Error::Api(status)) if status.code == 409 && status.is_already_exists() => {
            let name = job.name_any();
            // Whoever made it decided how large it is.
            let there = Api::<Job>::namespaced(client.clone(), namespace).get_metadata_opt(&name).await?;
            match there {
                Some(there)
                    if job::nonce(&there.metadata).is_some()
                        && job::nonce(&there.metadata) == job::nonce(&job.metadata) =>
                {
                    Ok(JobCreation::Exists(there.uid().unwrap_or_default()))
                }
                _ => Ok(JobCreation::Rejected(format!(
                    "there is a Job {name} that the importer did not create: delete it, or the images wait for the next attempt"
                ))),
            }
        }
        Err(kube::Error::Api(status)) if is_rejection(&status) => {
            let message = printable(&status.message, MAX_MESSAGE);
            Ok(JobCreation::Rejected(format!("the API server refuses the copy Job: {message}")))
        }
        Err(error) => Err(error),
    }
}

/// Whether the API server answers that it does not take the object. A webhook may refuse with any code; one that does not
/// answer itself is a code 500 that names it.
fn is_rejection(status: &kube::core::Status) -> bool {
    match status.code {
        // The importer's own token, its namespace, the speed of its requests.
        401 | 404 | 408 | 409 | 410 | 429 => false,
        400..=499 => true,
        500 => status.message.contains("webhook"),
        _ => false,
    }
}

/// Deletes a Job and its Pods, if it is still the same one.
pub(super) async fn delete(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<(), kube::Error> {
    let how = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match Api::<Job>::namespaced(client.clone(), namespace).delete(name, &how).await {
        // Gone, or another one by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_webhook_that_is_down_refuses_and_a_busy_api_server_does_not() {
        let status = |code: u16, message: &str| {
            let status = serde_json::json!({"status": "Failure", "code": code, "message": message});
            serde_json::from_value::<kube::core::Status>(status).unwrap()
        };
        for (code, message, rejected) in [
            (403, "exceeded quota: team", true),
            (418, "admission webhook \"x\" denied the request", true),
            (500, "Internal error occurred: failed calling webhook \"x\": context deadline exceeded", true),
            (500, "etcdserver: request timed out", false),
            (429, "too many requests", false),
            (404, "namespaces \"shop\" not found", false),
        ] {
            assert_eq!(is_rejection(&status(code, message)), rejected, "{code} {message}");
        }
    }
}
