// SPDX-License-Identifier: Apache-2.0
use camino::Utf8Path;
use jiff::Timestamp;
use krs_core::bundle::{Bundle, BundleError, Freshness, HighWaterMark, Policy, VolumeState, check_volumes};
use krs_core::sign::Trust;

use super::keys;
use crate::args::{PolicyArgs, VolumeArgs};
use crate::console::Console;
use crate::diagnostic::Failure;

/// Opens a bundle that satisfies what was asked of it, and warns where nobody vouches for it.
///
/// # Errors
/// The first check that failed.
pub(super) fn open(
    path: &Utf8Path,
    volumes: &VolumeArgs,
    args: &PolicyArgs,
    console: &Console,
) -> Result<Bundle, Failure> {
    let bundle = open_quietly(path, volumes, args)?;
    if bundle.signers().is_empty() {
        let signed =
            if bundle.key_ids().is_empty() { "it is not signed" } else { "its signature was not checked" };
        console.warning(&format!(
            "nobody vouches for {path}: {signed}; pass --public-key FILE to ask for a signature"
        ));
    }
    for missing in &bundle.manifest().missing {
        console.warning(&format!("{path} was made without {}: {}", missing.reference, missing.reason));
    }
    Ok(bundle)
}

/// The same for a command whose result says who vouches for the bundle.
///
/// # Errors
/// As for [`open`].
pub(super) fn open_quietly(
    path: &Utf8Path,
    volumes: &VolumeArgs,
    args: &PolicyArgs,
) -> Result<Bundle, Failure> {
    let policy = Policy {
        trust: keys::trust(&args.public_keys)?,
        freshness: Freshness {
            stream: args.stream.clone(),
            accepted: args.min_sequence.map(|sequence| HighWaterMark { sequence, identity: None }),
            audience: args.audience.clone(),
            now: (!args.ignore_expiry).then(Timestamp::now),
            ..Freshness::default()
        },
    };
    Bundle::open_with(path, &volumes.volumes, &policy).map_err(|error| {
        let incomplete = matches!(error, BundleError::Volumes { .. });
        let failure = Failure::from(error);
        if incomplete { with_volumes(failure, path, volumes, &policy.trust) } else { failure }
    })
}

/// Adds what can be said of the volumes that are here.
fn with_volumes(failure: Failure, path: &Utf8Path, volumes: &VolumeArgs, trust: &Trust) -> Failure {
    let states = match check_volumes(path, &volumes.volumes, trust) {
        Ok(Some(states)) => states,
        Ok(None) => return failure,
        Err(error) => return failure.more(&format!("the list of volumes cannot be used: {error}")),
    };
    let line = |(name, state): &(String, VolumeState)| {
        let state = match state {
            VolumeState::Right => "is right",
            VolumeState::Damaged => "is damaged: copy it again",
            VolumeState::Unreadable => "cannot be read: copy it again, onto another medium",
            VolumeState::Missing => "is not here",
        };
        format!("  {} {state}", krs_core::redact::printable(name, 200))
    };
    let lines = states.iter().map(line).collect::<Vec<_>>().join("\n");
    failure.more(&format!("by the list of volumes:\n{lines}"))
}
