// SPDX-License-Identifier: Apache-2.0
//! Applications that an ApplicationSet of Argo CD makes of lists, folders and files of the checkout
//! (<https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/Generators/>).

mod parameters;
mod pattern;
mod template;

use std::path::Path;
use std::rc::Rc;

use self::parameters::{Parameters, of_file, of_folder};
use self::pattern::matches;
use self::template::render;
use super::resource::Resource;
use super::walk::Tree;
use super::yaml::{Node, documents};

/// Most applications of one set.
const MAX_APPLICATIONS: usize = 5_000;
/// Deepest nesting of generators.
const MAX_DEPTH: usize = 4;
/// Most folders and files of a checkout that are compared with patterns.
const MAX_ENTRIES: usize = 100_000;
/// Largest file of a generator, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// An application: its name, and its `spec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Application {
    pub(super) name: String,
    pub(super) spec: Rc<Node>,
}

/// The applications that can be computed from the checkout, and why others cannot.
#[derive(Debug, Default)]
pub(super) struct Applications {
    pub(super) applications: Vec<Application>,
    /// Field and reason, as part of a sentence.
    pub(super) problems: Vec<(&'static str, String)>,
}

/// Computes the applications of a set.
pub(super) fn applications(set: &Resource, tree: &Tree) -> Applications {
    let mut result = Applications::default();
    let node = &set.node;
    let Some(template) = node.at(&["spec", "template"]) else { return result };
    let is_go = node.text_at(&["spec", "goTemplate"]) == Some("true");
    if node.text_at(&["spec", "templatePatch"]).is_some() {
        let reason = "changes applications by a template of its own, which is not rendered".to_owned();
        result.problems.push(("spec.templatePatch", reason));
    }
    for generator in node.items_at(&["spec", "generators"]) {
        match generate(generator, &Parameters::default(), is_go, tree, MAX_DEPTH) {
            Ok(all) if all.is_empty() => {
                let reason = "has a generator for which nothing is in the sources".to_owned();
                result.problems.push(("spec.generators", reason));
            }
            Ok(all) => {
                for parameters in all {
                    if result.applications.len() == MAX_APPLICATIONS {
                        let reason = format!("stands for more than {MAX_APPLICATIONS} applications");
                        result.problems.push(("spec.generators", reason));
                        return result;
                    }
                    match application(template, &parameters, is_go) {
                        Ok(application) if result.applications.contains(&application) => {}
                        Ok(application) => result.applications.push(application),
                        Err(reason) => result.problems.push(("spec.template", reason)),
                    }
                }
            }
            Err(reason) => result.problems.push(("spec.generators", reason)),
        }
    }
    result
}

fn application(template: &Node, parameters: &Parameters, is_go: bool) -> Result<Application, String> {
    let spec = template.get("spec").ok_or("has a template without `spec`")?;
    // Only what chooses images is rendered: names and destinations often come from clusters.
    let mut fields = Vec::new();
    for (key, value) in spec.fields() {
        if matches!(key.as_str(), "source" | "sources") {
            fields.push((key.clone(), render(value, parameters, is_go)?));
        } else if key == "destination" {
            fields.extend(render(value, parameters, is_go).ok().map(|value| (key.clone(), value)));
        }
    }
    let name = template.get("metadata").and_then(|metadata| metadata.get("name"));
    let name = name.and_then(|name| render(name, parameters, is_go).ok());
    let name = name.and_then(|name| name.text().map(str::to_owned)).unwrap_or_default();
    let spec = Rc::new(Node { line: spec.line, value: super::yaml::Value::Map(fields) });
    Ok(Application { name, spec })
}

/// The parameters of a generator, each with those that are known before it.
///
/// # Errors
/// Why they are not known, as part of a sentence.
fn generate(
    generator: &Node,
    known: &Parameters,
    is_go: bool,
    tree: &Tree,
    depth: usize,
) -> Result<Vec<Parameters>, String> {
    if depth == 0 {
        return Err(format!("nests generators deeper than {MAX_DEPTH} levels"));
    }
    let fields = generator.fields().iter();
    if let Some((name, _)) = fields.clone().find(|(name, _)| name == "selector" || name == "template") {
        return Err(format!("has a generator with `{name}`, which is not applied"));
    }
    let mut result = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            "list" => result.extend(list(value, known, is_go)?),
            "git" => result.extend(git(value, known, is_go, tree)?),
            "matrix" => {
                let [first, second] = value.items_at(&["generators"]) else {
                    return Err("has a matrix that is not of two generators".to_owned());
                };
                for parameters in generate(first, known, is_go, tree, depth - 1)? {
                    result.extend(generate(second, &parameters, is_go, tree, depth - 1)?);
                    if result.len() > MAX_APPLICATIONS {
                        break;
                    }
                }
            }
            other => {
                return Err(format!("has the generator `{other}`, whose values only the cluster knows"));
            }
        }
    }
    Ok(result)
}

fn list(list: &Node, known: &Parameters, is_go: bool) -> Result<Vec<Parameters>, String> {
    let mut elements: Vec<Rc<Node>> = list.items_at(&["elements"]).to_vec();
    if let Some(text) = list.get("elementsYaml") {
        let text = render(text, known, is_go)?;
        let (documents, error) = documents(text.text().unwrap_or_default());
        if let Some(error) = error {
            return Err(format!("has `elementsYaml` that is not valid YAML: {}", error.reason));
        }
        elements.extend(documents.iter().flat_map(|document| document.items().iter().cloned()));
    }
    let elements = elements.into_iter().take(MAX_APPLICATIONS + 1);
    let with_known = |element: Rc<Node>| {
        let element: Rc<Node> = render(&element, known, is_go)?;
        Ok(known.with(&element))
    };
    elements.map(with_known).collect()
}

fn git(git: &Node, known: &Parameters, is_go: bool, tree: &Tree) -> Result<Vec<Parameters>, String> {
    let prefix = git.text_at(&["pathParamPrefix"]).unwrap_or_default();
    let patterns = |field: &str| -> Result<(Vec<String>, Vec<String>), String> {
        let (mut included, mut excluded) = (Vec::new(), Vec::new());
        for item in git.items_at(&[field]) {
            let Some(path) = item.get("path") else { continue };
            let path = render(path, known, is_go)?;
            let path = path.text().unwrap_or_default().trim_start_matches("./").trim_matches('/').to_owned();
            let is_excluded = item.text_at(&["exclude"]) == Some("true");
            if is_excluded { excluded.push(path) } else { included.push(path) }
        }
        Ok((included, excluded))
    };
    let ((folders, no_folders), (files, no_files)) = (patterns("directories")?, patterns("files")?);
    let mut result = Vec::new();
    for root in &tree.roots {
        for (path, is_folder) in entries(&root.path) {
            let (included, excluded) = if is_folder { (&folders, &no_folders) } else { (&files, &no_files) };
            let is_one =
                |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &path, !is_folder));
            if !is_one(included) || is_one(excluded) {
                continue;
            }
            if is_folder {
                result.push(of_folder(known, &path, prefix));
                continue;
            }
            let text = crate::files::read_file(root.path.join(&path), MAX_FILE)
                .map_err(|error| error.to_string())
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()))
                .map_err(|reason| format!("takes values from `{path}`, which cannot be read: {reason}"))?;
            let (documents, error) = documents(&text);
            if let Some(error) = error {
                return Err(format!("takes values from `{path}`, which is not valid YAML: {}", error.reason));
            }
            for document in documents {
                // An array in a file stands for one application for each of its items.
                let objects =
                    if document.items().is_empty() { vec![document] } else { document.items().to_vec() };
                result.extend(objects.iter().map(|object| of_file(&known.with(object), &path, prefix)));
            }
        }
    }
    let values = git.get("values").map(Rc::clone);
    let Some(values) = values else { return Ok(result) };
    let with_values =
        |parameters: Parameters| Ok(parameters.with_values(&render(&values, &parameters, is_go)?));
    result.into_iter().map(with_values).collect()
}

/// The folders and files of a checkout, by paths with `/`, without those whose names begin with a dot.
fn entries(root: &Path) -> Vec<(String, bool)> {
    let walk = ignore::WalkBuilder::new(root)
        .standard_filters(false)
        .hidden(true)
        .follow_links(false)
        .sort_by_file_path(Path::cmp)
        .build();
    let entries = walk.filter_map(Result::ok).take(MAX_ENTRIES).filter_map(|entry| {
        let kind = entry.file_type()?;
        let path = entry.path().strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
        (!path.is_empty() && (kind.is_dir() || kind.is_file())).then_some((path, kind.is_dir()))
    });
    entries.collect()
}
