// SPDX-License-Identifier: Apache-2.0
//! One cluster: the folder of all that it writes, and PID 1 of its namespaces.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xtask::cache::Cache;
use xtask::run::{self, Result, checkout};

/// How long the node may take to start its components.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long the kernel may take to end everything.
const END_LIMIT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(100);

/// A cluster, up or not.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    dir: PathBuf,
    bin: PathBuf,
}

impl Node {
    /// The cluster with this name; starts nothing.
    pub(crate) fn new(cache: &Cache, name: &str) -> Self {
        let cluster = cache.cluster();
        Self { name: name.to_owned(), dir: cluster.join("nodes").join(name), bin: cluster.join("bin") }
    }

    /// All that are up, or were not taken down.
    pub(crate) fn all(cache: &Cache) -> Result<Vec<Self>> {
        let Ok(folders) = fs::read_dir(cache.cluster().join("nodes")) else { return Ok(Vec::new()) };
        let mut names: Vec<String> = folders
            .map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        Ok(names.iter().map(|name| Self::new(cache, name)).collect())
    }

    /// Name of the node's container.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The folder of all that it writes.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The administrator's; its address is inside of the namespaces.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("pki/admin.kubeconfig")
    }

    /// Starts it and waits until it is Ready. The programs and images have been built.
    pub(crate) fn up(&self, cache: &Cache, images: &Path) -> Result<()> {
        if self.init().is_some() {
            return Err(format!(
                "cluster {0} is up already; cargo xtask cluster down --name {0} ends it",
                self.name
            )
            .into());
        }
        self.remove()?;
        fs::create_dir_all(self.dir.join("log"))?;
        let scripts = checkout().join("testing/cluster");
        let with_settings = |program: &str| {
            let mut command = Command::new(program);
            command.env("NODE_DIR", &self.dir).env("BIN", &self.bin).env("IMAGES", images);
            command.env("CNI_BIN", cache.bin()).env("CGROUP", self.cgroup());
            command
        };
        run::run(with_settings("bash").arg(scripts.join("pki.sh")))?;

        let log = File::create(self.dir.join("log/node.log"))?;
        // A session of its own, so that Ctrl-C and the end of a terminal do not reach it.
        let mut unshare = with_settings("setsid")
            .args(["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL"])
            .args(["--mount-proc", "--propagation", "private", "bash"])
            .arg(scripts.join("node.sh"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.wait_until_started(&mut unshare).map_err(|error| {
            let text = fs::read_to_string(self.dir.join("log/node.log")).unwrap_or_default();
            format!("{error}; {}\n{}", self.where_logs_are(), run::tail(&text, 20)).into()
        })
    }

    fn wait_until_started(&self, unshare: &mut Child) -> Result<()> {
        let start = Instant::now();
        let (mut init, children) = (None, format!("/proc/{0}/task/{0}/children", unshare.id()));
        while !self.dir.join("started").exists() {
            if init.is_none() {
                let child = fs::read_to_string(&children).unwrap_or_default();
                init = child.split_whitespace().next().and_then(|pid| Process::of(pid.parse().ok()?));
                if let Some(init) = init {
                    fs::write(self.dir.join("init"), format!("{} {}\n", init.pid, init.started))?;
                    self.write_enter(init)?;
                }
            }
            if let Some(status) = unshare.try_wait()? {
                return Err(format!("the node of cluster {} exited: {status}", self.name).into());
            }
            if start.elapsed() > START_LIMIT {
                return Err(format!("cluster {} did not start", self.name).into());
            }
            thread::sleep(MOMENT);
        }
        for wait in [
            &["wait", "--for=create", "node/node-1"][..],
            &["wait", "--for=condition=Ready", "node/node-1"],
            &["wait", "--for=create", "--namespace=default", "serviceaccount/default"],
        ] {
            run::output(self.inside()?.arg("kubectl").args(wait).arg("--timeout=120s"))?;
        }
        Ok(())
    }

    /// A command line that runs what follows inside of the namespaces, in the current folder.
    pub(crate) fn inside(&self) -> Result<Command> {
        if self.init().is_none() {
            return Err(format!(
                "cluster {0} is not up; cargo xtask cluster up --name {0} starts it",
                self.name
            )
            .into());
        }
        Ok(Command::new(self.dir.join("enter")))
    }

    /// Loads an image archive into its containerd.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        let mut ctr = self.inside()?;
        run::output(ctr.args(["ctr", "--namespace=k8s.io", "images", "import"]).arg(archive)).map(drop)
    }

    /// Ends every process, then removes folders and cgroups.
    pub(crate) fn down(&self) -> Result<()> {
        if let Some(init) = self.init() {
            run::run(Command::new("kill").args(["-KILL", &init.pid.to_string()]))?;
            let start = Instant::now();
            while Process::of(init.pid) == Some(init) {
                if start.elapsed() > END_LIMIT {
                    return Err(format!("PID {} of cluster {} did not exit", init.pid, self.name).into());
                }
                thread::sleep(MOMENT);
            }
        }
        self.remove()
    }

    /// What is left once no process is.
    fn remove(&self) -> Result<()> {
        let start = Instant::now();
        for cgroup in self.cgroups() {
            while cgroup.exists() {
                let removed = remove_cgroup(&cgroup);
                if start.elapsed() > END_LIMIT {
                    return removed.map_err(|error| format!("{}: {error}", cgroup.display()).into());
                }
                if removed.is_err() {
                    thread::sleep(MOMENT);
                }
            }
        }
        if self.dir.exists() {
            // Whatever somebody has mounted below is not ours to delete.
            run::run(Command::new("rm").args(["-rf", "--one-file-system", "--"]).arg(&self.dir))?;
        }
        Ok(())
    }

    /// Says what runs, and where logs and folders are.
    pub(crate) fn describe(&self) -> Result<()> {
        if self.init().is_none() {
            println!("cluster {}: not running", self.name);
            if self.dir.exists() {
                println!("  {}", self.where_logs_are());
            }
            return Ok(());
        }
        println!("cluster {}: running", self.name);
        let components = "for f in \"$1\"/*.pid; do kill -0 \"$(cat \"$f\")\" 2>/dev/null && s=running || s=EXITED; \
                          printf '  %-26s %s\\n' \"$(basename \"$f\" .pid)\" $s; done";
        let log = self.dir.join("log");
        print!("{}", run::output(self.inside()?.args(["sh", "-c", components, "sh"]).arg(&log))?);
        match run::output(self.inside()?.args(["kubectl", "get", "nodes", "--output=wide"])) {
            Ok(table) => table.lines().for_each(|line| println!("  {line}")),
            Err(error) => println!("  the API server does not respond: {error}"),
        }
        let print = |what: &str, path: &str| println!("  {what:<26} {}", self.dir.join(path).display());
        print("logs (audit.json: requests)", "log");
        print("kubeconfig (valid inside)", "pki/admin.kubeconfig");
        print("mirrors: HOST/hosts.toml", "certs.d");
        print("folder for USB drives", "drive");
        print("script: runs a command inside", "enter");
        Ok(())
    }

    /// The last lines of each log that has some, for whoever has to find out why a test failed.
    pub(crate) fn tell_logs(&self, lines: usize) {
        for log in ["node", "import", "containerd", "kube-apiserver", "kubelet", "kube-proxy", "coredns"] {
            let text = fs::read_to_string(self.dir.join(format!("log/{log}.log"))).unwrap_or_default();
            let worth = |line: &&str| {
                ["error", "Error", "E1", "E0", "level=error", "panic", "fatal"]
                    .iter()
                    .any(|w| line.contains(w))
            };
            let text: Vec<&str> = text.lines().filter(worth).collect();
            if !text.is_empty() {
                let from = text.len().saturating_sub(lines);
                println!("---- {log}.log\n{}", text.get(from..).unwrap_or_default().join("\n"));
            }
        }
    }

    fn where_logs_are(&self) -> String {
        let log = self.dir.join("log");
        format!("logs are in {}; cargo xtask cluster down --name {} removes them", log.display(), self.name)
    }

    /// PID 1 of its namespaces, as the machine sees it, where it lives.
    fn init(&self) -> Option<Process> {
        let text = fs::read_to_string(self.dir.join("init")).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let init = Process { pid: pid.parse().ok()?, started: started.parse().ok()? };
        (Process::of(init.pid) == Some(init)).then_some(init)
    }

    /// A script, so that a test needs neither cargo nor its locks to run a command inside.
    fn write_enter(&self, init: Process) -> Result<()> {
        let dir = self.dir.display();
        let text = format!(
            "#!/bin/sh\n# Runs a command inside of the namespaces of cluster {name}, in the current folder.\n\
             export KUBECONFIG='{dir}/pki/admin.kubeconfig' KUBECACHEDIR='{dir}/kubectl'\n\
             export HELM_CACHE_HOME='{dir}/helm/cache' HELM_CONFIG_HOME='{dir}/helm/config' HELM_DATA_HOME='{dir}/helm/data'\n\
             export CONTAINERD_ADDRESS=/run/containerd/containerd.sock\n\
             export PATH='{bin}':\"$PATH\":/usr/sbin:/sbin\n\
             unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY\n\
             exec nsenter --target {pid} --mount --net --pid --ipc --uts --wdns=\"$PWD\" -- \"$@\"\n",
            name = self.name,
            bin = self.bin.display(),
            pid = init.pid,
        );
        let path = self.dir.join("enter");
        fs::write(&path, text)?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
    }

    fn cgroup(&self) -> String {
        format!("krs-{}", self.name)
    }

    /// Its subtrees: one in version 2, one for each hierarchy in version 1.
    fn cgroups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let candidates = std::iter::once(root.to_owned()).chain(below).map(|path| path.join(self.cgroup()));
        candidates.filter(|path| path.is_dir()).collect()
    }
}

/// A process: numbers are used again, so its start tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: u32,
    started: u64,
}

impl Process {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, started: started(&stat)? })
    }
}

/// Field 22 of `/proc/PID/stat`; the second, a name, may have spaces and brackets in it.
fn started(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

fn remove_cgroup(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_brackets_in_its_name_has_the_right_start() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        assert_eq!(started(&format!("7 (a ) b) S {}", numbers.join(" "))), Some(22));
    }

    #[test]
    fn we_are_a_process_ourselves() {
        let pid = std::process::id();
        assert_eq!(Process::of(pid).map(|process| process.pid), Some(pid));
    }
}
