// SPDX-License-Identifier: Apache-2.0
//! Distribution's registry with storage of its own, as a child process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xtask::run::{Result, tail};

/// How long a registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running registry. Dropping it stops it and removes its storage.
#[derive(Debug)]
pub(crate) struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Registry {
    /// Starts an empty one below `folder`.
    pub(crate) fn start(program: &Path, folder: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("registry-").tempdir_in(folder)?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let storage = folder.path().join("storage");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\n  maintenance:\n    uploadpurging:\n      enabled: false\nhttp:\n  addr: {address}\n",
            storage.display()
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config)?;
        let log = folder.path().join("log");
        let mut command = Command::new(program);
        command.arg("serve").arg(path).stdin(Stdio::null()).stdout(File::create(&log)?);
        // It sends traces to a collector unless it is told not to.
        command.stderr(File::options().append(true).open(&log)?).env("OTEL_TRACES_EXPORTER", "none");
        let mut registry = Self { child: command.spawn()?, folder, address };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if registry.child.try_wait()?.is_some() || Instant::now() > end {
                let messages = fs::read_to_string(registry.folder.path().join("log"))?;
                return Err(format!("the registry does not start:\n{}", tail(&messages, 10)).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
