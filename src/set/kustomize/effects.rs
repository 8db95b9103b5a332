// SPDX-License-Identifier: Apache-2.0
//! What Kustomize would make of the sets that were read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::parse::{Kustomization, Patch, read_small, selects};
use super::{KUSTOMIZATIONS, Kustomizations};
use crate::redact::address;
use crate::set::text::says_set;

/// Most files that are opened outside of what is read.
const MAX_OPENED: usize = 2_000;
/// Most files and addresses that one message names.
const MAX_NAMED: usize = 3;

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
}

/// What the objects of a kustomization come from.
#[derive(Debug, Clone, Default)]
struct Reach {
    /// Sets that were read, by their places.
    sets: BTreeSet<usize>,
    /// Files that hold a set and were not read.
    unread: BTreeSet<PathBuf>,
    /// Addresses in a network.
    remote: BTreeSet<String>,
}

impl Reach {
    fn add(&mut self, other: &Self) {
        self.sets.extend(&other.sets);
        self.unread.extend(other.unread.iter().cloned());
        self.remote.extend(other.remote.iter().cloned());
    }

    fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.unread.is_empty() && self.remote.is_empty()
    }
}

/// Finds what the kustomizations would change about `sets`, or add to them. `is_below` answers whether a path lies
/// below what is read.
pub(in crate::set) fn effects(
    kustomizations: &Kustomizations,
    sets: &[FoundSet<'_>],
    is_below: &dyn Fn(&Path) -> bool,
) -> Vec<Effect> {
    let mut graph = Graph {
        kustomizations,
        sets,
        is_below,
        by_path: BTreeMap::new(),
        reached: BTreeMap::new(),
        open: BTreeSet::new(),
        opened: 0,
    };
    for (n, set) in sets.iter().enumerate() {
        graph.by_path.entry(set.path).or_default().push(n);
    }
    let mut parents = BTreeMap::<PathBuf, Vec<&Path>>::new();
    for (folder, kustomization) in &kustomizations.read {
        for component in kustomization.components().filter_map(|path| folder.join(path).canonicalize().ok()) {
            parents.entry(component).or_default().push(folder);
        }
    }
    let mut effects = Vec::new();
    for (folder, kustomization) in &kustomizations.read {
        let mut targets = graph.reach(folder);
        // A component changes what the kustomizations that use it have gathered.
        for parent in parents.get(folder).into_iter().flatten() {
            targets.add(&graph.reach(parent));
        }
        let mut add = |message: String| {
            effects.push(Effect { kustomization: kustomization.file.clone(), message });
        };
        let changes = graph.changes(kustomization, &targets);
        if !changes.is_empty() {
            let of = graph.name_targets(&targets);
            add(format!("{} would change {of}, and krs reads sets as they are", changes.join(", ")));
        }
        if let Some(message) = graph.left_out(kustomization, &targets) {
            add(message);
        }
    }
    effects
}

struct Graph<'a> {
    kustomizations: &'a Kustomizations,
    sets: &'a [FoundSet<'a>],
    is_below: &'a dyn Fn(&Path) -> bool,
    by_path: BTreeMap<&'a Path, Vec<usize>>,
    reached: BTreeMap<PathBuf, Reach>,
    /// Folders that are being followed: a kustomization that takes itself is followed once.
    open: BTreeSet<PathBuf>,
    opened: usize,
}

impl Graph<'_> {
    fn reach(&mut self, folder: &Path) -> Reach {
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
        } else if let Some(unknown) = self.open_kustomization(folder) {
            self.follow(&unknown, &mut reach);
        }
        self.open.remove(folder);
        self.reached.insert(folder.to_owned(), reach.clone());
        reach
    }

    fn follow(&mut self, kustomization: &Kustomization, reach: &mut Reach) {
        for resource in kustomization.resources().chain(kustomization.components()) {
            reach.add(&self.entry(&kustomization.folder, resource));
        }
    }

    /// What one entry of `resources` or `components` stands for.
    fn entry(&mut self, folder: &Path, resource: &str) -> Reach {
        let mut reach = Reach::default();
        let Ok(path) = folder.join(resource).canonicalize() else {
            // As Kustomize does: what is no file is an address.
            if is_address(resource) {
                reach.remote.insert(resource.to_owned());
            }
            return reach;
        };
        if path.is_dir() {
            return self.reach(&path);
        }
        if let Some(sets) = self.by_path.get(path.as_path()) {
            reach.sets.extend(sets);
        } else if self.holds_set(&path) {
            reach.unread.insert(path);
        }
        reach
    }

    fn open_kustomization(&mut self, folder: &Path) -> Option<Kustomization> {
        self.opened += 1;
        if self.opened > MAX_OPENED {
            return None;
        }
        KUSTOMIZATIONS.iter().find_map(|name| Kustomization::read(&folder.join(name)))
    }

    fn holds_set(&mut self, path: &Path) -> bool {
        self.opened += 1;
        self.opened <= MAX_OPENED
            && read_small(path).is_some_and(|text| says_set(&String::from_utf8_lossy(&text)))
    }

    /// The fields of a kustomization that change sets among `targets`.
    fn changes(&self, kustomization: &Kustomization, targets: &Reach) -> Vec<&'static str> {
        let sets = targets.sets.iter().filter_map(|n| self.sets.get(*n)).collect::<Vec<_>>();
        // What lies elsewhere may have any name.
        let known = targets.unread.is_empty() && targets.remote.is_empty();
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
    fn left_out(&mut self, kustomization: &Kustomization, targets: &Reach) -> Option<String> {
        let concerns = !targets.sets.is_empty()
            || !targets.unread.is_empty()
            || kustomization.patches().any(|patch| patch.names_set());
        let mut out = Vec::new();
        let entries = kustomization.resources().chain(kustomization.components());
        for resource in entries.map(str::to_owned).collect::<Vec<_>>() {
            let reach = self.entry(&kustomization.folder, &resource);
            let path = kustomization.folder.join(&resource).canonicalize().ok();
            let resource = address(&resource);
            // A kustomization that is read itself says what it takes.
            let own = path.as_ref().is_some_and(|path| self.kustomizations.read.contains_key(path));
            if own || reach.is_empty() {
                continue;
            }
            let Some(path) = path else {
                if concerns {
                    out.push(format!("{resource} (krs fetches no manifests)"));
                }
                continue;
            };
            let sets = reach.sets.iter().filter_map(|n| self.sets.get(*n));
            let outside = !(self.is_below)(&path);
            if !reach.unread.is_empty() {
                out.push(format!("{resource}, where {} not read", name_files(&reach.unread, &path)));
            } else if outside && sets.count() == 0 && !reach.remote.is_empty() && concerns {
                out.push(format!("{resource}, which takes manifests from a network"));
            }
        }
        let more = out.len().saturating_sub(MAX_NAMED);
        out.truncate(MAX_NAMED);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        (!out.is_empty()).then(|| format!("may take sets from {}{more}", out.join("; ")))
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

/// Whether an entry that is no file can be an address: `https://…`, `git@…`, `github.com/org/repo//path`.
fn is_address(resource: &str) -> bool {
    let host = resource.split('/').next().unwrap_or_default();
    resource.contains("://")
        || resource.contains('@')
        || (resource.contains('/') && host.contains('.') && !host.starts_with('.'))
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
