// SPDX-License-Identifier: Apache-2.0
//! Kustomizations: which of them are built, which files they read, and building them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::model::{Origin, Problem};
use super::walk::{Entry, Tree};
use super::yaml::{Node, documents};
use crate::program::{ProgramError, find, run};
use crate::set::KUSTOMIZATIONS;

/// Largest kustomization that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Most kustomizations of one call.
const MAX_KUSTOMIZATIONS: usize = 10_000;
/// Fields that list resources, as files, folders or addresses.
const RESOURCES: [&str; 3] = ["resources", "bases", "components"];
/// Fields that list files, or mappings with the field `path`.
const FILES: [&str; 11] = [
    "crds",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "generators",
    "transformers",
    "validators",
    "configurations",
    "replacements",
    "configMapGenerator",
    "secretGenerator",
];

/// A kustomization.
#[derive(Debug, Default)]
struct Kustomization {
    file: PathBuf,
    /// Folders of kustomizations that it builds on.
    folders: Vec<PathBuf>,
    /// Addresses in a network.
    remotes: Vec<String>,
    /// Charts that it renders: name, repository and version, and the folder where Kustomize expects it.
    charts: Vec<(String, String, PathBuf)>,
    is_component: bool,
}

/// The kustomizations of the sources, and of the folders that they build on.
#[derive(Debug, Default)]
pub(super) struct Kustomizations {
    read: BTreeMap<PathBuf, Kustomization>,
    /// Files that some kustomization reads: they are not manifests to be read as they are.
    files: BTreeSet<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

impl Kustomizations {
    /// Reads those of the sources.
    pub(super) fn read(tree: &Tree) -> Self {
        let mut all = Self::default();
        let mut todo = tree.kustomizations.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
        while let Some(file) = todo.pop() {
            let folder = file.parent().unwrap_or(&file).to_owned();
            if all.read.contains_key(&folder) {
                continue;
            }
            if all.read.len() == MAX_KUSTOMIZATIONS {
                let reason = format!("more than {MAX_KUSTOMIZATIONS} kustomizations; not all were read");
                all.problems.push(Problem { origin: Origin::file(tree.name(&file)), reason, help: None });
                break;
            }
            match document(&file) {
                Ok(node) => {
                    let kustomization = all.parse(&file, &folder, &node);
                    todo.extend(kustomization.folders.iter().filter_map(|folder| file_of(folder)));
                    all.read.insert(folder, kustomization);
                }
                Err(reason) => {
                    let help = Some("correct the file, or name it in .krsignore".to_owned());
                    all.problems.push(Problem { origin: Origin::file(tree.name(&file)), reason, help });
                }
            }
        }
        all
    }

    fn parse(&mut self, file: &Path, folder: &Path, node: &Node) -> Kustomization {
        let mut kustomization = Kustomization {
            file: file.to_owned(),
            is_component: node.text_at(&["kind"]) == Some("Component"),
            ..Kustomization::default()
        };
        for entry in RESOURCES.iter().flat_map(|field| node.items_at(&[field])) {
            let Some(text) = entry.text() else { continue };
            if is_remote(text) {
                kustomization.remotes.push(text.to_owned());
            } else if let Ok(path) = folder.join(text).canonicalize() {
                if path.is_dir() {
                    kustomization.folders.push(path);
                } else {
                    self.files.insert(path);
                }
            }
        }
        for entry in FILES.iter().flat_map(|field| node.items_at(&[field])) {
            let lists = ["files", "envs"]
                .iter()
                .flat_map(|key| entry.items_at(&[key]))
                .filter_map(|item| item.text());
            let named = lists.map(|text| text.rsplit_once('=').map_or(text, |(_, path)| path));
            let path = entry.text().or_else(|| entry.text_at(&["path"]));
            for path in named.chain(path).filter(|path| !path.contains('\n')) {
                self.files.extend(folder.join(path).canonicalize().ok().filter(|path| path.is_file()));
            }
        }
        let home = node.text_at(&["helmGlobals", "chartHome"]).unwrap_or("charts");
        for chart in node.items_at(&["helmCharts"]) {
            let text = |key: &str| chart.text_at(&[key]).unwrap_or_default();
            let from = format!("{} {}", text("repo"), text("version")).trim().to_owned();
            kustomization.charts.push((text("name").to_owned(), from, folder.join(home).join(text("name"))));
            let files = chart.items_at(&["additionalValuesFiles"]).iter().filter_map(|item| item.text());
            for path in files.chain(chart.text_at(&["valuesFile"])) {
                self.files.extend(folder.join(path).canonicalize());
            }
        }
        kustomization
    }

    /// Whether Kustomize reads a file, so that it is not a manifest by itself.
    pub(super) fn reads(&self, file: &Path) -> bool {
        self.files.contains(file)
    }

    /// Whether a chart lies where a kustomization renders it from.
    pub(super) fn renders_chart(&self, folder: &Path) -> bool {
        self.read
            .values()
            .any(|kustomization| kustomization.charts.iter().any(|(_, _, chart)| chart == folder))
    }

    /// The folders of the sources that are built: what other kustomizations build on is built with those.
    pub(super) fn roots(&self, tree: &Tree) -> Vec<Entry> {
        let used =
            self.read.values().flat_map(|kustomization| &kustomization.folders).collect::<BTreeSet<_>>();
        let is_root = |folder: &PathBuf| {
            self.read.get(folder).is_some_and(|kustomization| !kustomization.is_component)
                && !used.contains(folder)
        };
        let folders = tree.kustomizations.iter().filter_map(|entry| {
            let path = entry.path.parent()?.to_owned();
            Some(Entry { path, name: super::walk::parent_label(&entry.name) })
        });
        folders.filter(|entry| is_root(&entry.path)).collect()
    }

    /// Builds a kustomization.
    ///
    /// # Errors
    /// Why it is not built, and what to do.
    pub(super) fn build(&self, folder: &Entry) -> Result<String, Problem> {
        let has_charts = self.check(&[&folder.path], &folder.name)?;
        run_in(&folder.path, &folder.name, has_charts)
    }

    /// Checks that all is on disk that kustomizations build on. Answers whether charts are among it.
    ///
    /// # Errors
    /// What is missing, and what to do.
    pub(super) fn check(&self, folders: &[&Path], name: &str) -> Result<bool, Problem> {
        let reached = folders.iter().flat_map(|folder| self.reached(folder)).collect::<Vec<_>>();
        if let Some(remote) = reached.iter().flat_map(|one| &one.remotes).next() {
            let remote = crate::redact::printable(&crate::redact::masked(remote), 200);
            let reason = format!("takes {remote} from a network, and krs fetches nothing");
            return Err(problem(name, reason, elsewhere(name)));
        }
        let mut charts = reached.iter().flat_map(|one| &one.charts).peekable();
        let has_charts = charts.peek().is_some();
        if let Some((chart, from, path)) = charts.find(|(_, _, path)| !path.join("Chart.yaml").is_file()) {
            let home =
                path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
            let reason = format!("renders the chart `{chart}` ({from}), which is not in its folder `{home}`");
            let (repo, version) = from.split_once(' ').unwrap_or((from, ""));
            let version = if version.is_empty() { String::new() } else { format!(" --version {version}") };
            let help =
                format!("run in that folder: helm pull {chart} --repo {repo}{version} --untar -d {home}");
            return Err(problem(name, reason, help));
        }
        Ok(has_charts)
    }

    /// The folders of a kustomization and of all that it builds on.
    pub(super) fn folders(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        self.reached(folder).into_iter().filter_map(|one| Some(one.file.parent()?.to_owned()))
    }

    /// The uppermost folders below another one that have a kustomization, which is no component.
    pub(super) fn below(&self, folder: &Path) -> Vec<PathBuf> {
        let kustomizations =
            self.read.iter().filter(|(path, one)| path.starts_with(folder) && !one.is_component);
        let mut tops = Vec::<PathBuf>::new();
        for (path, _) in kustomizations {
            if !tops.iter().any(|top| path.starts_with(top)) {
                tops.push(path.clone());
            }
        }
        tops
    }

    /// A kustomization, and all that it builds on.
    fn reached(&self, folder: &Path) -> Vec<&Kustomization> {
        let (mut reached, mut todo) = (BTreeMap::new(), vec![folder.to_owned()]);
        while let Some(folder) = todo.pop() {
            if let Some(kustomization) = self.read.get(&folder)
                && reached.insert(folder, kustomization).is_none()
            {
                todo.extend(kustomization.folders.iter().cloned());
            }
        }
        let mut reached = reached.into_values().collect::<Vec<_>>();
        reached.sort_by(|a, b| a.file.cmp(&b.file));
        reached
    }
}

fn problem(name: &str, reason: String, help: String) -> Problem {
    Problem { origin: Origin::file(name), reason, help: Some(help) }
}

fn elsewhere(name: &str) -> String {
    format!("render it where there is a network, and pipe the result: kustomize build {name} | krs collect -")
}

/// Runs Kustomize in a folder.
///
/// # Errors
/// Why it builds nothing, and what to do.
pub(super) fn run_in(folder: &Path, name: &str, has_charts: bool) -> Result<String, Problem> {
    let (program, mut arguments) = if let Some(program) = find("kustomize") {
        (program, vec![OsStr::new("build")])
    } else if let Some(program) = find("kubectl") {
        (program, vec![OsStr::new("kustomize")])
    } else {
        return Err(problem(
            name,
            "is a kustomization, and neither kustomize nor kubectl is installed".to_owned(),
            elsewhere(name).replace("where there is a network", "where one of them is"),
        ));
    };
    if has_charts {
        arguments.push(OsStr::new("--enable-helm"));
    }
    arguments.push(OsStr::new("."));
    run(&program, &arguments, folder, "").map_err(|error| match error {
        ProgramError::Missing => problem(name, "needs kustomize".to_owned(), elsewhere(name)),
        ProgramError::Failed(reason) => problem(
            name,
            format!("cannot be built: {reason}"),
            format!("check it with: kustomize build {name}"),
        ),
    })
}

/// The kustomization of a folder: its file, and what it says.
///
/// # Errors
/// Why it cannot be read, as part of a sentence.
pub(super) fn kustomization_in(folder: &Path) -> Result<Option<(PathBuf, Rc<Node>)>, String> {
    file_of(folder).map(|file| document(&file).map(|node| (file, node))).transpose()
}

fn document(file: &Path) -> Result<Rc<Node>, String> {
    let bytes =
        crate::files::read_file(file, MAX_FILE).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let (documents, error) = documents(&text);
    match (documents.into_iter().next(), error) {
        (Some(document), None) if !document.fields().is_empty() => Ok(document),
        (_, Some(error)) => Err(format!("is not valid YAML: {} (line {})", error.reason, error.line)),
        _ => Err("is no kustomization: it has no fields".to_owned()),
    }
}

/// The file of the kustomization in a folder.
fn file_of(folder: &Path) -> Option<PathBuf> {
    KUSTOMIZATIONS.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

/// Whether an entry is an address that Kustomize fetches from.
fn is_remote(entry: &str) -> bool {
    entry.contains("://")
        || entry.contains("?ref=")
        || ["github.com/", "git::", "git@", "gitlab.com/", "bitbucket.org/"]
            .iter()
            .any(|host| entry.starts_with(host))
}
