// SPDX-License-Identifier: Apache-2.0
//! EdgeImageSet: the images that an edge registry must hold, and the importer's answer to it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, message, rule};

/// What a site's registry must hold: the images, where they go, and how they are kept there.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "kuberegistrysync.io",
    version = "v1alpha1",
    kind = "EdgeImageSet",
    plural = "edgeimagesets",
    singular = "edgeimageset",
    namespaced,
    shortname = "eis",
    category = "krs",
    status = "EdgeImageSetStatus",
    derive = "PartialEq",
    doc = "An EdgeImageSet lists container images that must exist in an edge registry. It is Ready when every one of them is verified there.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every image is verified in the destination registry"
    ),
    printcolumn(
        name = "Images",
        type_ = "integer",
        json_path = ".status.images.desired",
        description = "Images that the set lists"
    ),
    printcolumn(
        name = "Present",
        type_ = "integer",
        json_path = ".status.images.present",
        description = "Images that are verified in the destination registry"
    ),
    printcolumn(
        name = "Bundle",
        type_ = "string",
        json_path = ".status.bundle.name",
        description = "Bundle that the images came from"
    ),
    printcolumn(
        name = "Registry",
        type_ = "string",
        json_path = ".spec.destinationRegistry",
        description = "Where the images go"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.lastSyncTime", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeImageSetSpec {
    /// Registry that the images are brought to, as `host[:port][/prefix]`, without a scheme. The prefix, for
    /// example a project of Harbor, is put in front of every repository.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rule(schema::NO_SCHEME, message::DESTINATION_SCHEME))]
    #[x_kube(validation = rule(schema::DESTINATION, message::DESTINATION))]
    pub destination_registry: String,

    /// Secret in this namespace with the credentials of the destination registry: of type
    /// kubernetes.io/dockerconfigjson, kubernetes.io/dockercfg, kubernetes.io/basic-auth, or Opaque. It may also
    /// carry ca.crt, tls.crt and tls.key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule(schema::OBJECT_NAME, message::SECRET_NAME))]
    pub destination_client_secret_name: Option<String>,

    /// How the connection to the destination registry is secured. Absent: TLS with the CA certificates of the
    /// importer.
    #[serde(default, rename = "destinationTLS", skip_serializing_if = "Option::is_none")]
    pub destination_tls: Option<DestinationTls>,

    /// Where the images come from.
    #[serde(default)]
    pub source: Source,

    /// What a repository is called at the edge.
    #[serde(default)]
    pub naming: Naming,

    /// Platforms to bring, as os/architecture[/variant]. Absent: all that an image lists. With a choice the index
    /// keeps its digest, and the other children are missing, which not every registry accepts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::platforms")]
    #[x_kube(validation = rule(schema::PLATFORMS, message::PLATFORM))]
    pub platforms: Vec<String>,

    /// How many copy Jobs may run at once.
    #[serde(default = "default::parallelism")]
    #[schemars(range(min = 1, max = 16))]
    pub parallelism: i32,

    /// How often the set is reconciled without a change, Secrets included, as a duration such as 30s, 10m or 1h30m.
    #[serde(default = "default::resync_interval")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = rule(schema::INTERVAL, message::INTERVAL))]
    pub resync_interval: String,

    /// How often the content of the destination registry is verified again, as a duration such as 12h or 24h.
    #[serde(default = "default::verify_interval")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = rule(schema::INTERVAL, message::INTERVAL))]
    pub verify_interval: String,

    /// Stops all work on this set; what is in the registry stays there.
    #[serde(default)]
    pub suspend: bool,

    /// The images, each at most once.
    #[schemars(length(min = 1, max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["image".to_owned()]))]
    pub images: Vec<EdgeImage>,
}

/// One image of a set.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeImage {
    /// The image in full, registry first and best with tag and digest, in one string so that Renovate and Flux
    /// image automation can update it: docker.io/library/nginx:1.25@sha256:… The digest decides; the tag names
    /// the image at the edge. With only a tag, the tag is resolved again each time.
    #[schemars(length(min = 1, max = 320))]
    #[x_kube(validation = rule(schema::NO_SCHEME, message::IMAGE_SCHEME))]
    #[x_kube(validation = rule(schema::NO_VARIABLE, message::IMAGE_VARIABLE))]
    #[x_kube(validation = rule(schema::IMAGE_REGISTRY, message::IMAGE_REGISTRY))]
    #[x_kube(validation = rule(schema::IMAGE_DIGEST, message::IMAGE_DIGEST))]
    #[x_kube(validation = rule(schema::IMAGE_BARE, message::IMAGE_BARE))]
    #[x_kube(validation = rule(schema::IMAGE_NAME, message::IMAGE_NAME))]
    pub image: String,

    /// Secret in this namespace with the credentials of the image's own registry. One that holds a user and a password
    /// names the registries that they are for in its annotation kuberegistrysync.io/registry-hosts. Used in the cluster
    /// only, when the image comes from there; krs bundle logs in with the files of docker or podman.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule(schema::OBJECT_NAME, message::SECRET_NAME))]
    pub source_client_secret_name: Option<String>,

    /// Platforms of this image, in place of the set's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::platforms")]
    #[x_kube(validation = rule(schema::PLATFORMS, message::PLATFORM))]
    pub platforms: Vec<String>,

    /// Repository at the edge, in place of the one that naming derives. The prefix of destinationRegistry is
    /// still put in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rule(schema::REPOSITORY, message::REPOSITORY))]
    pub destination_repository: Option<String>,
}

/// How the connection to the destination registry is secured.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[x_kube(validation = rule(schema::ONE_CA, message::ONE_CA))]
#[x_kube(validation = rule(schema::PLAIN_HTTP, message::PLAIN_HTTP))]
#[serde(rename_all = "camelCase")]
pub struct DestinationTls {
    /// Secret in this namespace that holds the CA certificates to trust, under ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule(schema::OBJECT_NAME, message::SECRET_NAME))]
    pub ca_secret_name: Option<String>,

    /// ConfigMap in this namespace that holds the CA certificates to trust, under ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule(schema::OBJECT_NAME, message::CONFIG_MAP_NAME))]
    pub ca_config_map_name: Option<String>,

    /// Accepts any certificate. Credentials are then sent to any server that answers.
    #[serde(default)]
    pub insecure_skip_verify: bool,

    /// Speaks HTTP without TLS.
    #[serde(default, rename = "plainHTTP")]
    pub plain_http: bool,
}

/// Where the images of a set come from.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum Source {
    /// A verified bundle, else, where the importer allows it, the image's own registry.
    #[default]
    Auto,
    /// Only verified bundles.
    Bundle,
    /// Only the image's own registry.
    Registry,
}

/// What a repository is called at the edge.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum Naming {
    /// Without the source host: docker.io/library/nginx becomes library/nginx.
    #[default]
    PathOnly,
    /// With the source host in front: docker.io/library/nginx stays docker.io/library/nginx; a port follows an
    /// underscore in place of the colon.
    HostInPath,
}

/// Values of fields that a spec leaves out.
pub mod default {
    /// Default of `parallelism`.
    pub const fn parallelism() -> i32 {
        2
    }

    /// Default of `resyncInterval`.
    pub fn resync_interval() -> String {
        "10m".to_owned()
    }

    /// Default of `verifyInterval`.
    pub fn verify_interval() -> String {
        "24h".to_owned()
    }
}

/// What is known about a set, written by the importer.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeImageSetStatus {
    /// Namespace of the importer that serves the set. Others leave it alone while that one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub importer: Option<String>,

    /// Generation of the spec that this status is about; -1 until the importer has seen the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready and Synced always; Reconciling and Stalled only while they are True; BundleVerified where the images
    /// came from a bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,

    /// The images that are verified in the destination registry, as the spec writes them and in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::synchronized_images")]
    pub synchronized_images: Vec<String>,

    /// How many images there are of each state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageCounts>,

    /// The first images that failed, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub failures: Vec<ImageFailure>,

    /// The bundle that the images came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleReference>,

    /// When something was last synchronised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,

    /// The value of the annotation kuberegistrysync.io/reconcile-at for which the destination registry was last asked
    /// about every image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
}

/// How many images of a set there are of each state.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[schemars(inline)]
pub struct ImageCounts {
    /// Images that the spec lists.
    pub desired: i32,
    /// Images that are verified in the destination registry.
    pub present: i32,
    /// Images that are not there yet.
    pub missing: i32,
    /// Missing images whose last attempt failed.
    pub failed: i32,
}

/// Why an image is missing.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[schemars(inline)]
pub struct ImageFailure {
    /// The image as the spec writes it.
    #[schemars(length(max = 320))]
    pub image: String,
    /// One word for machines.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// A sentence for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Names a bundle.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[schemars(inline)]
pub struct BundleReference {
    /// Name of the bundle's file, without `.krs.tar`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Stream that it belongs to.
    #[schemars(length(max = 253))]
    pub stream: String,
    /// Its number in the stream.
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// SHA-256 of its manifest.
    #[schemars(length(max = 71))]
    pub digest: String,
}
