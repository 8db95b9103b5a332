// SPDX-License-Identifier: Apache-2.0
//! Helm charts on disk, rendered by `helm template`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::images::artifact_hub_images;
use super::model::{Collection, Origin, Problem};
use super::walk::Entry;
use super::yaml::{Node, documents};
use crate::program::{ProgramError, find, run};

/// Largest `Chart.yaml`, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A chart on disk.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// Its folder or its archive.
    pub(super) entry: Entry,
    pub(super) name: String,
    pub(super) version: String,
    /// What its `Chart.yaml` says.
    node: Rc<Node>,
}

/// How a chart is rendered.
#[derive(Debug, Clone, Default)]
pub(super) struct Release {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// Files with values, the later ones stronger.
    pub(super) files: Vec<PathBuf>,
    /// Values that are stronger than those of the files.
    pub(super) values: Option<serde_json::Value>,
    /// Versions of Kubernetes and of APIs that the chart is told of.
    pub(super) kube_version: Option<String>,
    pub(super) api_versions: Vec<String>,
}

impl Chart {
    /// Reads the `Chart.yaml` of a chart.
    ///
    /// # Errors
    /// Why it is no chart that can be rendered.
    pub(super) fn open(entry: &Entry) -> Result<Self, Problem> {
        let problem = |reason: String, help: &str| Problem {
            origin: Origin::file(&entry.name),
            reason,
            help: Some(help.to_owned()),
        };
        let text = if entry.path.is_dir() {
            let bytes =
                crate::files::read_file(entry.path.join("Chart.yaml"), MAX_FILE).map_err(|error| {
                    problem(format!("has a Chart.yaml that cannot be read: {error}"), "check the file")
                })?;
            String::from_utf8(bytes)
                .map_err(|_| problem("has a Chart.yaml that is not UTF-8".to_owned(), "correct it"))?
        } else {
            let arguments = [OsStr::new("show"), OsStr::new("chart"), entry.path.as_os_str()];
            helm(entry, &arguments, "", "is no chart that helm reads")?
        };
        let (documents, error) = documents(&text);
        let node = documents.into_iter().next().filter(|_| error.is_none());
        let node =
            node.ok_or_else(|| problem("has a Chart.yaml that is not valid YAML".to_owned(), "correct it"))?;
        let text = |key: &str| node.text_at(&[key]).unwrap_or_default().to_owned();
        Ok(Self { entry: entry.clone(), name: text("name"), version: text("version"), node })
    }

    /// Whether it is only a part of other charts.
    pub(super) fn is_library(&self) -> bool {
        self.node.text_at(&["type"]) == Some("library")
    }

    /// Adds the images that its annotation lists.
    pub(super) fn annotated_images(&self, collection: &mut Collection) {
        let annotations = self.node.at(&["annotations"]).map(Node::fields).unwrap_or_default();
        for (key, value) in annotations.iter().filter(|(key, _)| key == "artifacthub.io/images") {
            let is_folder = self.entry.path.is_dir();
            let source =
                if is_folder { format!("{}/Chart.yaml", self.entry.name) } else { self.entry.name.clone() };
            let origin = Origin {
                resource: Some(format!("Chart {}", self.name)),
                field: Some(format!("annotations[{key}]")),
                line: is_folder.then_some(value.line),
                ..Origin::file(source)
            };
            artifact_hub_images(value.text().unwrap_or_default(), &origin, collection);
        }
    }

    /// The dependencies that Helm would miss.
    fn missing_dependencies(&self) -> Vec<String> {
        if !self.entry.path.is_dir() {
            return Vec::new();
        }
        let folder = self.entry.path.join("charts");
        let there = std::fs::read_dir(&folder).into_iter().flatten().take(1_000).filter_map(Result::ok);
        let there = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>();
        let dependencies = self.node.items_at(&["dependencies"]).iter();
        let missing = dependencies.filter_map(|dependency| {
            let name = dependency.text_at(&["name"])?;
            let archive = format!("{name}-");
            let is_there = there
                .iter()
                .any(|file| file == name || (file.starts_with(&archive) && file.ends_with(".tgz")));
            let of = ["version", "repository"].map(|key| dependency.text_at(&[key]).unwrap_or_default());
            (!is_there).then(|| format!("`{name}` ({})", of.join(" of ")))
        });
        missing.collect()
    }

    /// Renders the chart.
    ///
    /// # Errors
    /// Why it is not rendered, and what to do.
    pub(super) fn render(&self, release: &Release) -> Result<String, Problem> {
        let missing = self.missing_dependencies();
        if !missing.is_empty() {
            return Err(Problem {
                origin: Origin::file(&self.entry.name),
                reason: format!("needs charts that are not in its folder `charts`: {}", missing.join(", ")),
                help: Some(format!("run: helm dependency build {}", self.entry.name)),
            });
        }
        let mut arguments = vec![OsString::from("template"), OsString::from(release_name(&release.name))];
        arguments.push(self.entry.path.clone().into_os_string());
        let mut option = |name: &str, value: &OsStr| {
            let mut argument = OsString::from(format!("--{name}="));
            argument.push(value);
            arguments.push(argument);
        };
        if let Some(namespace) = &release.namespace {
            option("namespace", OsStr::new(namespace));
        }
        if let Some(version) = &release.kube_version {
            option("kube-version", OsStr::new(version));
        }
        release.api_versions.iter().for_each(|version| option("api-versions", OsStr::new(version)));
        release.files.iter().for_each(|file| option("values", file.as_os_str()));
        let values = release.values.as_ref().map(ToString::to_string);
        if values.is_some() {
            option("values", OsStr::new("-"));
        }
        let arguments = arguments.iter().map(OsString::as_os_str).collect::<Vec<_>>();
        helm(&self.entry, &arguments, &values.unwrap_or_default(), "cannot be rendered")
    }
}

fn helm(entry: &Entry, arguments: &[&OsStr], stdin: &str, failed: &str) -> Result<String, Problem> {
    let problem = |reason: String, help: String| Problem {
        origin: Origin::file(&entry.name),
        reason,
        help: Some(help),
    };
    let missing = || {
        let help = format!(
            "install helm, or render it elsewhere and pipe the result: helm template {} | krs collect -",
            entry.name
        );
        problem("is a Helm chart, and helm is not installed".to_owned(), help)
    };
    let program = find("helm").ok_or_else(missing)?;
    let folder = entry.path.parent().unwrap_or(Path::new("."));
    run(&program, arguments, folder, stdin).map_err(|error| match error {
        ProgramError::Missing => missing(),
        ProgramError::Failed(reason) => {
            let help = if reason.contains("kubeVersion") {
                "name the version of the site's Kubernetes: --kube-version 1.33".to_owned()
            } else {
                format!("pass its values with --values FILE, and check it with: helm template {}", entry.name)
            };
            problem(format!("{failed}: {reason}"), help)
        }
    })
}

/// A name that Helm accepts.
fn release_name(name: &str) -> String {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_valid =
        name.starts_with(is_part) && name.len() <= 53 && name.chars().all(|c| is_part(c) || c == '-');
    if is_valid { name.to_owned() } else { "release".to_owned() }
}
