// SPDX-License-Identifier: Apache-2.0
//! The registry of the tests, in memory, as a process of its own. It counts the requests.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use xtask::run::{self, Result, checkout};

/// A running registry. Dropping it ends the process.
pub(crate) struct Double {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// `address:port`.
    pub(crate) host: String,
}

/// How many requests a test registry received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requests {
    /// All of them.
    pub(crate) all: u64,
    /// Those for manifests and indexes.
    pub(crate) manifests: u64,
    /// Those for configs and layers.
    pub(crate) blobs: u64,
    /// Those that were refused because there were too many.
    pub(crate) refused: u64,
}

/// Builds the program.
pub(crate) fn build() -> Result<PathBuf> {
    build_program("krs-registry")
}

/// Builds a program of the tests.
pub(crate) fn build_program(name: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout());
    cargo.args(["build", "--locked", "--package", "krs-testing", "--bin", name]);
    run::executable(&mut cargo, name)
}

impl Double {
    /// Starts one that holds `number` of what `content` names. The sets that ask for it are written into `sets`;
    /// `per_second` limits its requests.
    pub(crate) fn start(
        program: &Path,
        content: &str,
        number: u32,
        sets: Option<&Path>,
        per_second: Option<u32>,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args([content, &number.to_string()])
            .arg(per_second.unwrap_or_default().to_string())
            .args(sets);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).ok_or("a registry without pipes")?;
        let mut registry = Self { child, input, output: BufReader::new(output), host: String::new() };
        registry.host = registry.line()?;
        Ok(registry)
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.host.parse()?)
    }

    /// Requests since the last time.
    pub(crate) fn requests(&mut self) -> Result<Requests> {
        writeln!(self.input)?;
        let line = self.line()?;
        let numbers = line.split(' ').map(str::parse).collect::<std::result::Result<Vec<u64>, _>>()?;
        let [all, manifests, blobs, refused] = numbers[..] else {
            return Err("the registry counts in another way".into());
        };
        Ok(Requests { all, manifests, blobs, refused })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() { Err("the registry has ended".into()) } else { Ok(line.trim_end().to_owned()) }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
