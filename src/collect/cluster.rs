// SPDX-License-Identifier: Apache-2.0
//! A running cluster, read by `kubectl`: its own configuration and credentials apply, and `krs` needs none.

use std::ffi::OsString;
use std::path::Path;

use super::model::{Origin, Problem};
use crate::program::{ProgramError, find, run_as_user};

/// What messages call the cluster in place of a file.
pub(super) const SOURCE: &str = "cluster";
/// What names images: Pods with their digests, and what starts Pods at another time. ReplicaSets are left out, because
/// they keep the images of earlier versions.
const RESOURCES: &str = "pods,deployments.apps,statefulsets.apps,daemonsets.apps,cronjobs.batch";
/// Longest that one request may take; the program has a limit for all of them.
const REQUEST_TIMEOUT: &str = "--request-timeout=60s";

/// The cluster to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Context of the kubeconfig; its current one if absent.
    pub context: Option<String>,
}

/// Answers the resources as JSON.
///
/// # Errors
/// `kubectl` is missing or fails.
pub(super) fn read(cluster: &Cluster) -> Result<String, Problem> {
    let program = find("kubectl").ok_or_else(missing)?;
    query(&program, cluster)
}

fn query(program: &Path, cluster: &Cluster) -> Result<String, Problem> {
    let mut arguments =
        ["get", RESOURCES, "--all-namespaces", "--output=json", REQUEST_TIMEOUT].map(OsString::from).to_vec();
    // In one word, so that no name is read as an option.
    arguments.extend(cluster.context.iter().map(|context| OsString::from(format!("--context={context}"))));
    run_as_user(program, &arguments.iter().map(OsString::as_os_str).collect::<Vec<_>>()).map_err(|error| {
        match error {
            ProgramError::Missing => missing(),
            ProgramError::Failed(reason) => {
                let help = "check it with: kubectl get pods -A. If you may only read a part, pipe that: \
                        kubectl get pods -n NAMESPACE -o json | krs collect -";
                Problem {
                    origin: Origin::file(SOURCE),
                    reason: format!("cannot be read: {reason}"),
                    help: Some(help.to_owned()),
                }
            }
        }
    })
}

fn missing() -> Problem {
    let help = "install kubectl, or run it elsewhere and pipe the result: kubectl get pods -A -o json | krs collect -";
    let reason = "cannot be read: kubectl is not installed".to_owned();
    Problem { origin: Origin::file(SOURCE), reason, help: Some(help.to_owned()) }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn kubectl(script: &str, context: Option<&str>) -> Result<String, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubectl");
        krs_testing::process::write_script(&file, &format!("#!/bin/sh\n{script}\n"));
        query(&file, &Cluster { context: context.map(str::to_owned) })
    }

    #[test]
    fn kubectl_gets_the_context_in_one_word() {
        let arguments = kubectl("echo \"$@\"", Some("--raw=/")).unwrap();
        assert_eq!(
            arguments,
            "get pods,deployments.apps,statefulsets.apps,daemonsets.apps,cronjobs.batch --all-namespaces \
             --output=json --request-timeout=60s --context=--raw=/\n"
        );
        assert!(!kubectl("echo \"$@\"", None).unwrap().contains("context"));
    }

    #[test]
    fn a_failure_of_kubectl_is_named() {
        let problem =
            kubectl("echo 'Error from server (Forbidden): pods is forbidden' >&2; exit 1", None).unwrap_err();
        assert_eq!(
            problem.reason,
            "cannot be read: kubectl failed: Error from server (Forbidden): pods is forbidden"
        );
        assert_eq!(problem.origin, Origin::file("cluster"));
    }
}
