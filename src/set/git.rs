// SPDX-License-Identifier: Apache-2.0
//! What commit a checkout is of, asked from `git`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that one call of `git` may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Most output that is read of one call, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;

/// What a checkout is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Full hash of the commit that is checked out, in hex.
    pub commit: String,
    /// Whether tracked files below the paths were changed, or YAML files there are not in Git.
    pub dirty: bool,
    /// When the commit was made, in seconds since 1970.
    pub commit_time: i64,
}

/// Asks about the checkout that begins at `top`; `paths` below it decide what is dirty.
///
/// # Errors
/// Why `git` gave no answer, as part of a sentence.
pub(super) fn source(top: &Path, paths: &[PathBuf]) -> Result<Source, String> {
    let head = git(top, &["rev-list", "--max-count=1", "--timestamp", "HEAD"], &[])?;
    let head = String::from_utf8_lossy(&head);
    let (time, commit) = head.trim().split_once(' ').ok_or("git named no commit")?;
    let hex = matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    let commit_time = time.parse().map_err(|_| "git named no time of the commit")?;
    if !hex {
        return Err("git named no commit".to_owned());
    }
    refuse_filters(top)?;
    let status = [
        "status",
        "--porcelain=v1",
        "-z",
        "--no-renames",
        "--untracked-files=all",
        "--ignore-submodules=all",
        "--",
    ];
    let changes = git(top, &status, paths)?;
    // So many changes that not all were read are changes for sure.
    let cut = changes.len() as u64 >= MAX_OUTPUT;
    let dirty = cut
        || changes.split(|b| *b == 0).any(|entry| match entry.get(..3) {
            Some(b"?? ") => entry.ends_with(b".yaml") || entry.ends_with(b".yml"),
            Some(_) => true,
            None => false,
        });
    Ok(Source { commit: commit.to_owned(), dirty, commit_time })
}

/// `git status` runs the filters (clean, process) that are configured. Those of the user may run; a checkout that
/// brings its own, in its own configuration, gets no answer.
fn refuse_filters(top: &Path) -> Result<(), String> {
    let list = git(top, &["config", "--list", "--show-scope", "--name-only", "-z"], &[])?;
    if list.len() as u64 >= MAX_OUTPUT {
        return Err("the configuration of the checkout is too large".to_owned());
    }
    let fields = list.split(|b| *b == 0).map(String::from_utf8_lossy).collect::<Vec<_>>();
    let own = fields.chunks_exact(2).find(|pair| {
        let [scope, name] = pair else { return false };
        let name = name.to_ascii_lowercase();
        let runs = [".clean", ".smudge", ".process"].iter().any(|end| name.ends_with(end));
        matches!(scope.as_ref(), "local" | "worktree") && name.starts_with("filter.") && runs
    });
    own.map_or(Ok(()), |_| Err("the checkout configures filters of its own, which are not run".to_owned()))
}

fn git(top: &Path, arguments: &[&str], paths: &[PathBuf]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(top)
        // Nothing that a checkout configures may run, and nothing personal may decide.
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.excludesFile="])
        .args(["--no-pager", "--literal-pathspecs"])
        .args(arguments)
        .args(paths)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Set while git runs a hook, and then about another repository.
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX"]
    {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "git is not installed".to_owned(),
        _ => format!("git cannot be started: {error}"),
    })?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(3)),
            _ => {
                // Both fail only when it has ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("git did not answer within {} s", LIMIT.as_secs()));
            }
        }
    };
    let collect = |reader: std::thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    let (stdout, stderr) = (collect(stdout), collect(stderr));
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    Err(format!("git failed: {}", crate::redact::printable(said, 300)))
}

/// Reads a pipe on a thread of its own, the first part kept and the rest thrown away, so that the child never waits.
fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks has given all that it has.
            let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        kept
    })
}
