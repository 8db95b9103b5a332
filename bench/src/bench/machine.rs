// SPDX-License-Identifier: Apache-2.0
//! The machine and the programs that were measured.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use super::runner::Bench;
use xtask::run::{self, Result};

/// What the numbers depend on, as pairs.
pub(crate) fn describe(bench: &Bench) -> Result<Vec<(String, String)>> {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut pairs = vec![
        ("processor".to_owned(), format!("{cpu}, {cores} cores")),
        ("memory".to_owned(), memory),
        ("file system".to_owned(), file_system(bench.work.path())),
        ("Linux".to_owned(), kernel.trim().to_owned()),
    ];
    let mut add = |name: &str, program: &Path, arguments: &[&str]| {
        let output = run::output(Command::new(program).args(arguments)).unwrap_or_default();
        pairs.push((name.to_owned(), version(&output)));
    };
    add("krs", &bench.krs, &["--version"]);
    add("registry (Distribution)", &bench.registry_program, &["--version"]);
    add("curl", Path::new("curl"), &["--version"]);
    for (peer, program) in &bench.peers {
        add(peer.program, program, peer.version);
    }
    Ok(pairs)
}

/// How many programs want to run at once, on average over the last minute: what else the machine does.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The kind of the file system that a folder is on: of the longest mount point above it.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(point, _)| folder.starts_with(point));
    above
        .max_by_key(|(point, _)| point.len())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// The first word that looks like a version in what a program says of itself.
fn version(output: &str) -> String {
    let is_version = |word: &&str| {
        let word = word.trim_start_matches('v');
        word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
    };
    output.split_whitespace().find(is_version).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("skopeo version 1.9.3\n"), "1.9.3");
        assert_eq!(version("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1"), "7.88.1");
        assert_eq!(version("VCSTag: v0.11.7\nVCSRef: abc"), "v0.11.7");
        assert_eq!(version("(devel)"), "unknown");
    }
}
