// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask cluster`: a real Kubernetes with one node, for tests, in namespaces of its own.

pub(crate) mod build;
mod node;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use clap::Subcommand;

pub(crate) use self::node::Node;
use crate::image;
use xtask::cache::Cache;
use xtask::run::{Result, is_root, step};
use xtask::tools::{self, Need};

/// Arguments of `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build what a cluster needs, without starting one
    Build,
    /// Start a cluster and wait until its node is Ready
    Up(NodeOptions),
    /// Stop a cluster and delete everything that it wrote
    Down(NodeOptions),
    /// Show which components run, and the paths of logs and folders
    Status {
        /// Only this cluster
        #[arg(long, value_parser = name)]
        name: Option<String>,
    },
    /// Run a command in a cluster's namespaces, with KUBECONFIG set and kubectl, helm, ctr ... on PATH
    Exec {
        #[command(flatten)]
        options: NodeOptions,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

#[derive(Debug, clap::Args)]
struct NodeOptions {
    /// Name of the cluster; several can run at the same time
    #[arg(long, default_value = "krs", value_parser = name)]
    name: String,
}

/// Does what was asked for.
pub(crate) fn run(cache: &Cache, args: &Args) -> Result<()> {
    match &args.action {
        Action::Build => prepare(cache).map(drop),
        Action::Up(options) => {
            let node = Node::new(cache, &options.name);
            up(cache, &node)?;
            println!();
            node.describe()
        }
        Action::Down(options) => {
            let node = Node::new(cache, &options.name);
            if !node.dir().exists() {
                println!("there is no cluster {}", node.name());
            }
            node.down()
        }
        Action::Status { name: Some(name) } => Node::new(cache, name).describe(),
        Action::Status { name: None } => {
            let nodes = Node::all(cache)?;
            if nodes.is_empty() {
                println!("no cluster is running; `cargo xtask cluster up` starts one");
            }
            nodes.iter().try_for_each(Node::describe)
        }
        Action::Exec { options, command } => {
            let mut command_line = Node::new(cache, &options.name).inside()?;
            Err(command_line.args(command).exec().into())
        }
    }
}

/// Builds what is missing, then starts a cluster and waits until its node is Ready.
pub(crate) fn up(cache: &Cache, node: &Node) -> Result<()> {
    if !is_root() {
        return Err("a cluster requires root: its node has namespaces, mounts and cgroups of its own".into());
    }
    let images = prepare(cache)?;
    step(&format!("start cluster {}", node.name()), || node.up(cache, &images))
}

/// Builds programs and test images; answers the folder of the images.
fn prepare(cache: &Cache) -> Result<PathBuf> {
    tools::install(cache, &[Need::Cluster])?;
    build::programs(cache)?;
    image::test_images(cache)
}

fn name(text: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 32 characters of a-z, 0-9 and -, not starting with -".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_leave_the_folder_of_clusters_is_refused() {
        for good in ["krs", "e2e", "a-1"] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in ["", "..", "a/b", "-a", "A", "a b", &"a".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
