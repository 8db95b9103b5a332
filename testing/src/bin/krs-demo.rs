// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask demo`: the way of images from Git to an edge registry, with real commands, on this machine alone.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a demonstration speaks")]

use std::io::IsTerminal as _;
use std::process::{Command, ExitCode};

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::git::Checkout;
use krs_testing::image::{Image, ImageBuilder, helm_chart, index, sbom};
use krs_testing::registry::{Options, Registry};

/// The two sites, the sets in Git and the `krs` that was built beside this program.
struct Demo {
    krs: Utf8PathBuf,
    folder: Utf8PathBuf,
    source: Registry,
    edge: Registry,
    sets: Sets,
}

/// The sets: in Git where it is installed, else in a plain folder.
enum Sets {
    Git(Checkout),
    Folder(Utf8PathBuf),
}

impl Sets {
    fn new(folder: &Utf8Path) -> Self {
        if Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success()) {
            Self::Git(Checkout::new())
        } else {
            Self::Folder(folder.join("sets"))
        }
    }

    fn path(&self) -> &Utf8Path {
        match self {
            Self::Git(checkout) => checkout.path(),
            Self::Folder(folder) => folder,
        }
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// What stands for this state: the commit, if there is one.
    fn commit(&mut self, message: &str) -> String {
        match self {
            Self::Git(checkout) => format!("commit {}", &checkout.commit(message)[..12]),
            Self::Folder(_) => "git is not installed: a plain folder".to_owned(),
        }
    }
}

fn main() -> ExitCode {
    let own =
        Utf8PathBuf::from_path_buf(std::env::current_exe().expect("a program has a path")).expect("UTF-8");
    let krs = own.with_file_name(if cfg!(windows) { "krs.exe" } else { "krs" });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = Utf8Path::from_path(folder.path()).expect("UTF-8");
    let demo = Demo {
        krs,
        folder: folder.to_owned(),
        sets: Sets::new(folder),
        source: Registry::start(Options::default()),
        edge: Registry::start(Options::default()),
    };
    match demo.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(step) => {
            println!("\nthe demonstration stops here: `{step}` failed");
            ExitCode::FAILURE
        }
    }
}

/// An application: a base that all share, a runtime that some share, and its own part.
fn app(name: &str, version: u64, platform: &str) -> Image {
    let seed = |text: &str| text.bytes().fold(0, |sum, byte| sum % 1_000_003 * 31 + u64::from(byte));
    let own = seed(name) + seed(platform) + version;
    ImageBuilder::new(name)
        .platform(platform)
        .gzip()
        .layer_random(6 << 20, seed(platform))
        .layer_random(3 << 20, 1 + seed(platform))
        .layer_random(900 << 10, own)
        .layer_files(&[("etc/version", &format!("{name} {version}\n"))])
        .build()
}

fn both(name: &str, version: u64) -> Image {
    index(&[
        (&app(name, version, "linux/amd64"), Some("linux/amd64")),
        (&app(name, version, "linux/arm64"), Some("linux/arm64")),
    ])
}

impl Demo {
    fn run(mut self) -> Result<(), String> {
        let (source, edge) = (self.source.host(), self.edge.host());
        say("Two registries run on this machine, and a Git checkout with the sets of two namespaces.");
        println!("source registry  {source}\nedge registry    {edge}");
        let images = self.publish();
        let commit = self.commit(&images);
        println!("sets             {} ({commit})", self.sets.path());

        say("The sets are checked, offline.");
        self.krs(&["validate", "sites"])?;

        say("CI makes a signing key once, and one archive for the commit. Shared layers are in it once.");
        self.krs(&["keygen", "--no-passphrase", "-o", "ci"])?;
        let plain = source.to_string();
        self.krs(&[
            "bundle",
            "sites",
            "-o",
            "site-1.krs.tar",
            "--stream",
            "site",
            "--key",
            "ci.key",
            "--plain-http",
            &plain,
        ])?;

        say("The courier can verify the archive, and list what is in it.");
        self.krs(&["verify", "site-1.krs.tar", "--public-key", "ci.pub"])?;
        self.krs(&["inspect", "site-1.krs.tar"])?;

        say("At the site: straight from the archive into the edge registry.");
        let to = edge.to_string();
        self.krs(&["push", "site-1.krs.tar", &to, "--public-key", "ci.pub", "--plain-http", &to])?;

        say("Once more: everything is there, nothing moves.");
        self.krs(&["push", "site-1.krs.tar", &to, "--public-key", "ci.pub", "--plain-http", &to])?;

        say("The site says what it has: a small file that travels back.");
        self.krs(&[
            "receipt",
            &to,
            "--set",
            "sites",
            "--site",
            "berlin",
            "-o",
            "site.receipt.json",
            "--plain-http",
            &to,
        ])?;

        say(
            "One image changes in Git. What would travel? The next bundle is a delta: what the site has stays at home.",
        );
        let images = images.into_iter().map(|(repository, tag, image)| match repository {
            "shop/api" => (repository, "1.4.3", both("api", 2)),
            _ => (repository, tag, image),
        });
        let images = images.collect::<Vec<_>>();
        for (repository, tag, image) in &images {
            image.push_to(&self.source, repository, Some(tag));
        }
        self.commit(&images);
        self.refused(&["diff", "site.receipt.json", "sites", "--plain-http", &plain], 10)?;
        self.krs(&[
            "bundle",
            "sites",
            "-o",
            "site-2.krs.tar",
            "--stream",
            "site",
            "--against",
            "site.receipt.json",
            "--key",
            "ci.key",
            "--plain-http",
            &plain,
        ])?;
        self.krs(&["push", "site-2.krs.tar", &to, "--public-key", "ci.pub", "--plain-http", &to])?;

        say(
            "A drive that was removed too early, a drive with a damaged byte, and a bundle that somebody else signed.",
        );
        let complete =
            std::fs::read(self.folder.join("site-2.krs.tar")).expect("the archive was just written");
        std::fs::write(self.folder.join("half.krs.tar"), &complete[..complete.len() / 2]).expect("a copy");
        self.refused(&["verify", "half.krs.tar", "--public-key", "ci.pub"], 6)?;
        let mut damaged = complete;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(self.folder.join("damaged.krs.tar"), &damaged).expect("a copy");
        self.refused(&["verify", "damaged.krs.tar", "--public-key", "ci.pub"], 4)?;
        self.krs(&["keygen", "--no-passphrase", "-o", "other"])?;
        self.refused(&["push", "site-2.krs.tar", &to, "--public-key", "other.pub", "--plain-http", &to], 3)?;

        say("What the edge registry has now:");
        for repository in self.edge.repositories() {
            for tag in self.edge.tags(&repository) {
                let digest =
                    self.edge.digest(&repository, &tag).map(|digest| digest.short()).unwrap_or_default();
                println!("  {repository:<16} {tag:<10} {digest}");
            }
        }
        Ok(())
    }

    /// Puts the images into the source registry.
    fn publish(&self) -> Vec<(&'static str, &'static str, Image)> {
        let images = vec![
            ("shop/api", "1.4.2", both("api", 1)),
            ("shop/web", "2.0.0", both("web", 1)),
            ("shop/worker", "1.4.2", app("worker", 1, "linux/amd64")),
            ("charts/shop", "0.9.0", helm_chart("shop", "0.9.0")),
            ("line/plc-gateway", "7.1", app("plc-gateway", 1, "linux/arm64")),
        ];
        for (repository, tag, image) in &images {
            image.push_to(&self.source, repository, Some(tag));
        }
        let (repository, _, image) = &images[2];
        sbom(image).push_to(&self.source, repository, None);
        images
    }

    /// Writes the sets of both namespaces for these images, and commits them.
    fn commit(&mut self, images: &[(&str, &str, Image)]) -> String {
        for (namespace, prefixes) in [("shop", &["shop/", "charts/"][..]), ("line", &["line/"])] {
            let mut text = format!(
                "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {namespace}\n  \
                 namespace: {namespace}\nspec:\n  destinationRegistry: {}\n  images:\n",
                self.edge.host()
            );
            for (repository, tag, image) in images {
                if prefixes.iter().any(|prefix| repository.starts_with(prefix)) {
                    text +=
                        &format!("  - image: {}/{repository}:{tag}@{}\n", self.source.host(), image.digest);
                }
            }
            self.sets.write(&format!("{namespace}/images.yaml"), &text);
        }
        self.sets.commit("Declare the images of the site")
    }

    fn krs(&self, arguments: &[&str]) -> Result<(), String> {
        self.expect(arguments, 0)
    }

    fn refused(&self, arguments: &[&str], code: i32) -> Result<(), String> {
        self.expect(arguments, code)?;
        println!("(exit code {code})");
        Ok(())
    }

    fn expect(&self, arguments: &[&str], code: i32) -> Result<(), String> {
        let shown = format!("krs {}", arguments.join(" "));
        println!("\n{}", emphasis(&format!("$ {shown}")));
        let arguments = arguments.iter().map(|argument| match *argument {
            "sites" => self.sets.path(),
            other => Utf8Path::new(other),
        });
        let mut command = Command::new(&self.krs);
        command.args(arguments).current_dir(&self.folder);
        // Nobody's login, proxy or setting has a part in this.
        command.env_clear().env("HOME", &self.folder);
        command.envs(
            ["PATH", "TERM", "NO_COLOR", "SystemRoot"]
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
        if status.code() == Some(code) { Ok(()) } else { Err(format!("{shown}: {status}")) }
    }
}

fn say(text: &str) {
    println!("\n{}", emphasis(&format!("── {text}")));
}

fn emphasis(text: &str) -> String {
    let plain = !std::io::stdout().is_terminal()
        || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("\u{1b}[1m{text}\u{1b}[0m") }
}
