// SPDX-License-Identifier: Apache-2.0
//! Other programs: bounded in time and output, and without a shell. Those that render get few variables of the environment.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::redact::{masked, printable};

/// Longest that one program may take.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Most bytes that one may print.
const MAX_OUTPUT: u64 = 64 << 20;
/// Most bytes of its messages that are kept.
const MAX_MESSAGES: u64 = 64 << 10;
/// Longest message that is passed on, in characters.
const MAX_REASON: usize = 600;
/// What a program gets of the environment. Credentials, the cluster of the user, and proxies are not among it.
const VARIABLES: [&str; 10] = [
    "PATH",
    "HOME",
    "USERPROFILE",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "APPDATA",
    "LOCALAPPDATA",
    "XDG_CACHE_HOME",
];

/// Why a program rendered nothing, as part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProgramError {
    /// It is not on the search path.
    Missing,
    Failed(String),
}

/// Finds a program on the search path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&file))
        .find(|file| file.is_file())
}

/// Runs a program in a folder, and answers what it prints.
///
/// # Errors
/// It cannot be started, fails, takes too long, or prints too much or no UTF-8.
pub(crate) fn run(
    program: &Path,
    arguments: &[&OsStr],
    folder: &Path,
    stdin: &str,
) -> Result<String, ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_clear();
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Nothing is fetched: neither by Git, nor by HTTP, for which no proxy listens at this port.
    command.env("GIT_ALLOW_PROTOCOL", "none").env("GIT_TERMINAL_PROMPT", "0");
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("HTTPS_PROXY", "http://127.0.0.1:9");
    // Kustomize starts helm: on a timeout all of them end. They read no terminal, which a group of its own would stop.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    execute(command, stdin, TIME_LIMIT, kill_group)
}

/// As [`run`], with the environment and the folder of the user: a program that has credentials of its own.
///
/// # Errors
/// As for [`run`].
pub(crate) fn run_as_user(program: &Path, arguments: &[&OsStr]) -> Result<String, ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments);
    execute(command, "", TIME_LIMIT, |_| ())
}

/// Ends all processes of the group that a program leads. The program must not have been waited for, so that no other one has
/// its number.
fn kill_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It fails only where all of them have ended.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = child;
}

fn execute(
    mut command: Command,
    stdin: &str,
    limit: Duration,
    end_children: impl Fn(&Child),
) -> Result<String, ProgramError> {
    let failed = |reason: String| ProgramError::Failed(reason);
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ProgramError::Missing,
        _ => failed(format!("{name} cannot be started: {error}")),
    })?;
    let result = output(&mut child, stdin, limit);
    if result.is_err() {
        end_children(&child);
    }
    // Both fail only where it has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let Output { success, stdout, stderr } = result.map_err(|reason| failed(format!("{name} {reason}")))?;
    if !success {
        return Err(failed(format!("{name} failed: {}", message(&stderr))));
    }
    if stdout.len() as u64 > MAX_OUTPUT {
        return Err(failed(format!("{name} printed more than {MAX_OUTPUT} bytes")));
    }
    String::from_utf8(stdout).map_err(|_| failed(format!("{name} printed what is not UTF-8")))
}

struct Output {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// What a program prints. Where this fails, the program was not waited for.
fn output(child: &mut Child, stdin: &str, limit: Duration) -> Result<Output, String> {
    let deadline = Instant::now() + limit;
    let too_long = || format!("did not end within {} s", limit.as_secs());
    if let Some(mut pipe) = child.stdin.take() {
        let text = stdin.to_owned();
        // A program that does not read its input must not stop this one.
        std::thread::spawn(move || {
            let _ = pipe.write_all(text.as_bytes());
        });
    }
    let (sender, receiver) = sync_channel(2);
    if let Some(pipe) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || sender.send((true, read(pipe, MAX_OUTPUT + 1))));
    }
    if let Some(pipe) = child.stderr.take() {
        std::thread::spawn(move || sender.send((false, read(pipe, MAX_MESSAGES))));
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((true, bytes)) => stdout = bytes,
            Ok((false, bytes)) => stderr = bytes,
            Err(RecvTimeoutError::Timeout) => {
                return Err(too_long());
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // Both pipes are closed: it ends, or has nothing more to say.
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Output { success: status.success(), stdout, stderr }),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => return Err(too_long()),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
}

/// Reads a pipe to its end and keeps the first part, so that the writer never waits.
fn read(mut pipe: impl Read, max_bytes: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    // A pipe that breaks has given all that it has.
    let _ = pipe.by_ref().take(max_bytes).read_to_end(&mut kept);
    let _ = io::copy(&mut pipe, &mut io::sink());
    kept
}

/// What a program says about its failure: the last lines, on one line.
fn message(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let is_noise =
        |line: &&str| line.is_empty() || line.starts_with("# Warning") || line.starts_with("Use --debug");
    let lines = text.lines().map(str::trim).filter(|line| !is_noise(line)).collect::<Vec<_>>();
    let last = lines.iter().rev().take(4).rev().copied().collect::<Vec<_>>().join("; ");
    // What a log of klog adds, as some builds of kubectl print it.
    let last = last
        .split_once("\"command failed\" err=\"")
        .map_or(last.as_str(), |(_, error)| error.strip_suffix('"').unwrap_or(error));
    let last = ["Error: ", "error: "].iter().find_map(|prefix| last.strip_prefix(prefix)).unwrap_or(last);
    if last.is_empty() { "it did not say why".to_owned() } else { printable(&masked(last), MAX_REASON) }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn script(text: &str) -> Result<String, ProgramError> {
        let arguments = ["-c", text, "tool", "a b"].map(OsStr::new);
        run(Path::new("/bin/sh"), &arguments, Path::new("/"), "in")
    }

    #[test]
    fn a_program_gets_its_arguments_and_input_and_few_variables() {
        assert_eq!(script("printf '%s|' \"$1\"; cat").unwrap(), "a b|in");
        assert_eq!(
            script("echo $CARGO_MANIFEST_DIR$KUBECONFIG$HTTPS_PROXY").unwrap(),
            "http://127.0.0.1:9\n"
        );
    }

    #[test]
    fn a_failure_says_what_the_program_says() {
        let failed = |text: &str| ProgramError::Failed(text.to_owned());
        assert_eq!(
            script("echo 'Error: no values' >&2; exit 1").unwrap_err(),
            failed("sh failed: no values")
        );
        assert_eq!(
            script(
                "echo 'E1128 00:36:39.453883 7 run.go:72] \"command failed\" err=\"no target\"' >&2; exit 1"
            )
            .unwrap_err(),
            failed("sh failed: no target")
        );
        assert_eq!(script("exit 3").unwrap_err(), failed("sh failed: it did not say why"));
        assert_eq!(script("printf '\\377'").unwrap_err(), failed("sh printed what is not UTF-8"));
        assert_eq!(
            run(Path::new("/nonexistent/tool"), &[], Path::new("/"), "").unwrap_err(),
            ProgramError::Missing
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn t289_on_a_timeout_the_children_of_a_program_end_too() {
        use std::os::unix::process::CommandExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & echo $! > \"$0\"; wait"]).arg(&file).process_group(0);
        let started = Instant::now();
        let error = execute(command, "", Duration::from_secs(1), kill_group).unwrap_err();
        assert_eq!(error, ProgramError::Failed("sh did not end within 1 s".to_owned()));
        assert!(started.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(file).unwrap();
        let state = || {
            let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
        };
        // Nobody may wait for it, so that it stays as a zombie.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !matches!(state(), None | Some('Z' | 'X')) {
            assert!(Instant::now() < deadline, "the child runs on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
