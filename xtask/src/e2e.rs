// SPDX-License-Identifier: Apache-2.0
//! The importer in a real Kubernetes: its tests, and the demonstration.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use crate::cluster::{self, Node};
use crate::image;
use xtask::cache::Cache;
use xtask::rootfs::IMPORTER_IMAGE;
use xtask::rootfs::labels::Addresses;
use xtask::run::{self, Result, checkout};

/// The user's own cluster in place of ours.
const KUBECONFIG: &str = "KUBECONFIG_E2E";
/// How many lines of a log are shown when tests on the cluster fail.
const LOG_LINES: usize = 20;

/// Runs the tests end to end, with these arguments: on a cluster of our own with this name that is taken down afterwards, or
/// on the user's.
pub(crate) fn run(cache: &Cache, name: &str, arguments: &[&str]) -> Result<()> {
    let cargo = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(checkout());
        cargo
    };
    let krs = run::executable(cargo().args(["build", "--locked", "--package", "krs-cli", "--bins"]), "krs")?;
    let mut test = cargo();
    test.args([
        "test",
        "--locked",
        "--package",
        "krs-importer",
        "--features",
        "e2e",
        "--test",
        "e2e",
        "--no-run",
    ]);
    let test = run::executable(&mut test, "e2e")?;
    // A cluster for no test would be minutes for nothing, and look like success.
    if !run::output(Command::new(&test).args(arguments).arg("--list"))?.contains(": test\n") {
        return Err(format!("no cluster test matches `{}`", arguments.join(" ")).into());
    }
    let with_settings = |command: &mut Command| {
        command
            .env("KRS_TOOLS", cache.tools())
            .env("KRS_E2E_KRS", &krs)
            .current_dir(checkout().join("importer"));
    };
    if let Some(kubeconfig) = env::var_os(KUBECONFIG) {
        let mut command = Command::new(&test);
        with_settings(&mut command);
        command.env("KUBECONFIG", kubeconfig).env("PATH", with_cluster_programs(cache));
        return run::run(command.args(arguments));
    }
    let archive = image::importer(cache, &cache.cluster().join("importer"), false, &Addresses::default())?;
    let node = Node::new(cache, name);
    node.down()?;
    let result = cluster::up(cache, &node).and_then(|()| {
        node.load(&archive)?;
        let mut command = node.inside()?;
        with_settings(&mut command);
        command.env(KUBECONFIG, node.kubeconfig()).env("KRS_E2E_NODE", node.dir());
        command.env("KRS_E2E_IMAGE", IMPORTER_IMAGE);
        run::run(command.arg(&test).args(arguments))
    });
    if result.is_err() {
        node.tell_logs(LOG_LINES);
    }
    let down = node.down();
    result.and(down)
}

/// `PATH` with the programs that were built for the cluster in front.
pub(crate) fn with_cluster_programs(cache: &Cache) -> OsString {
    let mut path = OsString::from(cache.cluster().join("bin"));
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    path
}
