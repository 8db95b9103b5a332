// SPDX-License-Identifier: Apache-2.0
//! Runs one program on the same input each time, and keeps what it writes as texts that can be compared line by line.
//!
//! Registries have fixed names, which only the proxies of the test resolve, and commits have fixed times. What is still not
//! the same in each run (the time of a receipt, durations, temporary folders) and the number of the version are replaced by
//! text of the same length, so that everything else is compared byte for byte.

use std::collections::BTreeMap;
use std::process::Command;

use krs_core::oci::digest::Digest;
use krs_testing::proxy::Proxy;
use krs_testing::registry::{Options, UNRESOLVED};
use serde_json::Value;

use super::make;
use crate::harness::{Outcome, Site};

/// The edge registry, as its proxy knows it.
pub(super) const EDGE: &str = "edge.invalid";
/// Signs nothing but the archives of this test.
const KEY: &str = include_str!("../../../../testdata/golden/0.1/written/test.key");
const PUBLIC_KEY: &str = include_str!("../../../../testdata/golden/0.1/written/test.pub");
/// Fields that depend on the machine and the time.
const OF_THE_MACHINE: [&str; 5] =
    ["elapsedSeconds", "freeBytes", "readFromMedia", "readingSeconds", "writingSeconds"];
/// In place of the present time, where an image has no digest: seconds since 1970.
const NOW: &str = "1795406400";

/// Which registry a call reaches.
#[derive(Clone, Copy)]
pub(super) enum Reaches {
    Source,
    Edge,
}

/// A site, a program, and the texts so far.
pub(super) struct Recorder {
    program: String,
    pub(super) site: Site,
    source: Proxy,
    edge: Proxy,
    /// What is replaced by what, both of the same length.
    replacements: Vec<(String, String)>,
    written: BTreeMap<String, Written>,
}

/// What a call wrote, as it is.
enum Written {
    Text(String),
    Archive(Vec<u8>),
}

impl Recorder {
    pub(super) fn new(program: &str) -> Self {
        let mut site = Site::with(Options { referrers_api: true, ..Options::default() });
        make::fill(&mut site);
        site.desk.write("test.key", KEY);
        site.desk.write("test.pub", PUBLIC_KEY);
        let proxy = |host: &str| Proxy::start(host.parse().unwrap());
        let (source, edge) = (proxy(site.source.host().as_str()), proxy(site.edge.host().as_str()));
        let (program, written) = (program.to_owned(), BTreeMap::new());
        let mut recorder = Self { program, site, source, edge, replacements: Vec::new(), written };
        recorder.commit();
        recorder
    }

    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        let text = |written: &Written| match written {
            Written::Text(text) => self.comparable(text),
            Written::Archive(bytes) => self.listing(bytes),
        };
        self.written.iter().map(|(name, written)| (name.clone(), text(written))).collect()
    }

    /// Commits the set, with the registry's fixed name.
    pub(super) fn commit(&mut self) {
        let set = self.site.set().replace(self.site.source.host().as_str(), UNRESOLVED);
        self.site.checkout.write("sites/berlin.yaml", set);
        self.site.checkout.commit("Change the images");
    }

    pub(super) fn set(&self) -> String {
        self.site.checkout.path().to_string()
    }

    pub(super) fn command(&self, reaches: Reaches, arguments: &[&str]) -> Command {
        let proxy = match reaches {
            Reaches::Source => &self.source,
            Reaches::Edge => &self.edge,
        };
        let mut command = self.site.desk.command_of(&self.program, arguments);
        let names = format!("{UNRESOLVED},{EDGE}");
        command
            .env("HTTP_PROXY", format!("http://{}", proxy.address()))
            .env("KRS_PLAIN_HTTP", names)
            .env("SOURCE_DATE_EPOCH", NOW);
        command
    }

    fn krs(&self, reaches: Reaches, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(reaches, arguments).output().unwrap())
    }

    /// Keeps the result of a call that ends with this code, in JSON.
    pub(super) fn result(&mut self, name: &str, code: i32, reaches: Reaches, arguments: &[&[&str]]) {
        let outcome = self.krs(reaches, &[arguments, &[&["--format", "json"]]].concat().concat());
        assert_eq!(outcome.code, code, "{name}: {outcome}");
        let result = outcome.json();
        // The digest of a bundle that is not written has the version in it too.
        if let (Some(true), Some(digest)) = (result["dryRun"].as_bool(), result["digest"].as_str()) {
            let digest = digest.strip_prefix("sha256:").unwrap();
            if !self.replacements.iter().any(|(from, _)| from == digest) {
                self.replace(digest, name);
            }
        }
        self.written.insert(format!("{name}.json"), Written::Text(outcome.out));
    }

    /// Keeps exit code and class of a call that fails.
    pub(super) fn failure(&mut self, what: &str, reaches: Reaches, arguments: &[&str]) {
        let outcome = self.krs(reaches, &[arguments, &["--format", "json"]].concat());
        let mut events = outcome.err.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let error = events.rfind(|event| event["event"] == "error").unwrap_or_default();
        let (code, kind) = (&error["code"], error["kind"].as_str().unwrap_or("-"));
        let line = format!("{}\t{kind}\t{code}\t{what}\n", outcome.code);
        let entry = self.written.entry("exit-codes.txt".to_owned());
        if let Written::Text(text) = entry.or_insert_with(|| Written::Text(String::new())) {
            text.push_str(&line);
        }
    }

    /// Keeps a file that is text.
    pub(super) fn text(&mut self, name: &str) {
        let text = std::fs::read_to_string(self.site.desk.path(name)).unwrap();
        if name.ends_with(".minisig") {
            self.replace_signatures(&text, name);
        }
        self.written.insert(name.to_owned(), Written::Text(one_field_a_line(&text)));
    }

    /// Keeps a receipt, and its time for what is made with it.
    pub(super) fn receipt(&mut self, name: &str) {
        let bytes = std::fs::read(self.site.desk.path(name)).unwrap();
        let receipt = serde_json::from_slice::<Value>(&bytes).unwrap();
        // Several may be of one second.
        self.replace(receipt["createdAt"].as_str().unwrap(), "time-of-a-receipt");
        // A delta names it without the end of the line.
        self.replace(&Digest::of(bytes.trim_ascii_end()).hex(), name);
        let text = one_field_a_line(&String::from_utf8(bytes).unwrap());
        self.written.insert(name.to_owned(), Written::Text(text));
    }

    /// Keeps an archive, which may be in volumes: all of its members, and those that are JSON as text.
    pub(super) fn archive(&mut self, name: &str) {
        let mut files = self.site.desk.files();
        files.retain(|file| file == name || file.starts_with(&format!("{name}.0")));
        let mut bytes = Vec::new();
        for file in &files {
            let volume = std::fs::read(self.site.desk.path(file)).unwrap();
            self.replace(&Digest::of(&volume).hex(), file);
            bytes.extend(volume);
        }
        let manifest = member(&bytes, "krs/bundle.json");
        self.replace(&Digest::of(manifest).hex(), name);
        if let Some(tool) = serde_json::from_slice::<Value>(manifest).unwrap()["tool"].as_str() {
            self.replace(tool, "version");
        }
        self.replace_signatures(&String::from_utf8_lossy(member(&bytes, "krs/signatures")), name);
        self.written.insert(format!("{name}.txt"), Written::Archive(bytes));
    }

    fn listing(&self, bytes: &[u8]) -> String {
        let mut bytes = bytes.to_vec();
        for (from, to) in &self.replacements {
            let positions = (0..=bytes.len().saturating_sub(from.len()))
                .filter(|at| bytes[*at..].starts_with(from.as_bytes()));
            for at in positions.collect::<Vec<_>>() {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
        let mut text = format!("{} bytes, {}\n", bytes.len(), Digest::of(&bytes));
        for (name, start, size) in members(&bytes) {
            let (header, content) = (&bytes[start - 512..start], &bytes[start..start + size]);
            text.push_str(&format!("{start} {size} {name} {}", Digest::of(content)));
            text.push_str(&format!(" header {}\n", Digest::of(header)));
        }
        for name in ["oci-layout", "index.json", "krs/bundle.json", "krs/signatures"] {
            let content = String::from_utf8_lossy(member(&bytes, name));
            let content = one_field_a_line(content.trim_end_matches(['\0', '\n']));
            text.push_str(&format!("==== {name}\n{content}\n"));
        }
        text
    }

    /// Signatures depend on all that is replaced; their comments stay.
    fn replace_signatures(&mut self, text: &str, label: &str) {
        for line in text.trim_end_matches(['\0', '\n']).lines().filter(|line| !line.contains(' ')) {
            self.replace(line, &format!("signature-of-{label}"));
        }
    }

    /// Has a text shown as `label`, with as many characters as it has.
    fn replace(&mut self, text: &str, label: &str) {
        let label = label.chars().chain(std::iter::repeat('.')).take(text.len()).collect();
        self.replacements.retain(|(from, _)| from != text);
        self.replacements.push((text.to_owned(), label));
    }

    fn comparable(&self, text: &str) -> String {
        let folders = [(self.site.checkout.path(), "CHECKOUT"), (self.site.desk.folder(), "DESK")];
        let mut text = text.to_owned();
        for (folder, name) in folders {
            text = text.replace(folder.as_str(), name);
        }
        for (from, to) in &self.replacements {
            text = text.replace(from, to);
        }
        let line = |line: &str| {
            let field = line.trim_start().strip_prefix('"').and_then(|rest| rest.split_once("\": "));
            match field {
                Some((field, _)) if OF_THE_MACHINE.contains(&field) => format!("(the machine's {field})\n"),
                _ => format!("{line}\n"),
            }
        };
        text.lines().map(line).collect()
    }
}

/// JSON in canonical form with a line for each field, whose order is kept; other text as it is.
fn one_field_a_line(text: &str) -> String {
    if text.starts_with('{') { text.replace(",\"", ",\n\"") } else { text.to_owned() }
}

/// Name, start of the content and size of each member of a tar archive.
fn members(archive: &[u8]) -> Vec<(String, usize, usize)> {
    let (mut all, mut at) = (Vec::new(), 0);
    while archive[at] != 0 {
        let text = |from: usize, to: usize| {
            let bytes = archive[at + from..at + to].split(|byte| *byte == 0).next().unwrap();
            std::str::from_utf8(bytes).unwrap().trim()
        };
        let size = usize::from_str_radix(text(124, 136), 8).unwrap();
        all.push((text(0, 100).to_owned(), at + 512, size));
        at += 512 + size.div_ceil(512) * 512;
    }
    all
}

fn member<'a>(archive: &'a [u8], name: &str) -> &'a [u8] {
    let (_, start, size) = members(archive).into_iter().find(|(of, ..)| of == name).expect(name);
    &archive[start..start + size]
}
