// SPDX-License-Identifier: Apache-2.0
//! Reading all sets of a call.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;

use super::document::{MAX_DOCUMENT, Verdict, find, read, too_large};
use super::kustomize::{Patches, is_helm_template};
use super::text::{Piece, says_set, split};
use super::walk::{Candidate, Root, checkout, root, walk};
use super::{CheckedSet, Loaded, LoadedSet, PassedOver, SetError, SetErrors, Warning, git};
use crate::crd::GROUP;

/// Largest file that is read, in bytes; rendered YAML of a whole site fits.
const MAX_FILE: u64 = 32 << 20;
/// Most sets of one call.
const MAX_SETS: usize = 10_000;
/// Most errors that are reported at once.
const MAX_ERRORS: usize = 50;

/// Reads every set below `paths`, each a folder or a file; `-` is `stdin`.
///
/// A file that is reached twice is read once. The commit is that of the first path that lies in a Git repository;
/// paths in another repository are warned about.
///
/// # Errors
/// Everything that is wrong, not only the first; also when there is no set at all.
pub fn load(paths: &[Utf8PathBuf], mut stdin: Option<&mut dyn Read>) -> Result<Loaded, SetErrors> {
    let mut loader = Loader::default();
    for path in paths {
        if path == "-" {
            match stdin.take() {
                Some(stdin) => loader.stdin(stdin),
                None => loader.errors.push(SetError::file("-", "standard input can be read only once")),
            }
            continue;
        }
        match root(path) {
            Ok(Root::Folder(folder)) => loader.folder(folder, path),
            Ok(Root::File(candidate)) => {
                if let Some(folder) = candidate.path.parent() {
                    loader.roots.push((candidate.path.clone(), folder.to_owned()));
                }
                loader.candidate(&candidate, &Patches::default());
            }
            Err(error) => loader.errors.push(error),
        }
    }
    loader.finish(paths)
}

#[derive(Default)]
struct Loader {
    sets: Vec<LoadedSet>,
    passed_over: Vec<PassedOver>,
    warnings: Vec<Warning>,
    errors: Vec<SetError>,
    seen: HashSet<PathBuf>,
    /// What was asked for, and the folder in which its repository is looked for.
    roots: Vec<(PathBuf, PathBuf)>,
    read_stdin: bool,
}

impl Loader {
    fn folder(&mut self, folder: PathBuf, shown: &Utf8PathBuf) {
        let walked = walk(&folder, shown);
        self.errors.extend(walked.errors);
        self.warnings.extend(walked.warnings);
        let mut patches = Patches::default();
        for kustomization in &walked.kustomizations {
            patches.add(kustomization);
        }
        if let Some(top) = checkout(&folder) {
            patches.add_above(&folder, top);
        }
        for candidate in &walked.candidates {
            self.candidate(candidate, &patches);
        }
        self.roots.push((folder.clone(), folder));
    }

    fn stdin(&mut self, stdin: &mut dyn Read) {
        self.read_stdin = true;
        let mut bytes = Vec::new();
        match stdin.take(MAX_FILE + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > MAX_FILE => self.errors.push(file_too_large("-")),
            Ok(_) => self.bytes("-", &bytes),
            Err(error) => self.errors.push(SetError::file("-", format!("cannot be read: {error}"))),
        }
    }

    fn candidate(&mut self, candidate: &Candidate, patches: &Patches) {
        if !self.seen.insert(candidate.path.clone()) {
            return;
        }
        let file = candidate.file.as_str();
        let bytes = match read_if_mentioned(&candidate.path) {
            Ok(Mentioned::No) => return,
            Ok(Mentioned::TooLarge) => return self.errors.push(file_too_large(file)),
            Ok(Mentioned::Yes(bytes)) => bytes,
            Err(error) => return self.errors.push(SetError::file(file, format!("cannot be read: {error}"))),
        };
        let reason = if let Some(kustomization) = patches.lists(&candidate.path) {
            let name = kustomization.file_name().unwrap_or_default().to_string_lossy();
            Some(format!("is a Kustomize patch (listed in {name})"))
        } else if is_helm_template(&candidate.path) {
            Some("is a template of a Helm chart".to_owned())
        } else {
            candidate.hidden.then(|| "is hidden (a part of its path begins with a dot)".to_owned())
        };
        match reason {
            Some(_) if !says_set(&String::from_utf8_lossy(&bytes)) => {}
            Some(reason) => {
                self.passed_over.push(PassedOver { file: file.to_owned(), line: 0, reason });
            }
            None => self.bytes(file, &bytes),
        }
    }

    fn bytes(&mut self, file: &str, bytes: &[u8]) {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            let wide = bytes.iter().copied().filter(|b| *b != 0).collect::<Vec<_>>();
            if mentions(&wide) {
                self.errors.push(SetError::file(file, "is UTF-16").help("save it as UTF-8"));
            }
            return;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => split(text).iter().for_each(|piece| self.piece(file, piece)),
            Err(error) if says_set(&String::from_utf8_lossy(bytes)) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = before.iter().filter(|b| **b == b'\n').count() + 1;
                self.errors.push(SetError::file(file, format!("is not UTF-8 (line {line})")));
            }
            Err(_) => {}
        }
    }

    fn piece(&mut self, file: &str, piece: &Piece<'_>) {
        if !mentions(piece.text.as_bytes()) {
            return;
        }
        if piece.text.len() > MAX_DOCUMENT {
            if says_set(&piece.text) {
                self.errors.push(too_large(file, piece.text.len()));
            }
            return;
        }
        let found = match find(piece) {
            Ok(found) => found,
            Err(_) if !says_set(&piece.text) => return,
            Err((spot, message)) => return self.errors.push(piece.error(file, spot, message)),
        };
        for found in found {
            let line = found.piece.first_line();
            match found.verdict {
                Verdict::Set => match read(&found.piece, file) {
                    Ok(set) => self.set(file, line, found.piece.text.as_bytes(), set),
                    Err(errors) => self.errors.extend(errors),
                },
                Verdict::Wrong(spot, message) => self.errors.push(found.piece.error(file, spot, message)),
                Verdict::Foreign(version) => self.passed_over.push(PassedOver {
                    file: file.to_owned(),
                    line,
                    reason: format!(
                        "is of apiVersion {}, not of {GROUP}",
                        crate::redact::printable(&version, 100)
                    ),
                }),
                Verdict::List | Verdict::Other => {}
            }
        }
    }

    fn set(&mut self, file: &str, line: u64, raw: &[u8], set: CheckedSet) {
        for image in set.images.iter().filter(|image| image.reference.digest.is_none()) {
            self.warnings.push(Warning {
                file: file.to_owned(),
                line: image.line,
                message: format!("`{}` has no digest: what its tag points to may change", image.written),
            });
        }
        if self.sets.len() == MAX_SETS {
            if !self.errors.iter().any(|error| error.message.starts_with("more than")) {
                self.errors.push(SetError::file(file, format!("more than {MAX_SETS} sets in one call")));
            }
            return;
        }
        self.sets.push(LoadedSet { file: file.to_owned(), line, raw: raw.to_vec(), set });
    }

    fn finish(mut self, paths: &[Utf8PathBuf]) -> Result<Loaded, SetErrors> {
        if self.sets.is_empty() && self.errors.is_empty() {
            self.errors.push(nothing_found(paths, &self.passed_over));
        }
        if !self.errors.is_empty() {
            self.errors.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            let more = self.errors.len().saturating_sub(MAX_ERRORS);
            self.errors.truncate(MAX_ERRORS);
            if let (Some(last), 1..) = (self.errors.last_mut(), more) {
                last.help = Some(format!("{more} more errors are not shown").into());
            }
            return Err(SetErrors(self.errors));
        }
        let source = self.source();
        // Stable: sets of one file stay in their order.
        self.sets.sort_by(|a, b| a.file.cmp(&b.file));
        self.passed_over.sort();
        self.warnings.sort();
        Ok(Loaded { sets: self.sets, passed_over: self.passed_over, source, warnings: self.warnings })
    }

    fn source(&mut self) -> Option<git::Source> {
        let mut top: Option<PathBuf> = None;
        let mut inside = Vec::new();
        for (path, folder) in &self.roots {
            let Some(found) = checkout(folder) else { continue };
            match &top {
                Some(top) if top != found => self.warnings.push(Warning {
                    file: path.to_string_lossy().into_owned(),
                    line: 0,
                    message: "lies in another Git repository; only the commit of the first one is recorded"
                        .to_owned(),
                }),
                _ => {
                    top = Some(found.to_owned());
                    inside.push(path.clone());
                }
            }
        }
        let top = top?;
        // What came by standard input, or lies elsewhere, is in no commit of this checkout.
        let elsewhere = self.read_stdin || inside.len() < self.roots.len();
        git::source(&top, &inside)
            .map(|source| git::Source { dirty: source.dirty || elsewhere, ..source })
            .map_err(|reason| {
                self.warnings.push(Warning {
                    file: top.to_string_lossy().into_owned(),
                    line: 0,
                    message: format!("the commit is not recorded: {reason}"),
                });
            })
            .ok()
    }
}

fn nothing_found(paths: &[Utf8PathBuf], passed_over: &[PassedOver]) -> SetError {
    let asked = paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(", ");
    let error = SetError::file(asked, "holds no EdgeImageSet");
    match passed_over {
        [] => error
            .help("a set is a YAML document with apiVersion kuberegistrysync.io/v1alpha1, kind EdgeImageSet"),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            error.help(format!("passed over: {} {}{more}", first.file, first.reason))
        }
    }
}

fn file_too_large(file: &str) -> SetError {
    SetError::file(
        file,
        format!("mentions EdgeImageSet and has more than the {MAX_FILE} bytes that are allowed"),
    )
    .help("divide it, or name it in .krsignore if it holds no set")
}

/// Whether reading further can be worth it. A set whose kind is misspelt still names the group.
fn mentions(bytes: &[u8]) -> bool {
    contains(bytes, b"EdgeImageSet") || contains(bytes, GROUP.as_bytes())
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| b == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(word) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

enum Mentioned {
    Yes(Vec<u8>),
    No,
    TooLarge,
}

/// Reads a file that mentions a set. A file that is too large is searched, in bounded memory, but not kept.
fn read_if_mentioned(path: &Path) -> io::Result<Mentioned> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Mentioned::No);
    }
    if metadata.len() <= MAX_FILE {
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        let wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
        return Ok(match wide || mentions(&bytes) {
            true if bytes.len() as u64 > MAX_FILE => Mentioned::TooLarge,
            true => Mentioned::Yes(bytes),
            false => Mentioned::No,
        });
    }
    let mut window = vec![0; 256 << 10];
    let mut kept = 0;
    loop {
        let read = file.read(window.get_mut(kept..).unwrap_or_default())?;
        if read == 0 {
            return Ok(Mentioned::No);
        }
        let filled = kept + read;
        if mentions(window.get(..filled).unwrap_or_default()) {
            return Ok(Mentioned::TooLarge);
        }
        // The word may lie across the border of two reads.
        kept = filled.min(32);
        window.copy_within(filled - kept..filled, 0);
    }
}
