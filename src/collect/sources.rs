// SPDX-License-Identifier: Apache-2.0
//! Reading all sources of a call.

mod overlays;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::rc::Rc;

use camino::Utf8PathBuf;

use super::cluster::{self, Cluster};
use super::engines::{self, ChartSource, Demand, Demands};
use super::error::CollectError;
use super::fleet;
use super::helm::{Chart, Release};
use super::images::{MAX_USES, images_of};
use super::kustomize::Kustomizations;
use super::lists::{Lists, read_document, read_plain, read_resource};
use super::model::{Collection, ImageUse, Origin, Problem};
use super::overlay::{Applied, unchanged};
use super::resource::{Resource, resources};
use super::walk::{Entry, Tree, walk};
use super::yaml::Node;
use crate::program::find;
use crate::progress::{Activity, Progress};

/// Largest file that is read, in bytes; rendered YAML of a whole site fits.
const MAX_FILE: u64 = 32 << 20;
/// Most charts and kustomizations that are rendered in one call.
const MAX_RENDERED: usize = 5_000;
/// How often what was rendered may have more rendered.
const MAX_ROUNDS: usize = 8;

/// What to read, and how to render it.
#[derive(Debug, Clone, Default)]
pub struct CollectOptions {
    /// Folders, manifests, charts, lists of images; `-` for standard input.
    pub sources: Vec<Utf8PathBuf>,
    /// Files with values for the charts that no resource brings values for.
    pub values: Vec<Utf8PathBuf>,
    /// Version of Kubernetes that charts are rendered for.
    pub kube_version: Option<String>,
    /// A running cluster, in addition to the sources.
    pub cluster: Option<Cluster>,
    /// Versions of APIs, as `monitoring.coreos.com/v1`, that charts are told of.
    pub api_versions: Vec<String>,
}

/// What the sources name.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// The images, and what could not be read or rendered.
    pub collection: Collection,
    /// What was not read as an image or a manifest, for people who miss one.
    pub skipped: Vec<Problem>,
    /// Number of resources that were read.
    pub resources: usize,
    /// Number of files that were read.
    pub files: usize,
    /// Number of files that ignore files exclude.
    pub ignored_files: usize,
}

/// Reads all sources, and renders what has to be rendered. Nothing is fetched from a network.
///
/// # Errors
/// A source does not exist, cannot be read, or holds too much. What is wrong in a source is a problem of the result.
pub fn collect(
    options: &CollectOptions,
    stdin: Option<&mut dyn Read>,
    progress: &dyn Progress,
) -> Result<Collected, CollectError> {
    let tree = walk(&options.sources)?;
    let kustomizations = Kustomizations::read(&tree);
    let mut collector = Collector {
        options,
        collected: Collected { ignored_files: tree.ignored, ..Collected::default() },
        pool: Vec::new(),
        searched: 0,
        renders: 0,
        charts: Vec::new(),
        rendered: BTreeSet::new(),
        applied: Applied::default(),
        replaced: BTreeSet::new(),
        replaced_images: Vec::new(),
    };
    collector
        .collected
        .collection
        .problems
        .extend(tree.problems.iter().chain(&kustomizations.problems).cloned());
    if let Some(stdin) = stdin {
        match crate::files::read_to_string(stdin, MAX_FILE) {
            Ok(text) => {
                collector.collected.files += 1;
                collector.text("-", text.as_bytes());
            }
            Err(error) => collector.problem("-", format!("cannot be read: {error}"), None),
        }
    }
    if let Some(cluster) = &options.cluster {
        match cluster::read(cluster) {
            Ok(text) => collector.rendered(cluster::SOURCE, &text),
            Err(problem) => collector.collected.collection.problems.push(problem),
        }
    }
    let files = tree.files.iter().filter(|file| !kustomizations.reads(&file.path));
    files.for_each(|file| collector.file(file));
    let roots = kustomizations.roots(&tree);
    let total = roots.len() + tree.charts.len() + tree.archives.len();
    if total > 0 {
        progress.begin(Activity::Render, total as u64);
    }
    for folder in &roots {
        match kustomizations.build(folder) {
            Ok(text) => collector.rendered(&folder.name, &text),
            Err(problem) => collector.collected.collection.problems.push(problem),
        }
        progress.advance(Activity::Render, 1);
    }
    collector.open_charts(&tree, &kustomizations, progress);
    tree.files.iter().filter(|file| is_fleet(file)).for_each(|file| collector.fleet(file));
    collector.engines(&tree, &kustomizations);
    collector.render_charts(progress);
    // What was rendered may have more rendered: an application of applications.
    collector.engines(&tree, &kustomizations);
    if total > 0 {
        progress.end(Activity::Render);
    }
    Ok(collector.finish(&tree, &kustomizations))
}

fn is_fleet(file: &Entry) -> bool {
    file.path.file_name().is_some_and(|name| name == "fleet.yaml" || name == "fleet.yml")
}

struct Collector<'a> {
    options: &'a CollectOptions,
    collected: Collected,
    /// All resources so far: those of Flux, Argo CD and Fleet refer to others.
    pool: Vec<Resource>,
    /// How many of them were searched for charts that they have rendered.
    searched: usize,
    renders: usize,
    charts: Vec<Chart>,
    /// Charts that were rendered with the values of a resource.
    rendered: BTreeSet<PathBuf>,
    applied: Applied,
    /// Names of what Kustomizations of Flux have changed, and the images that it names without the changes.
    replaced: BTreeSet<String>,
    replaced_images: Vec<ImageUse>,
}

impl Collector<'_> {
    fn problem(&mut self, source: &str, reason: String, help: Option<String>) {
        self.collected.collection.problems.push(Problem { origin: Origin::file(source), reason, help });
    }

    fn file(&mut self, file: &Entry) {
        match crate::files::read_file(&file.path, MAX_FILE) {
            Ok(bytes) => {
                self.collected.files += 1;
                self.text(&file.name, &bytes);
            }
            Err(error) => {
                let help = "divide it, or name it in .krsignore".to_owned();
                self.problem(&file.name, format!("cannot be read: {error}"), Some(help));
            }
        }
    }

    fn text(&mut self, name: &str, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let help = "save it as UTF-8, or name it in .krsignore".to_owned();
            return self.problem(name, "is not UTF-8".to_owned(), Some(help));
        };
        if let Some(list) = read_plain(name, text) {
            return self.collected.collection.extend(list);
        }
        let found = resources(name, false, text, &mut self.collected.collection);
        let is_list = self.lists(name, false, &found.others);
        let is_text = name.to_ascii_lowercase().ends_with(".txt");
        if !found.others.is_empty()
            && !is_list
            && found.resources.is_empty()
            && (is_text || text.contains("image"))
        {
            let reason = "holds no Kubernetes resource and is no list of images".to_owned();
            self.collected.skipped.push(Problem { origin: Origin::file(name), reason, help: None });
        }
        self.add(found.resources);
    }

    fn rendered(&mut self, name: &str, text: &str) {
        self.renders += 1;
        let found = resources(name, true, text, &mut self.collected.collection);
        for document in found.others {
            if self.lists(name, true, &[Rc::clone(&document)]) {
                continue;
            }
            let origin = Origin::file(name);
            let problem = |reason: &str, help: Option<&str>| Problem {
                origin: origin.clone(),
                reason: reason.to_owned(),
                help: help.map(str::to_owned),
            };
            if document.fields().is_empty() {
                let reason = "renders a document that is no Kubernetes resource";
                self.collected.skipped.push(problem(reason, None));
            } else {
                let keys = document.fields().iter().take(3).map(|(key, _)| key.as_str()).collect::<Vec<_>>();
                let keys = crate::redact::printable(&keys.join(", "), 100);
                let reason = format!("renders a document without `apiVersion` and `kind` (it has: {keys})");
                let help = "correct the template: Kubernetes refuses this document";
                self.collected.collection.problems.push(problem(&reason, Some(help)));
            }
        }
        self.add(found.resources);
    }

    /// Reads the documents that are no resources. Answers whether one of them is a list of images.
    fn lists(&mut self, name: &str, rendered: bool, documents: &[Rc<Node>]) -> bool {
        let Collected { collection, skipped, .. } = &mut self.collected;
        let mut lists = Lists { collection, skipped };
        documents.iter().filter(|document| read_document(name, rendered, document, &mut lists)).count() > 0
    }

    fn add(&mut self, resources: Vec<Resource>) {
        for resource in &resources {
            let Collected { collection, skipped, .. } = &mut self.collected;
            let mut lists = Lists { collection, skipped };
            if !read_resource(resource, &mut lists) {
                images_of(resource, collection, skipped);
            }
            if self.collected.collection.images.len() >= MAX_USES {
                let reason = format!("{MAX_USES} uses of images are read, and the others are not");
                let problem = resource.problem("", reason, "name fewer sources in one call");
                self.collected.collection.problems.push(problem);
                break;
            }
        }
        self.collected.resources += resources.len();
        self.pool.extend(resources);
    }

    fn open_charts(&mut self, tree: &Tree, kustomizations: &Kustomizations, progress: &dyn Progress) {
        let folders = tree.charts.iter().map(|entry| (entry, true));
        let archives = tree.archives.iter().map(|(entry, is_named)| (entry, *is_named));
        for (entry, is_wanted) in folders.chain(archives) {
            match Chart::open(entry) {
                Ok(chart) => {
                    chart.annotated_images(&mut self.collected.collection);
                    if kustomizations.renders_chart(&entry.path) {
                        self.rendered.insert(entry.path.clone());
                    }
                    self.charts.push(chart);
                }
                Err(problem) if is_wanted || find("helm").is_none() => {
                    self.collected.collection.problems.push(problem);
                }
                // Not every archive in a folder is a chart.
                Err(problem) => self.collected.skipped.push(problem),
            }
            progress.advance(Activity::Render, u64::from(!is_wanted));
        }
    }

    /// Renders the charts of a `fleet.yaml`.
    fn fleet(&mut self, file: &Entry) {
        let text = crate::files::read_file(&file.path, MAX_FILE)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(text) = text {
            let demands = fleet::fleet(file, &text);
            self.demands(demands, None);
        }
    }

    /// Renders the charts that resources of Flux and Argo CD have rendered, also resources that come of it.
    fn engines(&mut self, tree: &Tree, kustomizations: &Kustomizations) {
        for _ in 0..MAX_ROUNDS {
            self.overlays(tree, kustomizations);
            if self.searched == self.pool.len() {
                return;
            }
            let demands = engines::demands(&self.pool, self.searched, tree);
            self.searched = self.pool.len();
            self.demands(demands, Some(tree));
        }
        let reason =
            format!("resources that have others rendered are nested deeper than {MAX_ROUNDS} levels");
        self.problem("-", reason, Some("name the innermost charts and folders as sources".to_owned()));
    }

    fn demands(&mut self, demands: Demands, tree: Option<&Tree>) {
        self.collected.collection.images.extend(demands.artifacts);
        self.collected.collection.problems.extend(demands.problems);
        for demand in demands.charts {
            let chart = match self.chart(&demand, tree) {
                Ok(chart) => chart,
                Err(problem) => {
                    self.collected.collection.problems.push(problem);
                    continue;
                }
            };
            let Demand { origin, release, namespace, values, files, .. } = demand;
            self.rendered.insert(chart.entry.path.clone());
            let release = Release { name: release, namespace, files, values: Some(values), ..self.release() };
            let resource = origin.resource.unwrap_or_default();
            self.render(&chart, &release, &format!("{} ({resource})", origin.source));
        }
    }

    /// The chart that a resource means, where it is on disk.
    fn chart(&self, demand: &Demand, tree: Option<&Tree>) -> Result<Chart, Problem> {
        if let Some(chart) = self.charts.iter().find(|chart| demand.chart.is(chart)) {
            return Ok(chart.clone());
        }
        if let ChartSource::Folder(folder) = &demand.chart
            && folder.join("Chart.yaml").is_file()
        {
            let name = tree.map_or_else(|| demand.origin.source.clone(), |tree| tree.name(folder));
            return Chart::open(&Entry { path: folder.clone(), name });
        }
        let what = match &demand.chart {
            ChartSource::Folder(folder) => {
                format!(
                    "its folder `{}` holds no chart",
                    folder.file_name().unwrap_or_default().to_string_lossy()
                )
            }
            ChartSource::Repository { url, name, version } => {
                let from = crate::redact::printable(&crate::redact::masked(url), 200);
                format!("its chart `{name}` {version} of {from} is not on disk, and krs fetches nothing")
            }
        };
        Err(Problem { origin: demand.origin.clone(), reason: what, help: Some(demand.chart.pull()) })
    }

    /// Renders the charts that no resource brings values for.
    fn render_charts(&mut self, progress: &dyn Progress) {
        for chart in self.charts.clone() {
            if chart.is_library() {
                let (origin, reason) = (Origin::file(&chart.entry.name), "is a library chart".to_owned());
                self.collected.skipped.push(Problem { origin, reason, help: None });
            } else if !self.rendered.contains(&chart.entry.path) {
                let files = self.options.values.iter().map(absolute).collect();
                let release = Release { name: chart.name.clone(), files, ..self.release() };
                self.render(&chart, &release, &chart.entry.name);
            }
            progress.advance(Activity::Render, 1);
        }
    }

    fn release(&self) -> Release {
        Release {
            kube_version: self.options.kube_version.clone(),
            api_versions: self.options.api_versions.clone(),
            ..Release::default()
        }
    }

    fn render(&mut self, chart: &Chart, release: &Release, name: &str) {
        if self.renders >= MAX_RENDERED {
            let reason = format!("is not rendered: {MAX_RENDERED} charts and kustomizations are");
            return self.problem(name, reason, Some("name fewer sources in one call".to_owned()));
        }
        match chart.render(release) {
            Ok(text) => self.rendered(name, &text),
            Err(problem) => self.collected.collection.problems.push(problem),
        }
    }

    fn finish(mut self, tree: &Tree, kustomizations: &Kustomizations) -> Collected {
        // One that changes nothing may have been found after what changes the same folder.
        if !self.replaced_images.is_empty() {
            let kept = unchanged(&self.pool, tree, kustomizations);
            let images = self.replaced_images.drain(..).filter(|image| kept.contains(&image.origin.source));
            self.collected.collection.images.extend(images);
        }
        let problems = &mut self.collected.collection.problems;
        problems.sort();
        problems.dedup();
        self.collected
    }
}

/// A path that is the same in another folder: programs run beside what they render.
fn absolute(path: &Utf8PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.clone().into_std_path_buf())
}
