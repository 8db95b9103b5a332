// SPDX-License-Identifier: Apache-2.0
//! Programs that run during a test: started, waited for, and ended with the test.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program. Dropping it kills the process and waits for its end.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Running {
    /// Starts `command` and waits until something accepts connections at `address`.
    ///
    /// # Panics
    /// The program cannot be started, ends, or does not listen after `patience`; the message has its log.
    pub fn start(mut command: Command, address: SocketAddr, patience: Duration) -> Self {
        let log = tempfile::Builder::new().prefix("krs-log-").tempfile().unwrap();
        let output = || Stdio::from(File::options().append(true).open(log.path()).unwrap());
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(output()).stderr(output()).spawn();
        let child = child.unwrap_or_else(|e| panic!("{name} cannot be started: {e}"));
        let mut running = Self { child, address, log };
        let end = Instant::now() + patience;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if let Some(status) = running.child.try_wait().unwrap() {
                panic!("{name} ended with {status} before it listened:\n{}", running.log());
            }
            assert!(Instant::now() < end, "{name} does not listen at {address}:\n{}", running.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        std::fs::read(self.log.path())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // The log is needed to find the cause of a failure; the test harness shows it only then.
            #[expect(clippy::print_stderr, reason = "shown only with a failed test")]
            {
                eprintln!("--- log of process {}:\n{}", self.child.id(), self.log());
            }
        }
    }
}

/// A port on 127.0.0.1 that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).unwrap().local_addr().unwrap()
}

/// Writes a program that is a script. Another process writes the file: a program that a test starts on another thread at this
/// moment would hold it open for writing, and Linux runs no such file.
pub fn write_script(path: impl AsRef<std::path::Path>, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = path.as_ref();
    let source = path.with_extension("script");
    std::fs::write(&source, text).unwrap();
    let copied = std::process::Command::new("cp").arg(&source).arg(path).status().unwrap();
    assert!(copied.success(), "cannot write {}", path.display());
    std::fs::remove_file(source).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "before it listened")]
    fn a_program_that_ends_early_fails_the_test_with_its_log() {
        let mut command = Command::new("git");
        command.arg("--version");
        Running::start(command, free_address(), Duration::from_secs(10));
    }
}
