// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;
use krs_core::oci::reference::Destination;

use super::{flag, value};

/// Write an EdgeImageSet of the images that manifests, charts, lists or a cluster use
///
/// Reads Kubernetes resources in files and folders, builds kustomizations (`kustomize build`), renders Helm charts
/// (`helm template`), and reads lists of images of other tools (K3s, Rancher, Hauler, oc-mirror, Zarf, Compose and others);
/// nothing is fetched from a network, except from the cluster that --cluster names. Each image gets a comment that says what uses it. What cannot be
/// read or rendered is named with what to do, and the exit code is 6. `krs pin` adds the digests.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs collect . --destination edge.local:5000 -o images.yaml
  krs collect . -o images.yaml --prune
  krs collect deploy charts/shop --values prod.yaml --destination edge.local:5000 -o images.yaml
  helm template charts/shop | krs collect - --destination edge.local:5000
  krs collect rke2-images.linux-amd64.txt --destination edge.local:5000 -o rke2.yaml
  krs collect --cluster --destination edge.local:5000 -o running.yaml
  krs collect . --check")]
pub(crate) struct CollectArgs {
    /// Folders, manifests, charts or lists of images, or `-` for rendered YAML on standard input
    #[arg(required_unless_present = "cluster", value_name = "SOURCE")]
    pub(crate) sources: Vec<Utf8PathBuf>,
    /// Read the Pods, Deployments, StatefulSets, DaemonSets and CronJobs of a running cluster with `kubectl`: that of the
    /// current context, or of the named one. Images of Pods get the digest that runs
    #[arg(long, value_name = "CONTEXT", env = "KRS_CLUSTER", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = "Cluster")]
    pub(crate) cluster: Option<String>,
    /// Write the set to this file [default: standard output]. If the file has a set already, new images are added at its end,
    /// and everything else stays as it is
    #[arg(short = 'o', long = "output", value_name = "FILE", env = "KRS_OUTPUT", help_heading = "Set")]
    pub(crate) output: Option<Utf8PathBuf>,
    /// The set's destinationRegistry: the registry at the edge. Needed for a new set
    #[arg(
        long,
        value_name = "REGISTRY[/PREFIX]",
        env = "KRS_DESTINATION",
        value_parser = value::destination,
        help_heading = "Set"
    )]
    pub(crate) destination: Option<Destination>,
    /// Name of the set [default: name of the file without its ending, else `images`]. In a file with several sets: the one
    /// that images are added to
    #[arg(long, value_name = "NAME", env = "KRS_NAME", help_heading = "Set")]
    pub(crate) name: Option<String>,
    /// Namespace of the set
    #[arg(long, value_name = "NAMESPACE", env = "KRS_NAMESPACE", help_heading = "Set")]
    pub(crate) namespace: Option<String>,
    /// Remove images that nothing uses from the set in the file
    #[arg(long, env = "KRS_PRUNE", value_parser = flag(), requires = "output", help_heading = "Set")]
    pub(crate) prune: bool,
    /// Write nothing; compare with the EdgeImageSets in the sources. The exit code is 10 if no set carries an image that is used,
    /// or nothing uses an image of a set
    #[arg(long, env = "KRS_CHECK", value_parser = flag(), conflicts_with_all = ["output", "destination", "name", "namespace", "prune"])]
    pub(crate) check: bool,
    /// Accept that something could not be read or rendered: warn, and write the set of the other images
    #[arg(long, env = "KRS_ALLOW_INCOMPLETE", value_parser = flag())]
    pub(crate) allow_incomplete: bool,
    /// Values for the charts of the sources; may be repeated, the last one is the strongest
    #[arg(long, value_name = "FILE", env = "KRS_VALUES", help_heading = "Charts")]
    pub(crate) values: Vec<Utf8PathBuf>,
    /// Version of Kubernetes that charts are rendered for [default: that of helm]
    #[arg(long, value_name = "VERSION", env = "KRS_KUBE_VERSION", help_heading = "Charts")]
    pub(crate) kube_version: Option<String>,
    /// API that charts find in the cluster, for example monitoring.coreos.com/v1; may be repeated
    #[arg(
        long,
        value_name = "GROUP/VERSION",
        env = "KRS_API_VERSIONS",
        value_delimiter = ',',
        help_heading = "Charts"
    )]
    pub(crate) api_versions: Vec<String>,
}
