// SPDX-License-Identifier: Apache-2.0
//! The status of a fleet, as it is shown.

use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::StreamName;
use crate::oci::digest::Digest;
use crate::sync::receipt::RefusedBundle;

/// What is known of the sites, and what they would get next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The sites, sorted by name.
    pub sites: Vec<SiteStatus>,
    /// The streams whose newest bundle the catalog has, sorted by name.
    pub streams: Vec<StreamStatus>,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// Its name.
    pub site: String,
    /// When it last said what it has; absent: nothing came back from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Seconds since then; negative: its clock, or that of this machine, is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
    /// Whether the signature of that was verified.
    pub verified: bool,
    /// The key of the signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_by: Option<String>,
    /// The values of `--against` for the site.
    pub against: Vec<String>,
    /// The highest format version of bundles that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<u32>,
    /// Images that its sets list and that are not present; absent: no complete receipt says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaited: Option<AwaitedImages>,
    /// Bundles that it does not use; absent: no complete receipt says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedBundles>,
    /// Receipts that were read and that are not the newest.
    pub older_receipts: usize,
    /// The streams that it gets, sorted by name.
    pub streams: Vec<SiteStream>,
    /// What else a person should know.
    pub remarks: Vec<String>,
}

/// Images that are not present yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AwaitedImages {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub images: Vec<String>,
}

/// Bundles that are not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedBundles {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub bundles: Vec<RefusedBundle>,
}

/// A site and a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteStream {
    /// The stream.
    pub stream: StreamName,
    /// The newest bundle that the site confirmed; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<ConfirmedBundle>,
    /// What was sent to it since and never confirmed.
    pub unconfirmed: UnconfirmedBundles,
    /// Whether it has the newest bundle of the stream; absent: the catalog has none of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<bool>,
    /// What the newest bundle would weigh for this site; absent: it has it, or the catalog does not have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextBundle>,
}

/// A bundle that a site has imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmedBundle {
    /// Its number in the stream.
    pub sequence: u64,
    /// Digest of its manifest.
    pub digest: Digest,
    /// When the site said so.
    pub created_at: Timestamp,
    /// Whether the signature was verified.
    pub verified: bool,
    /// Whether the catalog has the bundle.
    pub in_catalog: bool,
}

/// Bundles that were sent and never confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnconfirmedBundles {
    /// How many.
    pub count: usize,
    /// The newest of them, by falling sequence.
    pub bundles: Vec<UnconfirmedBundle>,
}

/// A bundle that was sent and never confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnconfirmedBundle {
    /// Its number in the stream.
    pub sequence: u64,
    /// When it was recorded.
    pub sent_at: Timestamp,
    /// Name of the file.
    pub file: String,
}

/// The newest bundle of a stream, without the layers that a site has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextBundle {
    /// Bytes of its blobs.
    pub bytes: u64,
    /// Number of the [`GroupStatus`] that the site is in.
    pub group: usize,
}

/// A stream and the bundles that are missing at its sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// The stream.
    pub stream: StreamName,
    /// The number of its newest bundle.
    pub sequence: u64,
    /// Bytes of all blobs of that bundle, with the layers that a delta left out.
    pub full_bytes: u64,
    /// How many sites have it.
    pub current_sites: usize,
    /// Sites that should share a bundle, by falling bytes.
    pub groups: Vec<GroupStatus>,
}

/// Sites that should share a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Its number in the stream, from 1.
    pub group: usize,
    /// The sites, sorted.
    pub sites: Vec<String>,
    /// Bytes of the blobs of the shared bundle.
    pub bytes: u64,
    /// Bytes of the bundles that the sites would get one by one.
    pub separate_bytes: u64,
    /// The values of `--against`; empty: of one site nothing is known, and the bundle is a full one.
    pub against: Vec<String>,
}
