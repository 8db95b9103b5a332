// SPDX-License-Identifier: Apache-2.0
//! Where the sets of a bundle go.

use std::collections::BTreeSet;

use camino::Utf8Path;
use krs_core::bundle::Bundle;
use krs_core::error::{ErrorKind, shortened};
use krs_core::oci::reference::Destination;
use krs_core::sync::push;

use crate::args::PushArgs;
use crate::diagnostic::Failure;

/// Most destinations that a warning names.
const MAX_NAMES: usize = 5;

/// Whether the bundle comes before the registry on the command line.
///
/// # Errors
/// There is no such file, and the registry is one.
pub(super) fn in_order(args: &PushArgs) -> Result<(), Failure> {
    let Some(destination) = &args.destination else { return Ok(()) };
    let name = destination.to_string();
    if args.file.symlink_metadata().is_ok() || !Utf8Path::new(&name).is_file() {
        return Ok(());
    }
    let message = format!("there is no bundle {}, and {name} is a file and not a registry", args.file);
    Err(Failure::usage(message)
        .help(format!("the bundle comes first, then the registry: krs push {name} {}", args.file)))
}

/// Whether the bundle may choose where it goes: it then also chooses who is sent credentials, so that somebody must vouch
/// for it.
///
/// # Errors
/// No registry is named, and no key.
pub(super) fn may_choose(args: &PushArgs) -> Result<(), Failure> {
    if args.destination.is_some() || !args.policy.public_keys.files.is_empty() {
        return Ok(());
    }
    let message = format!(
        "without a registry {} chooses itself where its images and your credentials go, and its origin is not verified",
        args.file
    );
    let help = format!(
        "ask for the sender's signature: krs push {0} --public-key FILE; or name the registry: krs push {0} REGISTRY",
        args.file
    );
    Err(Failure::new(ErrorKind::Trust, message).help(help))
}

/// What must be known of where the sets at the positions `sets` go.
pub(super) fn warnings(args: &PushArgs, bundle: &Bundle, sets: &[usize]) -> Vec<String> {
    match &args.destination {
        Some(destination) => elsewhere(bundle, sets, destination).into_iter().collect(),
        None => without_tls(args, bundle, sets).collect(),
    }
}

/// The sets are for other registries than the one that is named.
fn elsewhere(bundle: &Bundle, sets: &[usize], destination: &Destination) -> Option<String> {
    let others = push::other_destinations(bundle, sets, destination);
    (!others.is_empty()).then(|| {
        let names = shortened(&others, MAX_NAMES, ", ");
        format!("the sets are for {names}, and not for {destination}, which the command names")
    })
}

/// Sets that ask for plain HTTP: that is for the person to decide whose credentials are sent.
fn without_tls<'a>(
    args: &'a PushArgs,
    bundle: &'a Bundle,
    sets: &'a [usize],
) -> impl Iterator<Item = String> + 'a {
    let sets = sets.iter().filter_map(|position| bundle.sets().get(*position));
    let plain = sets.filter(|set| set.spec.destination_tls.as_ref().is_some_and(|tls| tls.plain_http));
    let hosts = plain.filter_map(|set| set.spec.destination_registry.parse::<Destination>().ok());
    let hosts = hosts.map(|destination| destination.registry).collect::<BTreeSet<_>>();
    let hosts =
        hosts.into_iter().filter(|host| !host.is_loopback() && !args.registry.plain_http.contains(host));
    hosts.map(|host| {
        format!("the sets have {host} spoken to without TLS, which krs does only with --plain-http {host}")
    })
}
