// SPDX-License-Identifier: Apache-2.0
//! Charts that resources of Flux and Argo CD have rendered with values of their own.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::application_set::{Application, Applications, applications};
use super::helm::Chart;
use super::model::{ImageUse, Origin, Problem};
use super::resource::Resource;
use super::values::{merge, set_path};
use super::variables::is_flux_kustomization;
use super::walk::Tree;
use super::yaml::{Node, documents};

const HELM_FLUX: &str = "helm.toolkit.fluxcd.io";
const SOURCE_FLUX: &str = "source.toolkit.fluxcd.io";
const ARGO_CD: &str = "argoproj.io";
/// Deepest nesting of values.
pub(super) const MAX_DEPTH: usize = 64;
/// A chart that a resource has rendered.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    /// What messages call it.
    pub(super) origin: Origin,
    pub(super) chart: ChartSource,
    pub(super) release: String,
    pub(super) namespace: Option<String>,
    /// Values of the resource, the later ones stronger.
    pub(super) values: Value,
    /// Files of values, in the folder of the chart, weaker than `values`.
    pub(super) files: Vec<PathBuf>,
}

/// Where the chart of a resource comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChartSource {
    /// A folder of the checkout.
    Folder(PathBuf),
    /// A repository of charts, or a registry (`oci://…`): repository, name and version.
    Repository { url: String, name: String, version: String },
}

/// What is found in the resources.
#[derive(Debug, Default)]
pub(super) struct Demands {
    pub(super) charts: Vec<Demand>,
    /// Artifacts in registries that Flux itself pulls.
    pub(super) artifacts: Vec<ImageUse>,
    pub(super) problems: Vec<Problem>,
}

/// Finds the charts that resources have rendered; `searched` resources of the pool were searched before.
pub(super) fn demands(pool: &[Resource], searched: usize, tree: &Tree) -> Demands {
    let mut finder = Finder { pool, tree, demands: Demands::default() };
    for resource in pool.get(searched..).unwrap_or_default() {
        match (resource.group.as_str(), resource.kind.as_str()) {
            (HELM_FLUX, "HelmRelease") => finder.helm_release(resource),
            _ if is_flux_kustomization(resource) => finder.flux_kustomization(resource),
            (SOURCE_FLUX, "OCIRepository") => finder.oci_repository(resource),
            (ARGO_CD, "Application") => {
                if let Some(spec) = resource.node.get("spec") {
                    finder.application(resource, &resource.name, spec);
                }
            }
            (ARGO_CD, "ApplicationSet") => finder.application_set(resource),
            _ => {}
        }
    }
    finder.demands
}

impl ChartSource {
    pub(super) fn of(url: &str, name: &str, version: &str) -> Self {
        Self::Repository { url: url.to_owned(), name: name.to_owned(), version: version.to_owned() }
    }

    /// Whether a chart on disk is this one.
    pub(super) fn is(&self, chart: &Chart) -> bool {
        match self {
            Self::Folder(folder) => chart.entry.path == *folder,
            Self::Repository { name, version, .. } => {
                let name = name.rsplit('/').next().unwrap_or(name);
                let version = version.trim_start_matches('v');
                chart.name == name && (!is_exact(version) || chart.version.trim_start_matches('v') == version)
            }
        }
    }

    /// The command that brings the chart of a repository.
    pub(super) fn pull(&self) -> String {
        match self {
            Self::Folder(_) => "name the folder that holds it as a source".to_owned(),
            Self::Repository { url, name, version } => {
                let version =
                    if version.is_empty() { String::new() } else { format!(" --version '{version}'") };
                let from = match url.strip_prefix("oci://") {
                    Some(host) => format!("oci://{}/{name}", host.trim_end_matches('/')),
                    None if name.starts_with("oci://") || url.is_empty() => name.clone(),
                    None => format!("{name} --repo {url}"),
                };
                format!("run: helm pull {from}{version}, and name the file that it writes as a source too")
            }
        }
    }
}

/// Whether a version is one, and no range of them.
fn is_exact(version: &str) -> bool {
    version.split('.').count() >= 3
        && version.starts_with(|c: char| c.is_ascii_digit())
        && !version.contains(['x', '*', ' ', '>', '<', '|', '^', '~'])
}

/// A folder of one of the checkouts.
fn folder(tree: &Tree, path: &str) -> Option<PathBuf> {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    tree.roots.iter().find_map(|root| {
        let folder = root.path.join(path).canonicalize().ok()?;
        (folder.starts_with(&root.path) && folder.is_dir()).then_some(folder)
    })
}

/// The folder of a Kustomization of Flux.
pub(super) fn flux_folder(kustomization: &Resource, tree: &Tree) -> Option<PathBuf> {
    folder(tree, kustomization.node.text_at(&["spec", "path"]).unwrap_or("."))
}

struct Finder<'a> {
    pool: &'a [Resource],
    tree: &'a Tree,
    demands: Demands,
}

impl Finder<'_> {
    fn problem(
        &mut self,
        resource: &Resource,
        field: &str,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.demands.problems.push(resource.problem(field, reason, help));
    }

    /// A resource that another one names, in its namespace unless it states one.
    fn referred(&self, from: &Resource, group: &str, reference: &Node) -> Option<&Resource> {
        let (kind, name) = (reference.text_at(&["kind"])?, reference.text_at(&["name"])?);
        let namespace = reference.text_at(&["namespace"]).or(from.namespace.as_deref());
        let is_it = |other: &&Resource| {
            other.is(group, kind)
                && other.name == name
                && (other.namespace.is_none() || other.namespace.as_deref() == namespace)
        };
        self.pool.iter().find(is_it)
    }

    fn folder(&self, path: &str) -> Option<PathBuf> {
        folder(self.tree, path)
    }

    /// What lies in the folder of a Kustomization of Flux is read with the sources, if these hold the folder.
    fn flux_kustomization(&mut self, resource: &Resource) {
        let path = resource.node.text_at(&["spec", "path"]).unwrap_or_default().to_owned();
        if path.trim_matches(['.', '/']).is_empty() {
            return;
        }
        match self.folder(&path) {
            Some(folder) => self.covered(resource, "spec.path", &folder, &path),
            None => {
                let reason = format!("its folder `{path}` is not in the sources");
                let help = "name the checkout that holds it as a source too";
                self.problem(resource, "spec.path", reason, help);
            }
        }
    }

    fn helm_release(&mut self, resource: &Resource) {
        let node = Rc::clone(&resource.node);
        let chart = match (node.at(&["spec", "chart", "spec"]), node.at(&["spec", "chartRef"])) {
            (Some(chart), _) => self.chart_of(resource, chart, "spec.chart"),
            (None, Some(reference)) => self.chart_ref(resource, reference),
            (None, None) => {
                self.problem(resource, "spec.chart", "names no chart", "state spec.chart or spec.chartRef");
                return;
            }
        };
        let Some(chart) = chart else { return };
        let Some(mut values) = self.values_from(resource, node.items_at(&["spec", "valuesFrom"])) else {
            return;
        };
        if let Some(own) = node.at(&["spec", "values"]) {
            merge(&mut values, own.json(MAX_DEPTH));
        }
        let text = |path: &[&str]| node.text_at(path).map(str::to_owned);
        let mut files = Vec::new();
        for file in
            node.items_at(&["spec", "chart", "spec", "valuesFiles"]).iter().filter_map(|file| file.text())
        {
            let Some(path) = self.value_file(&chart, &format!("/{file}")) else {
                let reason = format!("takes values from `{file}`, which is not in the sources");
                let help = "name the checkout that holds it as a source too";
                return self.problem(resource, "spec.chart.spec.valuesFiles", reason, help);
            };
            files.push(path);
        }
        self.demands.charts.push(Demand {
            origin: resource.origin("", node.line),
            chart,
            release: text(&["spec", "releaseName"]).unwrap_or_else(|| resource.name.clone()),
            namespace: text(&["spec", "targetNamespace"]).or_else(|| resource.namespace.clone()),
            values,
            files,
        });
    }

    /// The chart of `spec.chart.spec` of a HelmRelease, or of `spec` of a HelmChart.
    fn chart_of(&mut self, resource: &Resource, chart: &Node, field: &str) -> Option<ChartSource> {
        let text = |path: &[&str]| chart.text_at(path).unwrap_or_default().to_owned();
        let (name, version) = (text(&["chart"]), text(&["version"]));
        let Some(reference) = chart.get("sourceRef") else {
            self.problem(resource, field, "names no source of its chart", "state its sourceRef");
            return None;
        };
        let kind = text(&["sourceRef", "kind"]);
        if kind == "HelmRepository" {
            let url = self
                .referred(resource, SOURCE_FLUX, reference)
                .and_then(|source| source.node.text_at(&["spec", "url"]));
            let url = url.unwrap_or_default().to_owned();
            self.chart_artifact(resource, &url, &name, &version, field);
            return Some(ChartSource::of(&url, &name, &version));
        }
        let folder = self.folder(&name);
        if folder.is_none() {
            let reason = format!(
                "its chart `{}` of the {kind} `{}` is not in the sources",
                name,
                text(&["sourceRef", "name"])
            );
            self.problem(resource, field, reason, "name the checkout that holds the chart as a source too");
        }
        folder.map(ChartSource::Folder)
    }

    fn chart_ref(&mut self, resource: &Resource, reference: &Node) -> Option<ChartSource> {
        let name = reference.text_at(&["name"]).unwrap_or_default().to_owned();
        let kind = reference.text_at(&["kind"]).unwrap_or_default().to_owned();
        let Some(source) = self.referred(resource, SOURCE_FLUX, reference).cloned() else {
            let reason = format!("its chart is the {kind} `{name}`, which is not in the sources");
            self.problem(resource, "spec.chartRef", reason, "name the file of that resource as a source too");
            return None;
        };
        if kind == "HelmChart" {
            let spec = source.node.get("spec").map(Rc::clone)?;
            return self.chart_of(&source, &spec, "spec.chart");
        }
        let text = |path: &[&str]| source.node.text_at(path).unwrap_or_default().to_owned();
        let version = Some(text(&["spec", "ref", "tag"]))
            .filter(|tag| !tag.is_empty())
            .unwrap_or_else(|| text(&["spec", "ref", "semver"]));
        let url = text(&["spec", "url"]);
        let (host, name) = url.rsplit_once('/')?;
        Some(ChartSource::of(host, name, &version))
    }

    /// A chart in a registry is an artifact that Flux pulls at the site too.
    fn chart_artifact(&mut self, resource: &Resource, url: &str, name: &str, version: &str, field: &str) {
        let Some(host) = url.strip_prefix("oci://") else { return };
        if is_exact(version.trim_start_matches('v')) {
            // A registry takes no `+` in a tag; Helm writes `_`.
            let image = format!("{}/{name}:{}", host.trim_end_matches('/'), version.replace('+', "_"));
            self.demands
                .artifacts
                .push(ImageUse { image, origin: resource.origin(field, resource.node.line) });
        } else {
            let reason = format!(
                "takes the newest version of the chart `{name}` in `{version}`, which is not known here"
            );
            self.problem(resource, field, reason, "state one version");
        }
    }

    fn oci_repository(&mut self, resource: &Resource) {
        let text = |path: &[&str]| resource.node.text_at(path).unwrap_or_default().to_owned();
        let url = text(&["spec", "url"]);
        let (tag, digest) = (text(&["spec", "ref", "tag"]), text(&["spec", "ref", "digest"]));
        let semver = text(&["spec", "ref", "semver"]);
        if digest.is_empty() && !semver.is_empty() {
            let reason = format!("takes the newest version of {url} in `{semver}`, which is not known here");
            return self.problem(resource, "spec.ref", reason, "state a tag or a digest in spec.ref");
        }
        let tag = if tag.is_empty() { String::new() } else { format!(":{tag}") };
        let digest = if digest.is_empty() { String::new() } else { format!("@{digest}") };
        let image = format!("{}{tag}{digest}", url.trim_start_matches("oci://"));
        self.demands
            .artifacts
            .push(ImageUse { image, origin: resource.origin("spec.url", resource.node.line) });
    }

    /// The values of `valuesFrom`. `None`: some are not known, and that is said.
    fn values_from(&mut self, resource: &Resource, sources: &[Rc<Node>]) -> Option<Value> {
        let mut values = Value::Object(Map::new());
        for source in sources {
            let text = |key: &str| source.text_at(&[key]).unwrap_or_default();
            let (kind, name) = (text("kind"), text("name"));
            let key = Some(text("valuesKey")).filter(|key| !key.is_empty()).unwrap_or("values.yaml");
            let is_optional = text("optional") == "true";
            let found = (kind == "ConfigMap").then(|| self.referred(resource, "", source)).flatten();
            let found = found.and_then(|map| Some(map.node.at(&["data"])?.get(key)?.text()?.to_owned()));
            let Some(found) = found else {
                if is_optional {
                    continue;
                }
                let reason = format!(
                    "takes values from the {kind} `{name}` (key `{key}`), which is not in the sources"
                );
                let help = "name the file of the ConfigMap as a source too; Secrets are never read: render the chart where the values are, and pipe the result: helm template … | krs collect -";
                self.problem(resource, "spec.valuesFrom", reason, help);
                return None;
            };
            let target = text("targetPath");
            if target.is_empty() {
                let (documents, error) = documents(&found);
                if let Some(error) = error {
                    let reason = format!(
                        "takes values from the {kind} `{name}`, which are not valid YAML: {}",
                        error.reason
                    );
                    self.problem(resource, "spec.valuesFrom", reason, "correct them");
                    return None;
                }
                if let Some(document) = documents.first() {
                    merge(&mut values, document.json(MAX_DEPTH));
                }
            } else {
                set_path(&mut values, target, Value::String(found.trim_end().to_owned()));
            }
        }
        Some(values)
    }

    fn application_set(&mut self, resource: &Resource) {
        let Applications { applications, problems } = applications(resource, self.tree);
        for (field, reason) in problems {
            let help =
                "name the charts and folders that it stands for as sources, and pass --allow-incomplete";
            self.problem(resource, field, reason, help);
        }
        for Application { name, spec } in applications {
            self.application(resource, &name, &spec);
        }
    }

    fn application(&mut self, resource: &Resource, name: &str, spec: &Node) {
        let single = spec.get("source").map(Rc::clone);
        let all = single.into_iter().chain(spec.items_at(&["sources"]).iter().cloned());
        for source in all {
            self.application_source(resource, name, spec, &source);
        }
    }

    fn application_source(&mut self, resource: &Resource, name: &str, spec: &Node, source: &Node) {
        let text = |path: &[&str]| source.text_at(path).unwrap_or_default().to_owned();
        let (url, path, chart) = (text(&["repoURL"]), text(&["path"]), text(&["chart"]));
        for image in source.items_at(&["kustomize", "images"]).iter().filter_map(|image| image.text()) {
            let new = image.rsplit_once('=').map_or(image, |(_, new)| new).to_owned();
            let origin = resource.origin("spec.source.kustomize.images", source.line);
            self.demands.artifacts.push(ImageUse { image: new, origin });
        }
        for field in ["patches", "components"] {
            if !source.items_at(&["kustomize", field]).is_empty() {
                let reason = format!("changes what is in `{path}`, which is read without these changes");
                let help = "write them into the kustomization of that folder, or render it, and pipe the result: argocd app manifests NAME --source git | krs collect -";
                self.problem(resource, &format!("spec.source.kustomize.{field}"), reason, help);
            }
        }
        let chart = if !chart.is_empty() {
            let url = if url.contains("://") { url } else { format!("oci://{url}") };
            ChartSource::of(&url, &chart, &text(&["targetRevision"]))
        } else if path.is_empty() {
            // A source of values for the others, called by its `ref`.
            return;
        } else if let Some(folder) = self.folder(&path) {
            if !folder.join("Chart.yaml").is_file() {
                // Manifests or a kustomization of the sources: read with them, if the sources hold the folder.
                return self.covered(resource, "spec.source.path", &folder, &path);
            }
            ChartSource::Folder(folder)
        } else {
            let url = crate::redact::printable(&crate::redact::masked(&url), 200);
            let reason = format!("its folder `{path}` of {url} is not in the sources");
            return self.problem(
                resource,
                "spec.source.path",
                reason,
                "name the checkout that holds it as a source too",
            );
        };
        let mut values = Value::Object(Map::new());
        let mut files = Vec::new();
        for file in source.items_at(&["helm", "valueFiles"]).iter().filter_map(|file| file.text()) {
            match self.value_file(&chart, file) {
                Some(path) => files.push(path),
                None if text(&["helm", "ignoreMissingValueFiles"]) == "true" => {}
                None => {
                    let reason = format!("takes values from `{file}`, which is not in the sources");
                    return self.problem(
                        resource,
                        "spec.source.helm.valueFiles",
                        reason,
                        "name the checkout that holds it as a source too",
                    );
                }
            }
        }
        let inline = text(&["helm", "values"]);
        if let Some(document) = documents(&inline).0.first() {
            merge(&mut values, document.json(MAX_DEPTH));
        }
        if let Some(object) = source.at(&["helm", "valuesObject"]) {
            merge(&mut values, object.json(MAX_DEPTH));
        }
        for parameter in source.items_at(&["helm", "parameters"]) {
            if let (Some(name), Some(value)) = (parameter.text_at(&["name"]), parameter.get("value")) {
                set_path(&mut values, name, value.json(MAX_DEPTH));
            }
        }
        let release = Some(text(&["helm", "releaseName"]))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| name.to_owned());
        self.demands.charts.push(Demand {
            origin: resource.origin("", resource.node.line),
            chart,
            release,
            namespace: spec.text_at(&["destination", "namespace"]).map(str::to_owned),
            values,
            files,
        });
    }

    /// A file of values: below the chart, from the top of the checkout (`/…`), or of another source (`$REF/…`).
    fn value_file(&self, chart: &ChartSource, file: &str) -> Option<PathBuf> {
        let from_top = file
            .strip_prefix('$')
            .and_then(|rest| rest.split_once('/'))
            .map(|(_, path)| path)
            .or_else(|| file.strip_prefix('/'));
        let is_inside = |path: &PathBuf| {
            path.is_file() && self.tree.roots.iter().any(|root| path.starts_with(&root.path))
        };
        if let Some(path) = from_top {
            return self
                .tree
                .roots
                .iter()
                .filter_map(|root| root.path.join(path).canonicalize().ok())
                .find(is_inside);
        }
        let ChartSource::Folder(folder) = chart else { return None };
        folder.join(file).canonicalize().ok().filter(is_inside)
    }

    /// Whether the files of a folder are read with the sources.
    fn covered(&mut self, resource: &Resource, field: &str, folder: &Path, path: &str) {
        let lists = [&self.tree.files, &self.tree.kustomizations];
        let is_read = lists.into_iter().flatten().any(|file| file.path.starts_with(folder));
        if !is_read {
            let reason =
                format!("its folder `{path}` is not below the sources, or holds nothing that is read");
            self.problem(resource, field, reason, format!("name it as a source too: {path}"));
        }
    }
}
