// SPDX-License-Identifier: Apache-2.0
//! The commands of the pages, run.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use camino::Utf8Path;
use krs_core::oci::digest::Digest;
use krs_testing::image::{ImageBuilder, index, sbom};
use krs_testing::registry::{Auth, Options, Registry};
use krs_testing::{process, tools};

use crate::page::parse;
use crate::{KRS, pages, read, user_pages};

/// Blocks that are not run here; a new one needs a reason that a reviewer accepts. Those that need a cluster are run by
/// importer/tests/e2e/docs.rs.
const MAX_NOT_RUN: usize = 9;
/// Programs that are built with Kubernetes: `cargo xtask test --only chart` runs the pages again with these.
const WITH_KUBERNETES: [&str; 2] = ["helm", "kubectl"];
/// Longest that one page may take.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The registries that the pages name.
struct World {
    source: Registry,
    internal: Registry,
    edge: Registry,
}

impl World {
    fn new() -> Self {
        let auth = Auth::bearer("robot", "s3cret");
        Self {
            source: Registry::start(Options { auth, ..Options::default() }),
            internal: Registry::start(Options { tls: true, ..Options::default() }),
            edge: Registry::start(Options::default()),
        }
    }

    /// A page with real hosts and digests. Pushes every image that it names by `NAME@sha256:…`.
    fn fill_in(&self, page: &str) -> String {
        let mut filled = String::new();
        for (n, part) in page.split("@sha256:…").enumerate() {
            if n > 0 {
                let name = filled.rsplit(|c: char| !c.is_ascii_graphic() || c == '`').next().unwrap();
                let digest = self.image(name);
                filled.push_str(&format!("@{digest}"));
            }
            filled.push_str(part);
        }
        let serve = process::free_address().to_string();
        [
            ("registry.example.com", self.source.host().to_string()),
            ("harbor.example.com", self.internal.host().to_string()),
            ("edge.local:5000", self.edge.host().to_string()),
            ("127.0.0.1:5000", serve),
        ]
        .iter()
        .fold(filled, |text, (name, host)| text.replace(name, host))
    }

    /// The digest of an image, which is in its registry afterwards. Images of other registries are only named.
    fn image(&self, name: &str) -> Digest {
        let (registry, path) = match name.split_once('/') {
            Some(("registry.example.com", path)) => (&self.source, path),
            Some(("harbor.example.com", path)) => (&self.internal, path),
            _ => return Digest::of(name.as_bytes()),
        };
        let (repository, tag) = path.split_once(':').map_or((path, None), |(r, tag)| (r, Some(tag)));
        let seed = name.bytes().fold(7, |sum, byte| sum % 1_000_003 * 31 + u64::from(byte));
        let one = |platform: &str, base| {
            let builder = ImageBuilder::new(name).platform(platform);
            builder.layer_random(300_000, base).layer_random(90_000, seed + base).build()
        };
        let image = index(&[(&one("linux/amd64", 1), None), (&one("linux/arm64", 2), None)]);
        image.push_to(registry, repository, tag);
        sbom(&image).push_to(registry, repository, None);
        image.digest
    }

    /// A home with credentials, and a folder with the checkout. `files` are the page's.
    fn prepare(&self, root: &Utf8Path, files: &[(String, String)]) {
        let auth = base64::engine::general_purpose::STANDARD.encode("robot:s3cret");
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, self.source.host());
        write(&root.join("home/.docker/config.json"), &config);
        write(&root.join("work/harbor-ca.crt"), self.internal.ca_pem().unwrap());
        for (path, text) in files {
            write(&root.join("work").join(path), text);
        }
    }
}

fn write(path: &Utf8Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What comes before every page: what it leaves running ends with it, and the sets are in Git.
const PRELUDE: &str = "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
git init --quiet --initial-branch=main sites
git -C sites add --all
git -C sites commit --quiet --message sets\n";

/// Runs the commands of a page; `Err` says where it stopped and what was said.
fn run(world: &World, name: &str, default_files: &[(String, String)]) -> Result<(), String> {
    let page = parse(&world.fill_in(&read(name)));
    let folder = tempfile::Builder::new().prefix("krs-docs-").tempdir().unwrap();
    let root = Utf8Path::from_path(folder.path()).unwrap();
    let sites = page.files.iter().any(|(path, _)| path.starts_with("sites/"));
    world.prepare(root, if sites { &[] } else { default_files });
    world.prepare(root, &page.files);
    let mut script = PRELUDE.to_owned();
    for block in &page.commands {
        if let Some(missing) = block.needs.iter().find(|program| tools::find(program).is_none()) {
            let is_expected = if WITH_KUBERNETES.contains(&missing.as_str()) {
                std::env::var_os("KRS_DOCS_WITH_KUBERNETES").is_some()
            } else {
                cfg!(feature = "real-parts")
            };
            if is_expected {
                tools::require(missing);
            }
            #[expect(clippy::print_stderr, reason = "whoever reads the log should know")]
            {
                eprintln!("{name}:{}: skipped, {missing} is not installed", block.line);
            }
            continue;
        }
        script.push_str(&format!("printf '{name}:{}' > '{root}/at'\n{}", block.line, block.text));
    }
    write(&root.join("script"), &script);
    let log = fs::File::create(root.join("log")).unwrap();
    let own = Utf8Path::new(KRS).parent().unwrap();
    let tools = std::env::var("KRS_TOOLS").map(|folder| format!("{folder}/bin:")).unwrap_or_default();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail"]).arg(root.join("script")).current_dir(root.join("work")).env_clear();
    bash.env("PATH", format!("{own}:{tools}{}", std::env::var("PATH").unwrap()));
    bash.env("HOME", root.join("home")).env("LC_ALL", "C").env("GIT_CONFIG_NOSYSTEM", "1");
    bash.env("REGISTRY_USER", "robot").env("REGISTRY_PASSWORD", "s3cret");
    for who in ["AUTHOR", "COMMITTER"] {
        bash.env(format!("GIT_{who}_NAME"), "Docs").env(format!("GIT_{who}_EMAIL"), "docs@example.com");
        bash.env(format!("GIT_{who}_DATE"), "1767225600 +0000");
    }
    bash.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = bash.spawn().expect("bash runs");
    let began = Instant::now();
    let end = loop {
        match child.try_wait().unwrap() {
            Some(status) if status.success() => return Ok(()),
            Some(status) => break format!("ended with {status}"),
            None if began.elapsed() > TIMEOUT => {
                child.kill().unwrap();
                child.wait().unwrap();
                break format!("took more than {} s", TIMEOUT.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let at =
        fs::read_to_string(root.join("at")).unwrap_or_else(|_| format!("{name}: before its first block"));
    let log = fs::read(root.join("log")).unwrap();
    Err(format!("{at}: {end}\n{}", String::from_utf8_lossy(&log)))
}

#[test]
fn every_command_of_the_documentation_works() {
    let world = World::new();
    let default_files = parse(&world.fill_in(&read("README.md"))).files;
    let (mut failed, mut blocks, mut not_run) = (Vec::new(), 0, Vec::new());
    for name in user_pages().into_iter().chain(pages("docs/reference")) {
        let page = parse(&read(&name));
        blocks += page.commands.len();
        not_run.extend(page.not_run.iter().map(|reason| format!("{name}: {reason}")));
        if !page.commands.is_empty() {
            failed.extend(run(&world, &name, &default_files).err());
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(blocks >= 20, "only {blocks} blocks were found");
    assert!(not_run.len() <= MAX_NOT_RUN, "too many blocks are not run:\n{}", not_run.join("\n"));
}
