// SPDX-License-Identifier: Apache-2.0
//! Kubernetes and its companions from the Go module `testing/cluster/kube`: one build, so that what they share is
//! compiled once.

use std::fs;
use std::os::unix::fs as unix;
use std::process::Command;

use xtask::cache::Cache;
use xtask::run::{self, Result, checkout, step};
use xtask::tools;

/// Packages of the module's build, each with the program that it becomes.
const PROGRAMS: &[(&str, &str)] = &[
    (".", "kube"),
    ("./coredns", "coredns"),
    ("./kstatus", "kstatus"),
    ("github.com/containerd/containerd/v2/cmd/containerd", "containerd"),
    ("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
    ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
    ("helm.sh/helm/v4/cmd/helm", "helm"),
];

/// Without debug information, as the linker drops it: less work and less cache. The tags leave out what no test uses.
const FLAGS: &[&str] =
    &["-trimpath", "-gcflags=all=-dwarf=false", "-tags=grpcnotrace,no_btrfs,no_zfs,no_devmapper,no_tracing"];

/// Builds the programs unless they were made of the same sources with the same flags.
pub(crate) fn programs(cache: &Cache) -> Result<()> {
    let module = checkout().join("testing/cluster/kube");
    let version = kubernetes_version(&fs::read_to_string(module.join("go.mod"))?)?;
    let link = link_flags(&version)?;
    let made_of = format!("{} {} {link} {PROGRAMS:?}", tools::version_of_folder(&module)?, FLAGS.join(" "));

    let _lock = cache.lock("cluster.lock")?;
    let (bin, stamp) = (cache.cluster().join("bin"), cache.cluster().join("bin.stamp"));
    let there = PROGRAMS.iter().all(|(_, program)| bin.join(program).is_file());
    if there && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_of) {
        return Ok(());
    }
    fs::create_dir_all(&bin)?;
    step(
        &format!("go build Kubernetes {version}, containerd, CoreDNS, helm (once; some 15 minutes)"),
        || {
            // Whoever ends us ends the compiler too.
            let mut go = tools::go("setpriv")?;
            go.args(["--pdeathsig", "TERM", "go", "build"])
                .current_dir(&module)
                .args(FLAGS)
                .arg("-ldflags")
                .arg(&link);
            go.arg("-o").arg(format!("{}/", bin.display()));
            run::run(go.args(PROGRAMS.iter().map(|(package, _)| package)))
        },
    )?;
    let kubectl = bin.join("kubectl");
    if kubectl.is_symlink() {
        fs::remove_file(&kubectl)?;
    }
    unix::symlink("kube", kubectl)?;
    Ok(fs::write(stamp, made_of)?)
}

/// Starts `cargo xtask cluster build` beside us, behind everything else that wants the processor.
pub(crate) fn in_background(cache: &Cache) -> Result<Background> {
    fs::create_dir_all(cache.cluster())?;
    let log = cache.cluster().join("build.log");
    let output = fs::File::create(&log)?;
    let child = Command::new("nice")
        .args(["-n", "10"])
        .arg(std::env::current_exe()?)
        .args(["cluster", "build"])
        .stdin(std::process::Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    Ok(Background { child, log })
}

/// A build that runs beside us.
#[derive(Debug)]
pub(crate) struct Background {
    child: std::process::Child,
    log: std::path::PathBuf,
}

impl Background {
    /// Ends it: another part has failed. The Go compiler keeps what it has finished.
    pub(crate) fn stop(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it is done; says what it said where it failed.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.child.wait()?;
        let output_text = fs::read_to_string(&self.log).unwrap_or_default();
        if status.success() {
            print!("{output_text}");
            return Ok(());
        }
        Err(format!("building the cluster's programs failed: {status}\n{}", run::tail(&output_text, 30))
            .into())
    }
}

/// The version that the module asks for.
fn kubernetes_version(go_mod: &str) -> Result<String> {
    let required = |line: &str| line.trim().strip_prefix("k8s.io/kubernetes ").map(str::to_owned);
    let line = go_mod.lines().find_map(required).ok_or("go.mod does not require k8s.io/kubernetes")?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Without them the node reports v0.0.0.
fn link_flags(version: &str) -> Result<String> {
    let minor = version.strip_prefix("v1.").and_then(|rest| rest.split('.').next());
    let minor = minor.ok_or_else(|| format!("Kubernetes {version} is not v1.N.N"))?;
    let stamp = "-X k8s.io/component-base/version";
    Ok(format!(
        "-s -w {stamp}.gitVersion={version} {stamp}.gitMajor=1 {stamp}.gitMinor={minor} {stamp}.gitTreeState=clean"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_reports_the_version_that_the_module_requires() {
        let go_mod =
            "module m\nrequire (\n\tk8s.io/kubectl v0.37.1\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n";
        let version = kubernetes_version(go_mod).unwrap_or_default();
        assert_eq!(version, "v1.37.2");
        let flags = link_flags(&version).unwrap_or_default();
        assert!(flags.contains("version.gitVersion=v1.37.2 ") && flags.contains("gitMinor=37 "), "{flags}");
        assert!(link_flags("v2.0.0").is_err());
    }
}
