// SPDX-License-Identifier: Apache-2.0
//! What a set wants, as far as its spec says it. Pure.

use jiff::Timestamp;
use krs_core::crd::{EdgeImageSet, EdgeImageSetSpec, Source, reason};
use krs_core::error::shortened;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{Destination, Reference};
use krs_core::set::{SetImage, check_spec};

use super::ownership::Repositories;
use crate::engine::decide::Blocker;
use crate::model::bundle_inventory::{BundleInventory, TagResolution};
use crate::model::policy::Destinations;
use crate::model::state::SetState;
use crate::model::target::{Target, targets};

/// Most problems of a spec that a message names.
const SHOWN: usize = 3;

/// A spec that is understood.
pub(super) struct ParsedSpec {
    pub(super) destination: Destination,
    pub(super) images: Vec<SetImage>,
}

/// Understands a spec. The API server has judged it before, but perhaps by the rules of another version. (T-79)
pub(super) fn read(spec: &EdgeImageSetSpec) -> Result<ParsedSpec, Blocker> {
    let images = check_spec(spec).map_err(|problems| {
        let shown = problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message));
        invalid(shortened(shown, SHOWN, "; "))
    })?;
    if spec.destination_registry.contains("${") {
        return Err(invalid(
            "spec.destinationRegistry holds a variable that nothing has filled in: let the GitOps engine fill it in (Flux: postBuild.substitute; else kustomize or helm template), or write the registry itself".to_owned(),
        ));
    }
    let destination = spec
        .destination_registry
        .parse::<Destination>()
        .map_err(|error| invalid(format!("spec.destinationRegistry: {error}")))?;
    Ok(ParsedSpec { destination, images })
}

/// What is said of a spec that this version cannot read.
pub(super) fn unreadable(why: &str) -> Blocker {
    let version = env!("CARGO_PKG_VERSION");
    invalid(format!(
        "the spec cannot be read by this importer (version {version}): {why}; correct the set, or update the importer"
    ))
}

fn invalid(message: String) -> Blocker {
    Blocker { reason: reason::INVALID_SPEC, message, stalled: true }
}

/// Whether the site allows sets of `namespace` the destination, and to speak to it as `spec` says.
pub(super) fn allowed(
    destination: &Destination,
    spec: &EdgeImageSetSpec,
    namespace: &str,
    policy: &Destinations,
) -> Result<(), Blocker> {
    if !policy.allow(destination, namespace) {
        let message = format!(
            "the site's policy does not allow {destination} as a destination of namespace {namespace}: the administrator of the importer can add it to allowedDestinations"
        );
        return Err(Blocker { reason: reason::DESTINATION_NOT_ALLOWED, message, stalled: true });
    }
    let forbidden = spec.destination_tls.as_ref().map(|tls| policy.forbidden_tls(tls)).unwrap_or_default();
    if forbidden.is_empty() {
        return Ok(());
    }
    let fields = forbidden.iter().map(|(field, _)| format!("spec.destinationTLS.{field}"));
    let values = forbidden.iter().map(|(_, value)| format!("destinationTLS.{value}"));
    let message = format!(
        "the site's policy forbids {}: remove it, and name the registry's CA certificate in spec.destinationTLS if it is not a public one; the administrator of the importer can set {}",
        fields.collect::<Vec<_>>().join(" and "),
        values.collect::<Vec<_>>().join(" and "),
    );
    Err(Blocker { reason: reason::INSECURE_DESTINATION_NOT_ALLOWED, message, stalled: true })
}

impl ParsedSpec {
    /// The repositories that the set writes to.
    pub(super) fn repositories(&self) -> Repositories {
        let repository = |image: &SetImage| self.destination.repository(&image.repository).ok();
        let repositories = self.images.iter().filter_map(repository);
        repositories.map(|repository| (self.destination.registry.clone(), repository)).collect()
    }

    /// What has to be at the edge, where `digest` knows what the references stand for.
    pub(super) fn targets(
        &self,
        spec: &EdgeImageSetSpec,
        digest: impl Fn(&Reference) -> Option<Digest>,
    ) -> Result<Vec<Target>, Blocker> {
        let secret = |n: usize| spec.images.get(n).and_then(|image| image.source_client_secret_name.clone());
        targets(&self.destination, &self.images, secret, digest).map_err(|error| invalid(error.to_string()))
    }
}

/// Whether a set may write to the registry that it names.
pub(super) fn may_write(set: &EdgeImageSet, list: &Destinations) -> bool {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let is_allowed = |wanted: ParsedSpec| allowed(&wanted.destination, &set.spec, namespace, list).is_ok();
    set.metadata.deletion_timestamp.is_none() && !set.spec.suspend && read(&set.spec).is_ok_and(is_allowed)
}

/// What a set gives names to, as far as it is known without asking anybody: what its tags stood for so far counts where
/// its media are away and its registry was not asked yet.
pub(super) fn preview(set: &EdgeImageSet, stock: &BundleInventory, state: &SetState) -> Vec<Target> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let resolved = |reference: &Reference| {
        let held = state.resolved.get(&reference.to_string());
        let answer = match set.spec.source {
            Source::Registry => TagResolution::Unanswered,
            Source::Auto | Source::Bundle => stock.resolve(namespace, reference, held),
        };
        match answer {
            TagResolution::New(answer) => Some(answer.candidate()),
            TagResolution::Unchanged | TagResolution::Unanswered => held.map(|held| held.digest),
        }
    };
    let digest = |reference: &Reference| reference.digest.or_else(|| resolved(reference));
    read(&set.spec).and_then(|wanted| wanted.targets(&set.spec, digest)).unwrap_or_default()
}

/// When a set was created: of two sets, the older one keeps a name.
pub(super) fn created(set: &EdgeImageSet) -> Option<Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}
