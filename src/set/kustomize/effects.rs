// SPDX-License-Identifier: Apache-2.0
//! What Kustomize would make of the sets that were read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::parse::{Kustomization, Patch, selects};
use super::{KUSTOMIZATIONS, Kustomizations};
use crate::redact::{address, printable};
use crate::set::read::{Content, read_file};
use crate::set::text::says_set;

/// Most files that are opened outside of what is read.
const MAX_OPENED: usize = 2_000;
/// Most files and addresses that one message names.
const MAX_NAMED: usize = 3;
/// Most characters of one of them.
const MAX_SHOWN: usize = 200;

/// A set that was read.
#[derive(Debug)]
pub(in crate::set) struct FoundSet<'a> {
    /// Where its file really is.
    pub(in crate::set) path: &'a Path,
    /// What messages call the file.
    pub(in crate::set) file: &'a str,
    pub(in crate::set) name: &'a str,
    pub(in crate::set) namespace: Option<&'a str>,
    /// The images as the set writes them.
    pub(in crate::set) images: Vec<&'a str>,
}

/// What a kustomization does that krs does not.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::set) struct Effect {
    pub(in crate::set) kustomization: PathBuf,
    /// Part of a sentence.
    pub(in crate::set) message: String,
    /// Whether Kustomize can render it.
    pub(in crate::set) renders: bool,
}

/// What the objects of a kustomization come from.
#[derive(Debug, Clone, Default)]
struct Reach {
    /// Sets that were read, by their places.
    sets: BTreeSet<usize>,
    /// Files that hold a set and were not read.
    unread: BTreeSet<PathBuf>,
    /// What may hold sets and is not read: addresses in a network, charts, generators.
    unknown: BTreeSet<String>,
}

impl Reach {
    fn add(&mut self, other: &Self) {
        self.sets.extend(&other.sets);
        self.unread.extend(other.unread.iter().cloned());
        self.unknown.extend(other.unknown.iter().cloned());
    }
}

/// What krs reads.
pub(in crate::set) struct Extent<'a> {
    /// Whether a path lies below one of the folders that are read.
    pub(in crate::set) is_below: &'a dyn Fn(&Path) -> bool,
    /// Whether a file was read, so that the sets in it are known.
    pub(in crate::set) is_read: &'a dyn Fn(&Path) -> bool,
}

/// Finds what the kustomizations would change about `sets`, or add to them.
pub(in crate::set) fn effects(
    kustomizations: &Kustomizations,
    sets: &[FoundSet<'_>],
    extent: &Extent<'_>,
) -> Vec<Effect> {
    let mut graph = Graph {
        kustomizations,
        sets,
        extent,
        by_path: BTreeMap::new(),
        reached: BTreeMap::new(),
        open: BTreeSet::new(),
        opened: 0,
        unreadable: kustomizations.unreadable.clone(),
        missing: BTreeSet::new(),
        limit: None,
    };
    for (n, set) in sets.iter().enumerate() {
        graph.by_path.entry(set.path).or_default().push(n);
    }
    let mut parents = BTreeMap::<PathBuf, Vec<(&Path, &Path)>>::new();
    for (folder, kustomization) in &kustomizations.read {
        for component in kustomization.components().filter_map(|path| folder.join(path).canonicalize().ok()) {
            parents.entry(component).or_default().push((folder, &kustomization.file));
        }
    }
    let mut effects = Vec::new();
    let mut unknown = Vec::new();
    for (folder, kustomization) in &kustomizations.read {
        let file = &kustomization.file;
        let mut targets = graph.reach(folder, file);
        // A component changes what the kustomizations that use it have gathered.
        for (parent, file) in parents.get(folder).into_iter().flatten() {
            targets.add(&graph.reach(parent, file));
        }
        let changes = graph.changes(kustomization, &targets);
        if !changes.is_empty() {
            let of = graph.name_targets(&targets);
            let message = format!("{} would change {of}, and krs reads sets as they are", changes.join(", "));
            effects.push(Effect::new(file, message));
        }
        let LeftOut { certain, possible } = graph.left_out(kustomization);
        let concerns = !targets.sets.is_empty()
            || !targets.unread.is_empty()
            || kustomization.patches().any(|patch| patch.names_set());
        if concerns || !certain.is_empty() {
            let from = [certain, possible].concat();
            effects.extend((!from.is_empty()).then(|| Effect::new(file, may_take(from))));
        } else if !possible.is_empty() {
            unknown.push((file, possible));
        }
    }
    effects.extend(summary(unknown, |possible, more| {
        let more = counted(more, "kustomization takes", "kustomizations take");
        may_take(possible)
            + &more.map(|more| format!(", and {more} manifests from elsewhere")).unwrap_or_default()
    }));
    effects.extend(graph.trouble());
    effects
}

impl Effect {
    fn new(kustomization: &Path, message: String) -> Self {
        Self { kustomization: kustomization.to_owned(), message, renders: true }
    }
}

/// One effect in place of many of a kind: `message` is made of the first, and of how many more there are.
fn summary<T>(
    all: impl IntoIterator<Item = (impl AsRef<Path>, T)>,
    message: impl FnOnce(T, usize) -> String,
) -> Option<Effect> {
    let mut all = all.into_iter();
    let (kustomization, first) = all.next()?;
    Some(Effect::new(kustomization.as_ref(), message(first, all.count())))
}

fn counted(number: usize, one: &str, many: &str) -> Option<String> {
    (number > 0).then(|| format!("{number} more {}", if number == 1 { one } else { many }))
}

fn may_take(mut from: Vec<String>) -> String {
    let more = from.len().saturating_sub(MAX_NAMED);
    from.truncate(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("may take sets from {}{more}", from.join("; "))
}

/// What a kustomization takes from where krs does not read.
#[derive(Debug, Default)]
struct LeftOut {
    /// Where there are sets.
    certain: Vec<String>,
    /// Where there may be sets.
    possible: Vec<String>,
}

struct Graph<'a> {
    kustomizations: &'a Kustomizations,
    sets: &'a [FoundSet<'a>],
    extent: &'a Extent<'a>,
    by_path: BTreeMap<&'a Path, Vec<usize>>,
    /// By file or folder.
    reached: BTreeMap<PathBuf, Reach>,
    /// Folders that are being followed: a kustomization that takes itself is followed once.
    open: BTreeSet<PathBuf>,
    opened: usize,
    /// Kustomizations that cannot be read, with the reason.
    unreadable: BTreeMap<PathBuf, String>,
    /// Kustomizations with what they list and is not there, as part of a sentence.
    missing: BTreeSet<(PathBuf, String)>,
    /// The kustomization at which [`MAX_OPENED`] was reached.
    limit: Option<PathBuf>,
}

impl Graph<'_> {
    /// What the kustomization of a folder gathers, which `file` lists.
    fn reach(&mut self, folder: &Path, file: &Path) -> Reach {
        if let Some(reach) = self.reached.get(folder) {
            return reach.clone();
        }
        if !self.open.insert(folder.to_owned()) {
            return Reach::default();
        }
        let mut reach = Reach::default();
        let kustomizations = self.kustomizations;
        if let Some(known) = kustomizations.read.get(folder) {
            self.follow(known, &mut reach);
        } else if let Some(unknown) = self.open_kustomization(folder, file) {
            self.follow(&unknown, &mut reach);
        }
        self.open.remove(folder);
        self.reached.insert(folder.to_owned(), reach.clone());
        reach
    }

    fn follow(&mut self, kustomization: &Kustomization, reach: &mut Reach) {
        for resource in kustomization.resources().chain(kustomization.components()) {
            reach.add(&self.entry(kustomization, resource));
        }
        reach.unknown.extend(self.made(kustomization));
        reach.unknown.extend(self.absent_patches(kustomization));
    }

    /// What one entry of `resources` or `components` stands for.
    fn entry(&mut self, kustomization: &Kustomization, resource: &str) -> Reach {
        let mut reach = Reach::default();
        let path = match locate(kustomization, resource) {
            Ok(path) => path,
            Err(reason) => {
                reach.unknown.extend(self.absent(kustomization, resource, &reason));
                return reach;
            }
        };
        if path.is_dir() {
            return self.reach(&path, &kustomization.file);
        }
        if let Some(reach) = self.reached.get(&path) {
            return reach.clone();
        }
        if let Some(sets) = self.by_path.get(path.as_path()) {
            reach.sets.extend(sets);
        } else if !(self.extent.is_read)(&path) {
            match self.holds_set(&path, &kustomization.file) {
                Ok(true) => drop(reach.unread.insert(path.clone())),
                Ok(false) => {}
                Err(error) => {
                    reach.unknown.insert(format!("{} (cannot be read: {error})", shown(resource)));
                }
            }
        }
        self.reached.insert(path, reach.clone());
        reach
    }

    /// Patches in files that are not there. Those with a target say without the file what they change.
    fn absent_patches(&mut self, kustomization: &Kustomization) -> Vec<String> {
        let mut absent = Vec::new();
        let is_merged = |patch: &Patch<'_>| patch.target.is_none();
        for patch in kustomization.patches().filter(is_merged).filter_map(|patch| patch.file) {
            if let Err(reason) = locate(kustomization, patch) {
                absent.extend(self.absent(kustomization, patch, &reason));
            }
        }
        absent
    }

    /// What an entry stands for that is no file: as for Kustomize, an address if it looks like one.
    fn absent(&mut self, kustomization: &Kustomization, entry: &str, reason: &str) -> Option<String> {
        if is_address(entry) {
            return Some(format!("{} (krs fetches no manifests)", shown(entry)));
        }
        self.missing.insert((kustomization.file.clone(), format!("{}, which {reason}", shown(entry))));
        None
    }

    /// What a kustomization has made by others: nobody knows whether there is a set in it.
    fn made(&self, kustomization: &Kustomization) -> Vec<String> {
        let is_read = |folder: &Path| folder.canonicalize().is_ok_and(|path| (self.extent.is_below)(&path));
        // Templates of a chart that are read are named by themselves where they hold sets.
        let charts = kustomization.charts().filter(|(_, folder)| !is_read(folder));
        let mut made = charts
            .map(|(name, _)| format!("the Helm chart {} (krs renders no charts)", shown(name)))
            .collect::<Vec<_>>();
        if kustomization.has("generators") {
            made.push("generators (krs runs none)".to_owned());
        }
        made
    }

    fn open_kustomization(&mut self, folder: &Path, file: &Path) -> Option<Kustomization> {
        if !self.may_open(file) {
            return None;
        }
        let Some((path, read)) = KUSTOMIZATIONS.iter().find_map(|name| {
            let path = folder.join(name);
            Kustomization::read(&path).map(|read| (path, read))
        }) else {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let message = format!("the folder {name}, which has no {}", KUSTOMIZATIONS[0]);
            self.missing.insert((file.to_owned(), message));
            return None;
        };
        read.map_err(|reason| self.unreadable.insert(path, reason)).ok()
    }

    fn holds_set(&mut self, path: &Path, file: &Path) -> std::io::Result<bool> {
        if !path.is_file() || !self.may_open(file) {
            return Ok(false);
        }
        let Content { bytes, mentions, .. } = read_file(path, None)?;
        // What is too large to be kept is only searched for the word.
        Ok(mentions && bytes.is_none_or(|bytes| says_set(&String::from_utf8_lossy(&bytes))))
    }

    /// Counts a file or folder that is opened because `file` leads to it.
    fn may_open(&mut self, file: &Path) -> bool {
        self.opened += 1;
        if self.opened > MAX_OPENED && self.limit.is_none() {
            self.limit = Some(file.to_owned());
        }
        self.limit.is_none()
    }

    /// What Kustomize itself would not accept, or krs has not finished.
    fn trouble(self) -> Vec<Effect> {
        let unreadable = summary(self.unreadable, |reason, more| {
            let more = counted(more, "kustomization cannot be read", "kustomizations cannot be read");
            format!(
                "{reason}; so krs does not know what it changes, and may have read a patch that it lists as a set{}",
                more.map(|more| format!(". {more}")).unwrap_or_default()
            )
        });
        let missing = summary(self.missing, |entry, more| {
            let more = counted(more, "entry of a kustomization is", "entries of kustomizations are");
            format!(
                "lists {entry}, so no set in it was read{}",
                more.map(|more| format!(". {more} missing")).unwrap_or_default()
            )
        });
        let mut trouble = [unreadable, missing].into_iter().flatten().collect::<Vec<_>>();
        for effect in &mut trouble {
            effect.renders = false;
        }
        trouble.extend(self.limit.map(|kustomization| {
            let message = format!(
                "leads outside of what is read, where krs searched {MAX_OPENED} files and folders for sets, and not the others"
            );
            Effect::new(&kustomization, message)
        }));
        trouble
    }

    /// The fields of a kustomization that change sets among `targets`.
    fn changes(&self, kustomization: &Kustomization, targets: &Reach) -> Vec<&'static str> {
        let sets = targets.sets.iter().filter_map(|n| self.sets.get(*n)).collect::<Vec<_>>();
        // What lies elsewhere may have any name.
        let known = targets.unread.is_empty() && targets.unknown.is_empty();
        let names = if known { sets.iter().map(|set| set.name).collect() } else { Vec::new() };
        let some = !sets.is_empty() || !targets.unread.is_empty();
        let mut changes = Vec::new();
        let mut check = |field: &'static str, changed: bool| {
            if changed {
                changes.push(field);
            }
        };
        // A patch in a file of a set's kind is named by itself.
        let patch = |patch: Patch<'_>| {
            patch.names_set() || patch.target.is_some_and(|target| some && selects(target, &names))
        };
        check("patches", kustomization.patches().any(patch));
        check(
            "replacements",
            some && kustomization
                .replacement_targets()
                .any(|target| target.is_none_or(|t| selects(t, &names))),
        );
        check("images", sets.iter().any(|set| kustomization.images().any(|name| uses(set, name))));
        check("namePrefix", some && kustomization.text("namePrefix").is_some());
        check("nameSuffix", some && kustomization.text("nameSuffix").is_some());
        let namespace = kustomization.text("namespace");
        check("namespace", namespace.is_some_and(|name| sets.iter().any(|set| set.namespace != Some(name))));
        check("transformers", some && kustomization.has("transformers"));
        check("configurations", some && kustomization.has("configurations"));
        changes
    }

    /// What a kustomization takes from elsewhere.
    fn left_out(&mut self, kustomization: &Kustomization) -> LeftOut {
        let mut out = LeftOut::default();
        for resource in kustomization.resources().chain(kustomization.components()) {
            let path = locate(kustomization, resource).ok();
            // A kustomization that is read itself says what it takes.
            if path.as_ref().is_some_and(|path| self.kustomizations.read.contains_key(path)) {
                continue;
            }
            let Reach { unread, unknown, .. } = self.entry(kustomization, resource);
            let resource = shown(resource);
            match path {
                Some(path) if !unread.is_empty() => {
                    out.certain.push(format!("{resource}, where {} not read", name_files(&unread, &path)));
                }
                Some(path) if path.is_dir() && !unknown.is_empty() => {
                    let from = unknown.into_iter().next().unwrap_or_default();
                    out.possible.push(format!("{resource}, which takes manifests from {from}"));
                }
                _ => out.possible.extend(unknown),
            }
        }
        out.possible.extend(self.made(kustomization));
        out.possible.extend(self.absent_patches(kustomization));
        out
    }

    fn name_targets(&self, targets: &Reach) -> String {
        let files =
            targets.sets.iter().filter_map(|n| Some(self.sets.get(*n)?.file)).collect::<BTreeSet<_>>();
        let more = files.len().saturating_sub(MAX_NAMED);
        let named = files.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join(", ");
        match (named.is_empty(), more) {
            (true, _) => "sets that are not read here".to_owned(),
            (false, 0) => format!("the sets of {named}"),
            (false, more) => format!("the sets of {named} and {more} more files"),
        }
    }
}

/// Whether a set has an image that Kustomize knows by this name.
fn uses(set: &FoundSet<'_>, name: &str) -> bool {
    set.images.iter().any(|image| {
        let image = image.split('@').next().unwrap_or_default();
        let tag = image.rfind(':').filter(|at| !image.get(*at..).unwrap_or_default().contains('/'));
        image.get(..tag.unwrap_or(image.len())) == Some(name)
    })
}

/// Where a file or folder is that a kustomization lists.
///
/// # Errors
/// Why it cannot be found, as part of a sentence.
fn locate(kustomization: &Kustomization, entry: &str) -> Result<PathBuf, String> {
    kustomization.folder.join(entry).canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })
}

/// Whether an entry that is no file can be an address: `https://…`, `git@…`, `github.com/org/repo//path`.
fn is_address(resource: &str) -> bool {
    let host = resource.split('/').next().unwrap_or_default();
    !resource.contains(char::is_whitespace)
        && (resource.contains("://")
            || resource.contains('@')
            || (resource.contains('/') && host.contains('.') && !host.starts_with('.')))
}

/// An entry as it may be shown.
fn shown(entry: &str) -> String {
    printable(&address(entry), MAX_SHOWN)
}

fn name_files(files: &BTreeSet<PathBuf>, below: &Path) -> String {
    let name = |file: &PathBuf| match file.strip_prefix(below) {
        Ok(relative) if !relative.as_os_str().is_empty() => relative.display().to_string(),
        _ => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let named = files.iter().take(MAX_NAMED).map(name).collect::<Vec<_>>().join(", ");
    let verb = if files.len() == 1 { "holds a set that is" } else { "hold sets that are" };
    format!("{named} {verb}")
}
