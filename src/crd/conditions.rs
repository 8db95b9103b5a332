// SPDX-License-Identifier: Apache-2.0
//! Types and reasons of the conditions of a status, in one place because machines match on them.

/// Types of conditions.
pub mod condition {
    /// Every image is verified in the destination registry, at this generation. What GitOps engines wait for.
    pub const READY: &str = "Ready";
    /// Always equal to [`READY`].
    pub const SYNCED: &str = "Synced";
    /// Work is in progress, or a bundle is awaited. Present only while True.
    pub const RECONCILING: &str = "Reconciling";
    /// The set's owner must act. Present only while True.
    pub const STALLED: &str = "Stalled";
    /// The bundle that the images came from passed all checks.
    pub const BUNDLE_VERIFIED: &str = "BundleVerified";
    /// ImageBundle: signature, freshness and structure are right; False once a byte turned out to be damaged.
    pub const VERIFIED: &str = "Verified";
    /// ImageBundle: every byte of it is there, on media that are mounted.
    pub const COMPLETE: &str = "Complete";
    /// ImageBundle: a newer bundle of its stream was used, so that this one decides no tag and no set is applied from it.
    pub const SUPERSEDED: &str = "Superseded";
    /// ImageBundle: no set will copy anything that it holds.
    pub const IMPORTED: &str = "Imported";
    /// ImageBundle: nothing is read from the media, and nothing will be.
    pub const SAFE_TO_REMOVE: &str = "SafeToRemove";
}

/// Reasons of conditions.
pub mod reason {
    /// Ready, Synced: all images are verified.
    pub const SYNC_SUCCESSFUL: &str = "SyncSuccessful";
    /// Ready, Synced, Reconciling: images are missing that no verified bundle holds.
    pub const WAITING_FOR_BUNDLE: &str = "WaitingForBundle";
    /// Ready, Synced: images are being copied.
    pub const COPYING: &str = "Copying";
    /// Ready, Synced: the destination registry does not answer.
    pub const REGISTRY_UNREACHABLE: &str = "RegistryUnreachable";
    /// Ready, Synced: the destination registry failed several times in a row, and is not asked for a while.
    pub const REGISTRY_BACK_OFF: &str = "RegistryBackOff";
    /// Ready, Synced: a registry refused the credentials.
    pub const AUTH_FAILED: &str = "AuthFailed";
    /// Ready, Synced: no trusted connection could be made.
    pub const TLS_FAILED: &str = "TLSFailed";
    /// Ready, Synced: a Secret or ConfigMap that the set names does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// Reconciling: copy Jobs are running.
    pub const COPYING_IMAGES: &str = "CopyingImages";
    /// Reconciling: the last attempt failed, another one follows.
    pub const RETRYING: &str = "Retrying";
    /// Stalled: the spec breaks a rule.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Stalled: two references meet in one repository and tag with different digests.
    pub const NAMING_COLLISION: &str = "NamingCollision";
    /// Stalled: the site's policy does not allow this destination registry.
    pub const DESTINATION_NOT_ALLOWED: &str = "DestinationNotAllowed";
    /// Stalled: the site's policy forbids plain HTTP, or that certificates are not checked.
    pub const INSECURE_DESTINATION_NOT_ALLOWED: &str = "InsecureDestinationNotAllowed";
    /// Stalled: the destination registry accepts no index with missing children.
    pub const SPARSE_INDEX_REFUSED: &str = "SparseIndexRefused";
    /// Stalled: a delta assumes layers that the destination registry does not have.
    pub const BASE_MISSING: &str = "BaseMissing";
    /// Stalled: content differs from its digest.
    pub const DIGEST_MISMATCH: &str = "DigestMismatch";
    /// Ready, Synced: a Secret or ConfigMap that the set names does not hold what is expected.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// Ready, Synced: the importer may not read a Secret or ConfigMap that the set names.
    pub const SECRET_FORBIDDEN: &str = "SecretForbidden";
    /// Ready, Synced: the importer may not read the copy Jobs of the set.
    pub const JOBS_FORBIDDEN: &str = "JobsForbidden";
    /// Ready, Synced: the API server refused a copy Job.
    pub const JOB_REJECTED: &str = "JobRejected";
    /// Ready, Synced: an image does not exist where it is copied from.
    pub const IMAGE_NOT_FOUND: &str = "ImageNotFound";
    /// Ready, Synced: the destination registry refuses what is sent.
    pub const REGISTRY_REFUSED: &str = "RegistryRefused";
    /// Ready, Synced: the storage of the destination registry, or a quota there, is used up.
    pub const REGISTRY_FULL: &str = "RegistryFull";
    /// Ready, Synced: the destination registry is read-only at present, or is a pull-through cache.
    pub const REGISTRY_READ_ONLY: &str = "RegistryReadOnly";
    /// Ready, Synced: the site's policy does not allow the image's own registry, or no copying without a bundle.
    pub const SOURCE_NOT_ALLOWED: &str = "SourceNotAllowed";
    /// Ready, Synced: a bundle holds an image, and none of its sets in this namespace lists it.
    pub const NAMESPACE_NOT_LISTED: &str = "NamespaceNotListed";
    /// Ready, Synced: the media with the bundle cannot be read.
    pub const MEDIA_READ_ERROR: &str = "MediaReadError";
    /// Ready, Synced: the importer's registry does not serve the bundle at present: its media are away, or the importer
    /// has just started.
    pub const BUNDLE_UNAVAILABLE: &str = "BundleUnavailable";
    /// Ready, Synced: a copy Job's Pod cannot connect to a registry: nothing answers, as where a NetworkPolicy or a firewall
    /// drops packets.
    pub const CONNECTION_TIMED_OUT: &str = "ConnectionTimedOut";
    /// Ready, Synced: copying failed in a way that has no reason of its own.
    pub const COPY_FAILED: &str = "CopyFailed";
    /// Ready, Synced: the set is suspended.
    pub const SUSPENDED: &str = "Suspended";
    /// A failure in the status: somebody else moves a tag that the set names.
    pub const TAG_CONTESTED: &str = "TagContested";
    /// BundleVerified: all checks passed.
    pub const SUCCEEDED: &str = "Succeeded";

    /// Message that goes with [`SYNC_SUCCESSFUL`].
    pub const SYNC_SUCCESSFUL_MESSAGE: &str = "All declared images are present in the destination registry.";
}
