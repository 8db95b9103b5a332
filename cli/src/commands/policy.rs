// SPDX-License-Identifier: Apache-2.0
use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::sign::Trust;
use krs_core::bundle::{
    Bundle, BundleError, BundleMissing, Freshness, HighWaterMark, Policy, ReadFrom, VolumeState,
    check_volumes, is_clock_behind,
};
use krs_core::error::{Cause, ErrorKind, by_cause};
use krs_core::redact::printable;

use super::{drive, keys};
use crate::args::{PolicyArgs, VolumeArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::count;

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
    let bundle = open_with(path, volumes, args, Bundle::open_with)?;
    can_tell_expiry(&bundle, args)?;
    warnings(&bundle, path).iter().for_each(|warning| console.warning(warning));
    Ok(bundle)
}

/// What must be known of a bundle before it is used.
pub(super) fn warnings(bundle: &Bundle, path: &Utf8Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if bundle.signers().is_empty() {
        let signed =
            if bundle.key_ids().is_empty() { "it is not signed" } else { "its signature was not checked" };
        warnings.push(format!(
            "the origin of {path} is not verified: {signed}; pass --public-key FILE to require a signature"
        ));
    }
    warnings.extend(remarks(bundle));
    warnings.extend(by_cause(missing(bundle)).into_iter().map(
        |Cause { reason, names }| match names.as_slice() {
            [image] => format!("{path} was made without {image}: {reason}"),
            all => format!("{path} was made without {} images (krs inspect lists them): {reason}", all.len()),
        },
    ));
    warnings
}

/// The same for a command whose result says who vouches for the bundle, and that wants to know what is on the media:
/// what the system has of it in memory is dropped before anything is read.
///
/// # Errors
/// As for [`open`].
pub(super) fn open_from_media(
    path: &Utf8Path,
    volumes: &VolumeArgs,
    args: &PolicyArgs,
) -> Result<(Bundle, ReadFrom), Failure> {
    let (bundle, read_from) = open_with(path, volumes, args, Bundle::open_from_media)?;
    can_tell_expiry(&bundle, args)?;
    Ok((bundle, read_from))
}

/// What must be known of a bundle, whoever vouches for it.
pub(super) fn remarks(bundle: &Bundle) -> Vec<String> {
    let beside = bundle.volumes_beside();
    let beside = beside.first().and_then(|first| first.file_name()).map(|first| {
        format!("beside {} lie volumes of another bundle of this name, which are not read: remove them ({first} …)", bundle.path())
    });
    clock(bundle).into_iter().chain(beside).collect()
}

/// What is wrong with the clock of this machine, by the time at which a bundle was made.
fn clock(bundle: &Bundle) -> Option<String> {
    let (created_at, now) = (bundle.manifest().created_at, Timestamp::now());
    is_clock_behind(created_at, now).then(|| {
        let now = now.round(jiff::Unit::Second).unwrap_or(now);
        format!(
            "this machine's clock says {now}, and {} was made at {created_at}: the clock is behind, or that of who made it \
             was ahead",
            bundle.path()
        )
    })
}

/// An error where a bundle expires, and the clock is wrong: nobody can tell whether it has.
fn can_tell_expiry(bundle: &Bundle, args: &PolicyArgs) -> Result<(), Failure> {
    let Some(not_after) = bundle.manifest().not_after.filter(|_| !args.ignore_expiry) else {
        return Ok(());
    };
    let Some(clock) = clock(bundle) else { return Ok(()) };
    let message = format!("{clock}; whether it has expired ({not_after}) cannot be told");
    Err(Failure::new(ErrorKind::Rollback, message)
        .help("set the clock, or accept the bundle whether or not it has expired with --ignore-expiry"))
}

/// An error where a bundle was made without some images of its sets.
///
/// # Errors
/// Names them, with the reason of each.
pub(super) fn has_all_images(bundle: &Bundle) -> Result<(), Failure> {
    has_images(bundle, |_| true)
}

/// The same for what the sets at the positions `sets` ask for.
///
/// # Errors
/// As for [`has_all_images`].
pub(super) fn has_images_of(bundle: &Bundle, sets: &[usize]) -> Result<(), Failure> {
    let wanted = sets.iter().filter_map(|position| bundle.sets().get(*position)).flat_map(|set| &set.images);
    let wanted = wanted.map(|image| (&image.reference, &image.platforms)).collect::<HashSet<_>>();
    has_images(bundle, |missing| wanted.contains(&(&missing.reference, &missing.platforms)))
}

fn has_images(bundle: &Bundle, is_wanted: impl Fn(&BundleMissing) -> bool) -> Result<(), Failure> {
    let manifest = bundle.manifest();
    let missing = manifest.missing.iter().filter(|missing| is_wanted(missing)).collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let all = count((manifest.images.len() + manifest.missing.len()) as u64, "image");
    let head = format!("{} does not have {} of the {all} of its sets", bundle.path(), missing.len());
    Err(Failure::of_images(ErrorKind::Incomplete, &head, missing.into_iter().map(named))
        .help("use what it holds, ask for a bundle with all images, and bring that too"))
}

/// Images that a bundle was made without, each with the reason.
fn missing(bundle: &Bundle) -> impl Iterator<Item = (String, String)> {
    bundle.manifest().missing.iter().map(named)
}

fn named(missing: &BundleMissing) -> (String, String) {
    (missing.reference.to_string(), missing.reason.clone())
}

/// The failure of opening a bundle. Where volumes are missing, it names the folders of `--volumes` that are not there.
pub(super) fn not_opened(error: BundleError, volumes: &VolumeArgs) -> Failure {
    let incomplete = matches!(error, BundleError::Volumes { .. });
    let absent = volumes.volumes.iter().filter(|folder| incomplete && !folder.is_dir());
    absent.fold(Failure::from(error), |failure, folder| {
        failure.more(&format!("--volumes {folder}: there is no such folder; is the drive mounted?"))
    })
}

/// Says that a check may have read memory and not the media.
pub(super) fn warn_of_memory(path: &Utf8Path, from: &ReadFrom, console: &Console) {
    if let ReadFrom::PerhapsMemory { reason } = from {
        console.warning(&format!(
            "{path} may have been read from memory and not from the drive: {reason}. To be sure: unmount the drive, pull it \
             out, put it in again, and run `krs verify`"
        ));
    }
}

fn open_with<T>(
    path: &Utf8Path,
    volumes: &VolumeArgs,
    args: &PolicyArgs,
    open: impl FnOnce(&Utf8Path, &[Utf8PathBuf], &Policy) -> Result<T, BundleError>,
) -> Result<T, Failure> {
    if path.is_dir() {
        return Err(drive::is_folder(path));
    }
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
    open(path, &volumes.volumes, &policy).map_err(|error| {
        let incomplete = matches!(error, BundleError::Volumes { .. });
        let failure = not_opened(error, volumes);
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
    let count = states.len();
    let line = |(n, (name, state)): (usize, &(String, VolumeState))| {
        let name = printable(name, 200);
        match state {
            VolumeState::Right => format!("  {name} is undamaged"),
            VolumeState::Damaged => format!("  {name} is damaged: copy it again"),
            VolumeState::Unreadable => format!("  {name} cannot be read: copy it again, to another drive"),
            VolumeState::Missing => format!("  {name} is missing"),
            VolumeState::Renamed(path) => format!(
                "  {} is volume {n} of {count} under another name: rename it to {name}",
                printable(path.as_str(), 400)
            ),
        }
    };
    let lines = (1..).zip(&states).map(line).collect::<Vec<_>>().join("\n");
    failure.more(&format!("by the list of volumes:\n{lines}"))
}
