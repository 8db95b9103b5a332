// SPDX-License-Identifier: Apache-2.0
//! Finds images that krs 0.1 refuses or reads in another way. Pure.

use super::error::PlanError;
use crate::format::FIRST_VERSION;
use crate::oci::closure::{AbsentChild, Closure, Manifests};
use crate::oci::{Choice, Matching};
use crate::sync::resolve::{Resolved, ResolvedImage};

/// The lowest format version whose readers accept the content of all images, at most `highest`.
///
/// # Errors
/// [`PlanError::Version`] if that is too low.
pub(super) fn lowest_version(resolved: &Resolved, highest: Option<u32>) -> Result<u32, PlanError> {
    const NEEDED: u32 = 2;
    let found = |image: &ResolvedImage| {
        needs_version_2(image, &resolved.manifests).map(|what| (image.reference.to_string(), what))
    };
    match resolved.images.iter().find_map(found) {
        None => Ok(FIRST_VERSION),
        Some((image, what)) if highest.is_some_and(|highest| highest < NEEDED) => {
            Err(PlanError::Version { image, needed: NEEDED, what })
        }
        Some(_) => Ok(NEEDED),
    }
}

/// The content of an image that needs format version 2, for a message; `None` if version 1 suffices.
fn needs_version_2(image: &ResolvedImage, manifests: &Manifests) -> Option<String> {
    let referrers = image.referrers.iter().map(|referrer| &referrer.closure);
    let mut closures = std::iter::once(&image.closure).chain(referrers);
    if !is_chosen_alike(image, manifests) {
        return Some("its platforms are written or matched in a way that version 1 does not know".to_owned());
    }
    if let Some(AbsentChild { name, digest, .. }) =
        closures.clone().find_map(|closure| closure.absent.first())
    {
        return Some(format!(
            "the {name} ({digest}) that its index lists is not available, and readers of version 1 require it"
        ));
    }
    if closures.any(|closure| !is_plain(closure, manifests)) {
        let what = "it holds foreign layers, or its index has entries that readers of version 1 refuse";
        return Some(what.to_owned());
    }
    None
}

/// Whether a reader of version 1 expects the same content.
fn is_chosen_alike(image: &ResolvedImage, manifests: &Manifests) -> bool {
    if image.platforms.is_empty() {
        return true;
    }
    let choice = Choice { platforms: &image.platforms, matching: Matching::Literal };
    let digests = |closure: &Closure| closure.manifests.iter().map(|of| of.digest).collect::<Vec<_>>();
    let literal = manifests.closure_by(&image.root, choice);
    literal.is_ok_and(|literal| digests(&literal) == digests(&image.closure))
}

fn is_plain(closure: &Closure, manifests: &Manifests) -> bool {
    let plain = |manifest| manifests.read(manifest).is_ok_and(|manifest| manifest.is_plain());
    closure.opaque.is_empty() && closure.manifests.iter().all(plain)
}
