// SPDX-License-Identifier: Apache-2.0
//! Runs skopeo for one image manifest. It is never told a tag, and never to copy an index: it checks nothing where the
//! destination is a tag, and fails on nested and on sparse indexes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RepositoryName;
use krs_core::redact::printable;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::acknowledged::Acknowledgements;
use super::connection;
use super::endpoint::RegistryEndpoint;
use super::failure::Failure;
use super::paths::Paths;

/// Most bytes of skopeo's messages that are kept: the last ones, which say why it ended.
const MAX_OUTPUT: usize = 16 << 10;
/// Most characters of them that are shown.
const MAX_SHOWN: usize = 400;
/// The interval in which the activity of skopeo is checked.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How often skopeo retries by itself what the network did.
const RETRIES: &str = "2";
/// Variables that skopeo needs to reach registries as we do.
const KEPT: [&str; 9] = [
    "PATH",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Copies the manifest `digest` and its blobs with skopeo.
///
/// # Expected flow
/// The caller sends all blobs that the destination can mount or that skopeo leaves out, calls this for a leaf manifest whose
/// other blobs are missing, and then verifies the result at the destination: the exit code of skopeo is not relied on.
///
/// # Guarantees
/// - The digest is preserved: skopeo fails instead of converting a manifest.
/// - Credentials are in files with mode 0600 in the work folder, never in arguments or variables. Of the environment, skopeo
///   gets only what [`KEPT`] lists; no configuration of the system is read.
/// - Of skopeo's messages, at most [`MAX_OUTPUT`] bytes are kept.
/// - It ends: after [`Paths::idle`] without any activity, both registries are checked, and after [`Paths::stall`], skopeo is
///   killed.
///
/// # Errors
/// The outer error is a [`Failure`] with its reason: files cannot be written, skopeo cannot be started, or a registry
/// cannot be reached. The inner error is skopeo's message, which does not say whose fault it is; the caller finds that out
/// from the registries.
///
/// # Cancellation
/// If the future is dropped, skopeo is killed. The destination may keep uploads that have not ended, and blobs that are
/// complete, which the next run finds.
pub(super) async fn copy(
    (source, from): (&RegistryEndpoint<'_>, &RepositoryName),
    (destination, to): (&RegistryEndpoint<'_>, &RepositoryName),
    digest: &Digest,
    paths: &Paths,
) -> Result<Result<(), String>, Failure> {
    let failed = |error| Failure::files(&paths.work, &error);
    let policy = paths.work.join("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).map_err(failed)?;
    // Empty: no server is asked for signatures of the old kind.
    let lookaside = paths.work.join("registries.d");
    std::fs::create_dir_all(&lookaside).map_err(failed)?;
    let mut command = Command::new(&paths.skopeo);
    command
        .arg("--policy")
        .arg(&policy)
        .args(["--registries-conf", "/dev/null", "--registries.d"])
        .arg(&lookaside);
    command.args(["copy", "--quiet", "--preserve-digests", "--retry-times", RETRIES]);
    for (side, name) in [(source, "src"), (destination, "dest")] {
        let files = side.prepare()?;
        command.arg(format!("--{name}-authfile={}", files.auth_file));
        command.arg(format!("--{name}-cert-dir={}", files.cert_dir));
        command.arg(format!("--{name}-tls-verify={}", files.verify));
    }
    command.arg(format!("docker://{}/{from}@{digest}", source.registry));
    command.arg(format!("docker://{}/{to}@{digest}", destination.registry));
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    command.env("HOME", &paths.work).env("TMPDIR", &paths.work).current_dir(&paths.work);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Its own group: a signal to ours is for us to handle. What drops the child, kills it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        let text = format!("{} cannot be started: {error}", paths.skopeo);
        Failure::new(krs_core::crd::reason::COPY_FAILED, krs_core::error::ErrorKind::Other, &text)
    })?;
    let pid = child.id();
    let stderr = child.stderr.take();
    let read = tokio::spawn(async move {
        let mut kept = Vec::new();
        let Some(mut stderr) = stderr else { return kept };
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            kept.extend_from_slice(piece.get(..length).unwrap_or_default());
            let excess = kept.len().saturating_sub(MAX_OUTPUT);
            kept.drain(..excess);
        }
        kept
    });
    let (mut last_activity, mut since) = (activity(pid), Instant::now());
    let (mut checked, mut acknowledgements) = (since, Acknowledgements::default());
    let status = loop {
        if let Ok(status) =
            tokio::time::timeout(POLL_INTERVAL.min(paths.stall).min(paths.idle), child.wait()).await
        {
            break Some(status.map_err(failed)?);
        }
        let blocked = acknowledgements.observe(pid, paths.idle);
        let now = activity(pid);
        if now != last_activity {
            (last_activity, since) = (now, Instant::now());
        }
        let idle =
            Idle { skopeo: since.elapsed(), unchecked: checked.elapsed(), is_blocked: blocked.is_some() };
        match idle.next(paths) {
            Next::Wait => {}
            // Returning from here kills skopeo. (T-212)
            Next::Check => {
                for side in [destination, source] {
                    connection::check(side).await?;
                }
                if let Some(remote) = blocked {
                    return Err(connection::blocked([destination, source], remote, idle.skopeo).await);
                }
                checked = Instant::now();
            }
            Next::End => {
                // Both only fail where it has ended by itself.
                let _ = child.kill().await;
                break None;
            }
        }
    };
    let output = read.await.unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    Ok(match status {
        None => Err(format!("skopeo did nothing for {} s and was ended", paths.stall.as_secs())),
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            let start = output.trim_end().char_indices().rev().nth(MAX_SHOWN).map_or(0, |(at, _)| at);
            let end = output.trim_end().get(start..).unwrap_or_default();
            Err(format!("skopeo ended with {status}: {}", printable(end, MAX_SHOWN + 1)))
        }
    })
}

/// For how long skopeo has done nothing.
struct Idle {
    skopeo: Duration,
    /// Since the registries were last checked, or skopeo started.
    unchecked: Duration,
    /// Whether one of its connections is not acknowledged.
    is_blocked: bool,
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait,
    /// Whether both registries can be reached, and whether one of skopeo's connections is blocked.
    Check,
    End,
}

impl Idle {
    /// A connection whose packets are dropped is silent, and so is a registry that hashes a large blob.
    fn next(&self, paths: &Paths) -> Next {
        if self.skopeo >= paths.stall {
            Next::End
        } else if self.skopeo >= paths.idle && (self.unchecked >= paths.idle || self.is_blocked) {
            Next::Check
        } else {
            Next::Wait
        }
    }
}

/// What a process has read and written so far; it stands still where the process does.
fn activity(pid: Option<u32>) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{}/io", pid?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t265_what_is_done_about_a_skopeo_that_does_nothing() {
        let paths = Paths::default();
        let next = |skopeo: u64, unchecked: u64, is_blocked: bool| {
            let (skopeo, unchecked) = (Duration::from_secs(skopeo), Duration::from_secs(unchecked));
            Idle { skopeo, unchecked, is_blocked }.next(&paths)
        };
        assert_eq!(next(59, 59, false), Next::Wait);
        assert_eq!(next(59, 300, true), Next::Wait, "another one of its connections continues");
        assert_eq!(next(60, 60, false), Next::Check);
        assert_eq!(next(70, 10, false), Next::Wait, "they were checked 10 s ago");
        assert_eq!(next(70, 10, true), Next::Check);
        assert_eq!(next(900, 10, false), Next::End);
    }
}
