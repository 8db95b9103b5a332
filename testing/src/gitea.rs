// SPDX-License-Identifier: Apache-2.0
//! Gitea as a child process: an independent implementation of a registry, with a token server, without the referrers API
//! and without `Range`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use camino::Utf8PathBuf;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RegistryHost;

use crate::process::{Running, free_address};
use crate::tools::require;

/// The user, who owns all packages and is private: nobody else sees any of them.
pub const USER: &str = "ci";

/// A running Gitea with a database in a temporary folder. Dropping it stops it and removes the folder.
#[derive(Debug)]
pub struct Gitea {
    running: Running,
    write: String,
    read: String,
    folder: tempfile::TempDir,
}

impl Gitea {
    /// Starts `gitea` on a free port, with [`USER`] and two access tokens.
    ///
    /// # Panics
    /// It is not installed or does not start; the message has its log.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("krs-gitea-").tempdir().unwrap();
        let path = |name: &str| Utf8PathBuf::from_path_buf(folder.path().join(name)).unwrap();
        let address = free_address();
        // Its templates lie beside the program.
        let program = require("gitea").canonicalize_utf8().unwrap();
        let beside = program.parent().unwrap();
        let config = format!(
            "WORK_PATH = {work}\nI_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\n\
             [server]\nHTTP_ADDR = {ip}\nHTTP_PORT = {port}\nROOT_URL = http://{address}/\nDISABLE_SSH = true\n\
             OFFLINE_MODE = true\nSTATIC_ROOT_PATH = {beside}\n\
             [database]\nDB_TYPE = sqlite3\nPATH = {work}/gitea.db\n\
             [security]\nINSTALL_LOCK = true\nSECRET_KEY = of-a-test\n\
             [service]\nDEFAULT_USER_VISIBILITY = private\n\
             [log]\nMODE = console\nLEVEL = warn\n\
             [cron]\nENABLED = false\n",
            work = path("work"),
            ip = address.ip(),
            port = address.port(),
        );
        std::fs::write(path("app.ini"), config).unwrap();
        let gitea = |arguments: &[&str]| {
            let mut command = Command::new(program.as_str());
            command.arg("--config").arg(path("app.ini")).args(arguments);
            command.env("HOME", folder.path()).env_remove("GITEA_WORK_DIR").env_remove("GITEA_CUSTOM");
            command
        };
        let run = |arguments: &[&str]| {
            let output = gitea(arguments).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            assert!(output.status.success(), "gitea {arguments:?}:\n{stdout}{stderr}");
            // The answer comes last, after the log.
            stdout.lines().last().unwrap_or_default().to_owned()
        };
        run(&["migrate"]);
        let mail = format!("{USER}@example.com");
        let user = ["admin", "user", "create", "--username", USER, "--email", &mail, "--random-password"];
        run(&user);
        let token = |scope: &str| {
            let token = ["admin", "user", "generate-access-token", "--username", USER];
            run(&[&token[..], &["--token-name", scope, "--scopes", scope, "--raw"]].concat())
        };
        let (write, read) = (token("write:package"), token("read:package"));
        let running = Running::start(gitea(&["web"]), address, Duration::from_secs(60));
        Self { running, write, read, folder }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Host and port, as in references.
    pub fn host(&self) -> RegistryHost {
        self.running.address().to_string().parse().unwrap()
    }

    /// An access token of [`USER`], used as a password, that may read and write packages.
    pub fn write_token(&self) -> &str {
        &self.write
    }

    /// An access token of [`USER`] that may only read packages.
    pub fn read_token(&self) -> &str {
        &self.read
    }

    /// The file that has the content of a blob.
    pub fn data_of(&self, digest: &Digest) -> Utf8PathBuf {
        let hex = digest.hex();
        let path = format!("work/data/packages/{}/{}/{hex}", &hex[..2], &hex[2..4]);
        Utf8PathBuf::from_path_buf(self.folder.path().join(path)).unwrap()
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.running.log()
    }
}
