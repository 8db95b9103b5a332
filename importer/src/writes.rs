// SPDX-License-Identifier: Apache-2.0
//! How the importer writes objects to the API server.

use std::time::Duration;

use kube::api::PatchParams;

/// Field manager of everything that the importer applies for itself.
pub(crate) const FIELD_MANAGER: &str = "krs-importer";
/// Least time between two writes that put an object right which somebody else changed: two writers must not make a storm.
/// (T-178)
pub(crate) const RESTORE_INTERVAL: Duration = Duration::from_secs(5);

/// How a merge patch is sent.
pub(crate) fn merging() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
