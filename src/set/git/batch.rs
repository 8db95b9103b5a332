// SPDX-License-Identifier: Apache-2.0
//! Reads objects of a repository from one `git cat-file --batch`.
//!
//! A checkout is not trusted: its configuration names programs (filters, hooks, file system monitors, remotes) that
//! must never run. `cat-file` uses none of them, with one exception: a partial clone fetches a missing object from its promisor
//! remote, by a program or a host that the configuration names. `GIT_NO_LAZY_FETCH` turns that off from Git 2.45 and
//! 2.39.4 on; for older versions `GIT_ALLOW_PROTOCOL` disables all protocols for fetching.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::object::ObjectId;
use crate::redact::printable;

/// Longest time that `git` may take for one object.
const LIMIT: Duration = Duration::from_secs(20);
/// Largest object that is kept, in bytes.
const MAX_OBJECT: u64 = 32 << 20;
/// Longest line that describes an object.
const MAX_LINE: u64 = 4 << 10;
/// Most of what `git` says on standard error that is kept, in bytes.
const MAX_STDERR: u64 = 16 << 10;

/// An answer of `git`.
#[derive(Debug)]
pub(super) enum Object {
    Found {
        id: ObjectId,
        kind: String,
        content: Vec<u8>,
    },
    /// More than [`MAX_OBJECT`].
    TooLarge,
    Missing,
}

/// A running `git cat-file --batch`.
#[derive(Debug)]
pub(super) struct Batch {
    top: PathBuf,
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<Object>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Batch {
    /// Starts `git` for the checkout whose top folder is `top`.
    ///
    /// The repository is named, not searched for, so that `git` does not check its owner ("dubious ownership"), which is often
    /// another user in CI containers; `-c safe.directory` does the same only from Git 2.38 on. The check protects against
    /// programs that the configuration names, and none of them can run here.
    ///
    /// # Errors
    /// Why `git` cannot be started, as part of a sentence.
    pub(super) fn start(top: &Path) -> Result<Self, String> {
        let mut command = Command::new("git");
        command
            .arg("--git-dir")
            .arg(top.join(".git"))
            .args(["--no-pager", "--no-replace-objects"])
            .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
            .args(["cat-file", "--batch"])
            .current_dir(top)
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // `git rev-parse --local-env-vars`: set while git runs a hook or an alias, about another repository.
        for name in [
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_COMMON_DIR",
            "GIT_CONFIG",
            "GIT_CONFIG_COUNT",
            "GIT_CONFIG_PARAMETERS",
            "GIT_DIR",
            "GIT_GRAFT_FILE",
            "GIT_IMPLICIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_INTERNAL_SUPER_PREFIX",
            "GIT_NAMESPACE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_PREFIX",
            "GIT_REPLACE_REF_BASE",
            "GIT_SHALLOW_FILE",
            "GIT_WORK_TREE",
        ] {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "git is not installed".to_owned(),
            _ => format!("git cannot be started: {error}"),
        })?;
        let stdin = child.stdin.take();
        let (sender, answers) = sync_channel(1);
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                while let Some(answer) = answer(&mut stdout) {
                    if sender.send(answer).is_err() {
                        return;
                    }
                }
            });
        }
        let stderr = child.stderr.take().map(|stderr| std::thread::spawn(move || drain(stderr)));
        Ok(Self { top: top.to_owned(), child, stdin, answers, stderr })
    }

    /// Reads the object `name`, which must not contain a line break.
    ///
    /// # Errors
    /// Why `git` gave no answer, as part of a sentence.
    pub(super) fn object(&mut self, name: &str) -> Result<Object, String> {
        let written = self.stdin.as_mut().map(|stdin| stdin.write_all(format!("{name}\n").as_bytes()));
        let answer = match written {
            Some(Ok(())) => self.answers.recv_timeout(LIMIT),
            // The process has ended. Its standard error has the reason.
            _ => Err(RecvTimeoutError::Disconnected),
        };
        answer.map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                self.stop();
                format!("git did not answer within {} s", LIMIT.as_secs())
            }
            RecvTimeoutError::Disconnected => self.failure(),
        })
    }

    /// Reads an object by its id, and verifies the content with it, because the repository is not trusted.
    ///
    /// # Errors
    /// As for [`Self::object`]; also for another kind of object, or other content. `None`: it is missing here.
    pub(super) fn verified(&mut self, id: ObjectId, kind: &str) -> Result<Option<Vec<u8>>, String> {
        match self.object(&id.to_string())? {
            Object::Found { kind: found, content, .. } if found == kind && id.of(kind, &content) == id => {
                Ok(Some(content))
            }
            Object::Found { .. } => Err(format!("the repository is damaged: {kind} {id} has other content")),
            Object::TooLarge => Err(format!("{kind} {id} has more than {MAX_OBJECT} bytes")),
            Object::Missing => Ok(None),
        }
    }

    fn failure(&mut self) -> String {
        self.stop();
        let messages = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        let messages = String::from_utf8_lossy(&messages);
        let line = messages.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
        let mut text = format!("git failed: {}", printable(line, 300));
        if messages.contains("safe.directory") {
            let top = printable(&self.top.to_string_lossy(), 300);
            text.push_str(&format!(". Run: git config --global --add safe.directory {top}"));
        }
        text
    }

    fn stop(&mut self) {
        self.stdin = None;
        // Both fail only if the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads one answer: `ID KIND SIZE`, the content and a line end, or `NAME missing`. `None` at the end, or if it is
/// invalid.
fn answer(stdout: &mut BufReader<impl Read>) -> Option<Object> {
    let mut line = Vec::new();
    stdout.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8(line).ok()?;
    let line = line.strip_suffix('\n')?;
    let fields = line.split(' ').collect::<Vec<_>>();
    let [id, kind, size] = fields.as_slice() else {
        return ["missing", "ambiguous"].contains(fields.last()?).then_some(Object::Missing);
    };
    let (id, size) = (ObjectId::from_hex(id)?, size.parse::<u64>().ok()?);
    let kept = size <= MAX_OBJECT;
    let mut content = Vec::new();
    let mut rest = stdout.by_ref().take(size);
    if kept {
        rest.read_to_end(&mut content).ok()?;
    } else {
        std::io::copy(&mut rest, &mut std::io::sink()).ok()?;
    }
    let mut end = [0];
    stdout.read_exact(&mut end).ok()?;
    if end != *b"\n" {
        return None;
    }
    Some(if kept { Object::Found { id, kind: (*kind).to_owned(), content } } else { Object::TooLarge })
}

/// Reads a pipe to its end and keeps the first part, so that the writer never waits.
fn drain(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    // A broken pipe has no more data.
    let _ = pipe.by_ref().take(MAX_STDERR).read_to_end(&mut kept);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    kept
}
