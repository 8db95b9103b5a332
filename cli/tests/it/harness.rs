// SPDX-License-Identifier: Apache-2.0
//! A connected side, a drive and an edge, and `krs` between them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::git::Checkout;
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Options, Registry, What};
use serde_json::Value;

/// What `krs` said.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It worked.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// It ended with this code and a message that has all these parts.
    #[track_caller]
    pub fn failed(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self}");
        for part in parts {
            assert!(self.err.contains(part), "`{part}` is not in\n{self}");
        }
        self
    }

    /// Standard error without the warning that the bundle is not signed.
    /// Each part is in what it printed.
    pub fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.err.contains(part) || self.out.contains(part), "`{part}` is not in:\n{self}");
        }
    }

    pub fn other_warnings(&self) -> String {
        self.err.lines().filter(|line| !line.contains("NOT SIGNED")).map(|line| format!("{line}\n")).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// A folder in which `krs` is run.
pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    pub fn path(&self, name: &str) -> Utf8PathBuf {
        self.folder().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Utf8PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn files(&self) -> Vec<String> {
        let mut names = self
            .folder()
            .read_dir_utf8()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_owned())
            .filter(|name| name != "home")
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    /// `krs` with nothing of this machine's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_krs"), arguments)
    }

    /// Another version of `krs`, in the same way.
    pub fn command_of(&self, program: &str, arguments: &[&str]) -> Command {
        let home = self.path("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .current_dir(self.folder())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn krs(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).output().unwrap())
    }

    pub fn krs_of(&self, program: &str, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command_of(program, arguments).output().unwrap())
    }

    pub fn krs_env(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).envs(variables.iter().copied()).output().unwrap())
    }

    pub fn krs_stdin(&self, stdin: &str, arguments: &[&str]) -> Outcome {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // A krs that refuses its arguments may end before it reads anything.
        match child.stdin.take().unwrap().write_all(stdin.as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        }
        Outcome::of(child.wait_with_output().unwrap())
    }

    /// `krs` where nobody can be asked, also if the tests are run at a terminal.
    #[cfg(target_os = "linux")]
    pub fn krs_without_terminal(&self, arguments: &[&str]) -> Outcome {
        let all = [&["-w", env!("CARGO_BIN_EXE_krs")], arguments].concat();
        self.krs_of("setsid", &all)
    }

    /// Makes `NAME.key` and `NAME.pub`.
    pub fn keygen(&self, name: &str) {
        self.krs(&["keygen", "-o", name, "--no-passphrase"]).ok();
    }
}

/// A desk with a source registry, an edge registry, and a checkout that lists images.
pub struct Site {
    pub desk: Desk,
    pub source: Registry,
    pub edge: Registry,
    pub checkout: Checkout,
    pub images: Vec<String>,
}

impl Site {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(source: Options) -> Self {
        Self {
            desk: Desk::new(),
            source: Registry::start(source),
            edge: Registry::start(Options::default()),
            checkout: Checkout::new(),
            images: Vec::new(),
        }
    }

    /// Three images that share a layer, committed.
    pub fn with_three_images() -> Self {
        let mut site = Self::new();
        for (n, name) in ["web", "api", "db"].into_iter().enumerate() {
            site.add(&app(name, n as u64 + 2), &format!("team/{name}"), "1.0");
        }
        site.commit();
        site
    }

    /// Puts an image into the source registry and names it, by tag and digest, in the set.
    pub fn add(&mut self, image: &Image, repository: &str, tag: &str) {
        image.push_to(&self.source, repository, Some(tag));
        self.name(&format!("{repository}:{tag}@{}", image.digest));
    }

    /// Names an image of the source registry in the set.
    pub fn name(&mut self, reference: &str) {
        self.images.push(format!("{}/{reference}", self.source.host()));
    }

    pub fn set(&self) -> String {
        let images = self.images.iter().map(|image| format!("  - image: {image}\n")).collect::<String>();
        format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: site\n  namespace: apps\n\
             spec:\n  destinationRegistry: edge.local:5000\n  images:\n{images}"
        )
    }

    pub fn commit(&mut self) {
        self.checkout.write("sites/berlin.yaml", self.set());
        self.checkout.commit("Change the images");
    }

    /// Runs `krs bundle` on the checkout.
    pub fn bundle(&self, file: &str, more: &[&str]) -> Outcome {
        let mut arguments = vec!["bundle", self.checkout.path().as_str(), "-o", file];
        arguments.extend_from_slice(more);
        self.desk.krs(&arguments)
    }

    /// Runs `krs push` of a bundle to the edge registry.
    pub fn push(&self, file: &str, more: &[&str]) -> Outcome {
        let edge = self.edge.host().to_string();
        let mut arguments = vec!["push", file, edge.as_str()];
        arguments.extend_from_slice(more);
        self.desk.krs(&arguments)
    }

    /// Asserts that the edge has what the source has.
    #[track_caller]
    pub fn arrived(&self, repository: &str, tag: &str) {
        assert_eq!(
            self.edge.digest(repository, tag),
            self.source.digest(repository, tag),
            "{repository}:{tag}"
        );
        assert!(self.edge.digest(repository, tag).is_some(), "{repository}:{tag}");
    }
}

/// An image whose first layer is the same in all of them.
pub fn app(name: &str, seed: u64) -> Image {
    ImageBuilder::new(name).layer_random(3 << 20, 1).layer_random(40_000, seed).build()
}

/// An answer with this status and nothing else.
pub fn status(status: u16) -> What {
    What::Status(status, Vec::new(), String::new())
}

/// Ends a program as Ctrl-C does.
#[cfg(unix)]
pub fn interrupt(child: &std::process::Child) {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

/// Takes out of a text what differs from run to run.
#[macro_export]
macro_rules! shown {
    ($text:expr) => {
        insta::with_settings!({ filters => vec![
            (r"sha256:[0-9a-f]{64}", "sha256:[digest]"),
            (r"sha256:[0-9a-f]{12}\b", "sha256:[short]"),
            (r"\b[0-9a-f]{40}\b", "[commit]"),
            (r"\b[0-9a-f]{12}\b", "[short]"),
            (r"\b[0-9A-F]{16}\b", "[key]"),
            (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
            (r"127\.0\.0\.1 port \d+", "127.0.0.1 port [port]"),
            (r"/\S*/krs-checkout-[A-Za-z0-9]+", "[checkout]"),
            (r"/\S*/\.tmp[A-Za-z0-9]+", "[desk]"),
            (r"\b\d+\.\d s\b", "[time]"),
            (r"\b[\d.]+ [kMG]B/s", "[rate]"),
            // Folders for temporary files may be in memory.
            (r", (from the media|perhaps from memory)\b", ", from [media]"),
            (r"(?m)elapsedSeconds\x22: [\d.]+", "elapsedSeconds\": 0"),
        ] }, { insta::assert_snapshot!($text); });
    };
}
