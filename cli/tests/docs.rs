// SPDX-License-Identifier: Apache-2.0
//! The documentation, held to the program: every `sh` block of it runs, what is generated is current, quoted messages
//! exist, links lead somewhere. How a page is run: docs/README.md.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use camino::{Utf8Path, Utf8PathBuf};
use krs_core::digest::Digest;
use krs_testing::image::{ImageBuilder, index, sbom};
use krs_testing::registry::{Auth, Options, Registry};
use krs_testing::{process, tools};

/// Blocks that no test runs; a new one needs a reason that a reviewer accepts.
const MAX_NOT_RUN: usize = 2;
/// Longest that one page may take.
const PATIENCE: Duration = Duration::from_secs(180);
const KRS: &str = env!("CARGO_BIN_EXE_krs");
const ACCEPT: &str = "accept with\n  UPDATE_DOCS=1 cargo test -p krs-cli --test docs";

fn checkout() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Pages below a folder of the checkout, sorted.
fn pages(folder: &str) -> Vec<String> {
    let entries = checkout().join(folder).read_dir_utf8().unwrap().map(|entry| entry.unwrap());
    let names = entries.filter(|entry| entry.path().extension() == Some("md"));
    let mut pages = names.map(|entry| format!("{folder}/{}", entry.file_name())).collect::<Vec<_>>();
    pages.sort();
    pages
}

fn user_pages() -> Vec<String> {
    std::iter::once("README.md".to_owned()).chain(pages("docs")).collect()
}

// ---- the pages, taken apart

#[derive(Debug, Default, PartialEq)]
struct Page {
    commands: Vec<Commands>,
    /// Path and text of the YAML blocks that are files.
    files: Vec<(String, String)>,
    not_run: Vec<String>,
}

#[derive(Debug, PartialEq)]
struct Commands {
    line: usize,
    text: String,
    needs: Vec<String>,
}

fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let (mut needs, mut not_run) = (Vec::new(), None);
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let until = |end: &str, lines: &mut std::iter::Enumerate<std::str::Lines<'_>>| {
            let indent = line.len() - line.trim_start().len();
            let inside = lines.map(|(_, line)| line).take_while(|line| line.trim() != end);
            inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect::<String>()
        };
        let trimmed = line.trim();
        let marker = |name: &str| {
            let inside = trimmed.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
            Some(inside.strip_prefix(name)?.trim().to_owned())
        };
        if trimmed == "<!-- setup:" {
            let text = until("-->", &mut lines);
            page.commands.push(Commands { line: n + 1, text, needs: Vec::new() });
        } else if let Some(programs) = marker("needs:") {
            needs = programs.split(',').map(|name| name.trim().to_owned()).collect();
            continue;
        } else if let Some(reason) = marker("not run:") {
            not_run = Some(reason);
            continue;
        } else if let Some(language) = trimmed.strip_prefix("```") {
            let text = until("```", &mut lines);
            match (language, text.strip_prefix("# file: ").and_then(|text| text.split_once('\n'))) {
                ("sh", _) if not_run.is_some() => page.not_run.extend(not_run.take()),
                ("sh", _) => page.commands.push(Commands { line: n + 1, text, needs }),
                ("yaml", Some((path, text))) => page.files.push((path.to_owned(), text.to_owned())),
                ("bash" | "shell" | "console", _) => panic!("line {}: commands are `sh` or `text`", n + 1),
                _ => {}
            }
        } else if trimmed.is_empty() {
            continue;
        }
        (needs, not_run) = (Vec::new(), None);
    }
    page
}

#[test]
fn a_page_is_taken_apart_into_commands_and_files() {
    let page = parse(
        "x\n```sh\na\n```\n<!-- needs: b, c -->\n1. y\n   ```sh\n   d\n     e\n   ```\n<!-- needs: f -->\n\n```sh\ng\n```\n\
         <!-- setup:\nh\n-->\n<!-- not run: why -->\n```sh\ni\n```\n```yaml\n# file: p/q.yaml\nr: 1\n```\n```text\ns\n```\n",
    );
    let commands = |line, text: &str, needs: &[&str]| Commands {
        line,
        text: text.to_owned(),
        needs: needs.iter().map(|name| (*name).to_owned()).collect(),
    };
    let expected = [
        commands(2, "a\n", &[]),
        commands(7, "d\n  e\n", &[]),
        commands(13, "g\n", &["f"]),
        commands(16, "h\n", &[]),
    ];
    assert_eq!(page.commands, expected);
    assert_eq!(page.files, [("p/q.yaml".to_owned(), "r: 1\n".to_owned())]);
    assert_eq!(page.not_run, ["why"]);
}

// ---- the world in which they run

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

    /// A home with a login, and a folder with the checkout. `files` are the page's.
    fn prepare(&self, root: &Utf8Path, files: &[(String, String)]) {
        let login = base64::engine::general_purpose::STANDARD.encode("robot:s3cret");
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#, self.source.host());
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
            assert!(!cfg!(feature = "real-parts"), "{} is missing", tools::require(missing));
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
            None if began.elapsed() > PATIENCE => {
                child.kill().unwrap();
                child.wait().unwrap();
                break format!("took more than {} s", PATIENCE.as_secs());
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
    for name in user_pages() {
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

// ---- what is generated

/// Compares a generated part of a page, between `begin` and `end`, or writes it with UPDATE_DOCS=1.
fn compare(path: &str, begin: &str, end: &str, generated: &str) {
    let file = checkout().join(path);
    let old = fs::read_to_string(&file).unwrap_or_default();
    let (before, rest) = old.split_once(begin).unwrap_or(("", ""));
    let (_, after) = if end.is_empty() { ("", "") } else { rest.split_once(end).unwrap() };
    let new = format!("{before}{begin}{generated}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &new).unwrap();
    } else {
        assert!(new == old, "{path} is not what krs says; {ACCEPT}");
    }
}

fn krs(arguments: &[&str]) -> String {
    let mut command = Command::new(KRS);
    command.args(arguments).env_clear().env("COLUMNS", "110");
    let output = command.output().unwrap();
    assert!(output.status.success(), "krs {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Help without the options that every command has, and without spaces at the ends of lines.
fn help(command: &str, whole: bool) -> String {
    let text = if command.is_empty() { krs(&["--help"]) } else { krs(&[command, "--help"]) };
    let mut shown = !text.is_empty();
    let mut out = String::new();
    for line in text.lines().map(str::trim_end) {
        if !line.starts_with(' ') && line.ends_with(':') {
            shown = whole || line != "Output:";
        } else if !line.is_empty() && !line.starts_with(' ') {
            shown = true;
        }
        if shown {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.trim_end().to_owned()
}

#[test]
fn the_reference_of_commands_is_what_help_says() {
    let top = help("", true);
    let (_, list) = top.split_once("\nCommands:\n").unwrap();
    let names = list
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help").collect::<Vec<_>>();
    assert!(names.len() >= 10, "{names:?}");
    let mut text = format!("\n\n```text\n{top}\n```\n");
    for name in names {
        text.push_str(&format!("\n## krs {name}\n\n```text\n{}\n```\n", help(name, false)));
    }
    let title = "# Commands\n\nEvery command and flag of `krs`, as `krs COMMAND --help` prints it; the options under \"Output\" are shown once,\n\
                 here, and belong to all commands. This page is generated: `UPDATE_DOCS=1 cargo test -p krs-cli --test docs`.";
    compare("docs/reference/cli.md", title, "", &text);
}

#[test]
fn the_reference_of_sets_has_every_field_and_every_rule() {
    let crd: serde_json::Value = serde_saphyr::from_str(&krs(&["crd"])).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let (mut fields, mut rules) = (BTreeSet::new(), Vec::new());
    collect(&schema["spec"], "spec", &mut fields, &mut rules);
    let page = read("docs/reference/edgeimageset.md");
    for name in schema["status"]["properties"].as_object().unwrap().keys() {
        fields.insert(name.clone());
    }
    let missing = fields.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect::<Vec<_>>();
    assert!(missing.is_empty(), "docs/reference/edgeimageset.md lacks {missing:?}");
    let rows = rules.iter().map(|(place, message)| format!("| `{place}` | {message} |\n"));
    let table = format!("\n| field | message |\n|---|---|\n{}", rows.collect::<String>());
    compare("docs/reference/edgeimageset.md", "<!-- rules: begin -->", "<!-- rules: end -->", &table);
}

fn collect(
    schema: &serde_json::Value,
    place: &str,
    fields: &mut BTreeSet<String>,
    rules: &mut Vec<(String, String)>,
) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        rules.push((place.to_owned(), rule["message"].as_str().unwrap().replace('|', "\\|")));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let below = place.strip_prefix("spec.").or(place.strip_prefix("spec")).unwrap_or(place);
        let dot = if below.is_empty() { "" } else { "." };
        fields.insert(if below.starts_with("images") { name.clone() } else { format!("{below}{dot}{name}") });
        collect(schema, &format!("{place}.{name}"), fields, rules);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{place}[]"), fields, rules);
    }
}

// ---- what is quoted and linked

fn sources(folder: &Utf8Path, text: &mut String) {
    for entry in folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap()) {
        if entry.path().is_dir() {
            sources(entry.path(), text);
        } else if entry.path().extension() == Some("rs") {
            text.push_str(&fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// Pieces of a quoted message that are fixed: between `…` and words in capitals, which stand for something.
fn fixed_pieces(quoted: &str) -> Vec<String> {
    let stands_for = |word: &str| {
        let letters = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.contains('…')
            || (letters.len() > 3 || letters == "N" || letters == "M")
                && letters.chars().all(|c| c.is_ascii_uppercase() || c == ':')
    };
    let words = quoted.split_whitespace().collect::<Vec<_>>();
    words
        .split(|word| stands_for(word))
        .map(|piece| piece.join(" "))
        .filter(|piece| piece.len() > 3)
        .collect()
}

#[test]
fn every_message_that_the_pages_explain_is_one_of_krs() {
    let mut code = String::new();
    for folder in ["src", "cli/src"] {
        sources(&checkout().join(folder), &mut code);
    }
    let mut wrong = Vec::new();
    let mut pieces = 0;
    for page in ["docs/reference/errors.md", "docs/carry-and-check.md"] {
        for cell in read(page)
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next().map(str::to_owned))
        {
            // Every second piece between back-ticks is quoted; the cell begins with a quoted one.
            for piece in cell.split('`').step_by(2).flat_map(fixed_pieces) {
                pieces += 1;
                if !code.contains(&piece) {
                    wrong.push(format!("{page}: no message has `{piece}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pieces >= 50, "only {pieces} quotations were found");
}

/// The anchor that GitHub and GitLab give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut anchors = BTreeMap::<Utf8PathBuf, BTreeSet<String>>::new();
    let own = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(str::to_owned);
    let all = user_pages().into_iter().chain(pages("docs/reference")).chain(pages("docs/adr")).chain(own);
    let all = all.collect::<Vec<_>>();
    for page in &all {
        let text = read(page);
        let headings = text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| anchor(line.trim_start_matches('#')));
        anchors.insert(checkout().join(page), headings.collect());
    }
    let (mut wrong, mut links) = (Vec::new(), 0);
    for page in &all {
        let text = read(page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            links += 1;
            let (path, heading) =
                target.split_once('#').map_or((target, None), |(path, heading)| (path, Some(heading)));
            let from = checkout().join(page);
            let file = if path.is_empty() {
                Ok(from.clone())
            } else {
                from.parent().unwrap().join(path).canonicalize_utf8()
            };
            let known = |file: &Utf8PathBuf| {
                heading.is_none_or(|heading| anchors.get(file).is_some_and(|all| all.contains(heading)))
            };
            if !file.is_ok_and(|file| known(&file)) {
                wrong.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    assert!(links >= 30, "only {links} links were found");
}
