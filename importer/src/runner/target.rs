// SPDX-License-Identifier: Apache-2.0
//! Brings one image to one repository at the edge: what refers to it, then the image; walks it there, and tags it last.

use krs_core::bundle::BundleReferrer;
use krs_core::crd::reason;
use krs_core::error::ErrorKind;
use krs_core::oci::Descriptor;
use krs_core::oci::closure::{Closure, Manifests, OptionalContent};
use krs_core::oci::reference::Selector;
use krs_core::registry::{RegistryError, Repository};
use krs_core::sync::fetch;
use krs_core::sync::push::{PushedReferrer, TargetError, list_referrers, mend_lists, put_tag};
use krs_core::sync::resolve::{FoundReferrers, ResolvedReferrer, find_referrers};
use krs_core::sync::verify_present::{Presence, PresenceError, verify_present};

use super::base::Base;
use super::connection;
use super::failure::Failure;
use super::role::EndpointRole;
use super::transfer::{Copy, put};

/// Copies one target, unless all of it is there already.
///
/// # Expected flow
/// Checks what is present, reads the manifests from the source, sends the referrers, then the image, verifies the image at
/// the destination, and sets its tags last.
///
/// # Guarantees
/// `Ok` means that every manifest and blob that must be there was verified, and every tag points to the image.
/// A tag that may not be changed keeps none of the others from being set.
///
/// # Errors
/// [`Failure`] with a reason for the status. What concerns only referrers is no error, and is in the report.
///
/// # Cancellation
/// What has arrived stays; no tag points to an image that was not verified.
pub(super) async fn copy(mut copy: Copy<'_>) -> Result<(), Failure> {
    let target = copy.target;
    let edge = copy.destination.repository(&target.repository)?;
    copy.log_step(copy.destination, &target.repository, "checking what is present");
    match verify_present(&edge, &target.digest, &target.platforms, &target.tags).await {
        Ok(Presence::Complete { absent, .. }) if absent.is_empty() => {
            tracing::info!(image = target.image, "it is there already");
            return Ok(());
        }
        // Where only optional children are absent, what of them the source has is brought all the same. And some
        // registries refuse to answer for what is absent: whether the image may be put there, putting it says.
        Ok(_)
        | Err(PresenceError::Registry(
            RegistryError::Forbidden { .. } | RegistryError::Refused { .. } | RegistryError::Denied { .. },
        )) => {}
        Err(error) => return Err(Failure::verify_present(&error)),
    }
    let (root, closure, found, manifests) = copy.read_source().await?;
    for missing in &found.missing {
        copy.lose(&missing.digest.unwrap_or(missing.subject), &missing.reason);
    }
    for absent in &closure.absent {
        copy.lose(&absent.digest, &format!("the {}: {}", absent.name, absent.absence.reason));
    }
    let referrers = found.referrers;
    if let Some(list) = target.patches {
        copy.bring_patched(&edge, &closure, list).await?;
    }
    if copy.source.role == EndpointRole::Bundle {
        let source = copy.source.repository(&target.source_repository)?;
        let closures = std::iter::once(&closure).chain(referrers.iter().map(|referrer| &referrer.closure));
        copy.base = Base::find(&source, &edge, copy.mount_from, closures).await?;
    }
    // Before the image: whoever finds the image finds its signatures. They are optional: what fails with one of them
    // costs that one.
    let mut brought = Vec::with_capacity(referrers.len());
    for referrer in referrers {
        match copy.transfer(&edge, &referrer.closure, &manifests, &OptionalContent::default()).await {
            Ok(acknowledged) => brought.push((acknowledged == Some(referrer.subject), referrer)),
            // No other request can succeed either.
            Err(failure) if failure.for_all => return Err(failure),
            Err(failure) => copy.lose(&referrer.root.digest, &failure.message),
        }
    }
    let optional = manifests.optional(&root, &closure);
    copy.transfer(&edge, &closure, &manifests, &optional).await?;
    copy.list(&edge, &brought, &manifests).await;
    copy.log_step(copy.destination, &target.repository, "verifying what was copied");
    let presence = verify_present(&edge, &target.digest, &target.platforms, &[]).await;
    match presence.map_err(|error| Failure::verify_present(&error))? {
        Presence::Complete { .. } | Presence::Tag { .. } => {}
        Presence::Missing { what } => {
            let text = format!("{what} is not at the destination registry after it was copied there");
            return Err(Failure::new(reason::COPY_FAILED, ErrorKind::Unavailable, &text));
        }
    }
    let mut refused = None;
    for tag in &target.tags {
        tracing::info!(image = target.image, registry = %copy.destination.registry, %tag, "setting a tag");
        // One that may not be changed keeps none of the others.
        match put_tag(&edge, tag, &root, &manifests).await {
            Ok(_) => {}
            Err(error @ TargetError::FixedTag { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(Failure::target(&error)),
        }
    }
    refused.map_or(Ok(()), |error| Err(Failure::target(&error)))
}

impl Copy<'_> {
    /// Makes the referrers findable: by the API, by a list under a tag, or by the tags that they had. With each comes
    /// whether the registry said that it lists it.
    async fn list(
        &mut self,
        edge: &Repository,
        referrers: &[(bool, ResolvedReferrer)],
        manifests: &Manifests,
    ) {
        let described = referrers.iter().map(|(acknowledged, referrer)| {
            let ResolvedReferrer { subject, root, artifact_type, tag, .. } = referrer;
            let described = BundleReferrer {
                artifact_type: artifact_type.clone(),
                digest: root.digest,
                media_type: root.media_type.clone(),
                subject: *subject,
                tag: tag.clone(),
            };
            (described, root, *acknowledged)
        });
        let described = described.collect::<Vec<_>>();
        let pushed = described.iter().map(|(referrer, root, acknowledged)| PushedReferrer {
            referrer,
            root,
            acknowledged: *acknowledged,
        });
        let (written, mut problems) = list_referrers(edge, &pushed.collect::<Vec<_>>(), manifests).await;
        problems.extend(mend_lists(edge, written).await);
        for problem in problems {
            self.lose(&problem.digest, &problem.reason);
        }
        for (root, tag) in
            referrers.iter().filter_map(|(_, referrer)| Some((&referrer.root, referrer.tag.as_ref()?)))
        {
            if let Err(failure) = put(edge, &Selector::Tag(tag.clone()), root, manifests).await {
                self.lose(tag, &failure.message);
            }
        }
    }

    /// What the source has of the target.
    async fn read_source(&self) -> Result<(Descriptor, Closure, FoundReferrers, Manifests), Failure> {
        connection::check(self.source).await?;
        let role = self.source.role;
        let repository = self.source.repository(&self.target.source_repository)?;
        self.log_step(self.source, &self.target.source_repository, "reading the manifests");
        let mut manifests = Manifests::default();
        let fetched = async {
            let root = fetch::fetch_root(&repository, &self.target.digest, &mut manifests).await?;
            let closure =
                fetch::fetch_closure(&repository, &root, &self.target.platforms, &mut manifests).await?;
            Ok((root, closure))
        };
        let (root, closure) = fetched.await.map_err(|error| Failure::fetch(role, &error))?;
        let found = find_referrers(&repository, &closure, &mut manifests).await;
        Ok((root, closure, found, manifests))
    }
}
