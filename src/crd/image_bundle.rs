// SPDX-License-Identifier: Apache-2.0
//! ImageBundle: the inventory of the drop folder of a site, written by the importer only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the bundle lies.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "kuberegistrysync.io",
    version = "v1alpha1",
    kind = "ImageBundle",
    plural = "imagebundles",
    singular = "imagebundle",
    shortname = "ib",
    category = "krs",
    status = "ImageBundleStatus",
    derive = "PartialEq",
    doc = "An ImageBundle is a bundle of images that the importer has seen in its drop folder: what it holds, whether it may be trusted, and whether the media may be removed. The importer writes it; nobody else needs to.",
    printcolumn(
        name = "Stream",
        type_ = "string",
        json_path = ".status.stream",
        description = "Stream that it belongs to"
    ),
    printcolumn(
        name = "Sequence",
        type_ = "integer",
        json_path = ".status.sequence",
        description = "Its number in the stream"
    ),
    printcolumn(
        name = "Images",
        type_ = "integer",
        json_path = ".status.images",
        description = "Images that it holds"
    ),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Verified\")].status",
        description = "Whether signature, freshness and structure are right"
    ),
    printcolumn(
        name = "Imported",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Imported\")].status",
        description = "Whether no set will copy anything that it holds"
    ),
    printcolumn(
        name = "Safe-To-Remove",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"SafeToRemove\")].status",
        description = "Whether the media may be pulled"
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Size", type_ = "integer", json_path = ".status.size", priority = 1),
    printcolumn(
        name = "Superseded",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Superseded\")].status",
        description = "Whether a newer bundle of its stream was used, so that it decides nothing",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Verified\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ImageBundleSpec {
    /// The file, relative to the drop folder.
    #[schemars(length(min = 1, max = 1024))]
    pub file: String,
}

/// What is known about a bundle.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ImageBundleStatus {
    /// Verified, Complete, Superseded, Imported and SafeToRemove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,

    /// What a person should know or do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,

    /// Stream that it belongs to. Like all that follows: only when the signature is right, or none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub stream: Option<String>,

    /// Its number in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,

    /// SHA-256 of its manifest, which names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub digest: Option<String>,

    /// SHA-256 over what it decides: its stream and sequence, its sets, and the digest of each reference. Bundles with one
    /// sequence have one identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub identity: Option<String>,

    /// Bytes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,

    /// When its content was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,

    /// The Git commit that its sets were read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub commit: Option<String>,

    /// Identifiers of the trusted keys that signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub signers: Vec<String>,

    /// How many images it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<i32>,

    /// How many files the bundle consists of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumeCounts>,

    /// Images that sets of this cluster list and that the bundle lists for sets of other namespaces only. They are not
    /// copied from it, unless the site sets shareAcrossNamespaces. The first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_NAMESPACE_MISMATCHES))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub namespace_mismatches: Vec<NamespaceMismatch>,

    /// Bytes of the blobs that were read and found right so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_verified: Option<i64>,
}

/// Most entries of [`ImageBundleStatus::namespace_mismatches`].
pub const MAX_NAMESPACE_MISMATCHES: usize = 20;

/// An image that a set lists, and the bundle only for sets of other namespaces.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NamespaceMismatch {
    /// The image.
    #[schemars(length(max = 320))]
    pub image: String,
    /// Namespace of the set in this cluster.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the set in this cluster.
    #[schemars(length(max = 253))]
    pub set: String,
    /// Namespaces whose sets in the bundle list the image; the first 8.
    #[schemars(length(max = 8))]
    pub listed_for: Vec<String>,
}

/// How many files a bundle consists of.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[schemars(inline)]
pub struct VolumeCounts {
    /// Files that are there.
    pub present: i32,
    /// Files that there should be.
    pub expected: i32,
}
