// SPDX-License-Identifier: Apache-2.0
//! Resources of Flux and Argo CD that render a folder of the checkout and change its resources.

use std::path::{Path, PathBuf};

use camino::Utf8Path;
use serde_json::{Map, Value, json};

use super::parse::{Kustomization, yaml};
use crate::set::files::names::Names;
use crate::set::files::read::{Content, contains, read_file};
use crate::set::files::walk::{Walk, walk};
use crate::set::yaml::text::split;

/// Most files of a checkout that are searched.
pub(super) const MAX_SEARCHED: usize = 20_000;
/// Most resources that are kept.
pub(super) const MAX_ENGINES: usize = 2_000;
/// Largest file that is searched, in bytes: these resources are written by hand.
const MAX_FILE: u64 = 4 << 20;
/// Largest manifest that is read.
const MAX_MANIFEST: usize = 1 << 20;
const FLUX: &str = "kustomize.toolkit.fluxcd.io";
const ARGO_CD: &str = "argoproj.io";

/// A resource that renders a folder.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) file: PathBuf,
    /// Line on which its manifest begins.
    pub(super) line: u64,
    pub(super) kind: EngineKind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// The root of the repository, and the path of the folder in it.
    pub(super) root: PathBuf,
    pub(super) path: String,
    /// Fields that are added to the kustomization of the folder.
    pub(super) overlay: Value,
    /// The path of these fields in the resource.
    pub(super) prefix: &'static str,
    /// Whether `${…}` in the result is replaced.
    pub(super) substitutes: bool,
    /// Whether some of the values for that exist only in the cluster.
    pub(super) from_cluster: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineKind {
    Flux,
    ArgoCd,
    /// An `ApplicationSet`, which makes Applications from a template.
    ArgoCdSet,
}

/// The resources of a checkout.
#[derive(Debug, Default)]
pub(in crate::set) struct Engines {
    pub(super) list: Vec<Engine>,
    /// The checkout that was not searched completely.
    pub(super) limit: Option<PathBuf>,
}

impl Engines {
    /// Finds the resources below `root`, a checkout. Invalid files are ignored: they are templates, or not for a
    /// cluster.
    pub(in crate::set) fn add(&mut self, root: &Path) {
        let names = Names::of([root.to_owned()], |_| true);
        let folders = [root.to_owned()];
        let candidates =
            walk(Walk { root, shown: Utf8Path::new(""), names: &names, folders: &folders }).candidates;
        if candidates.len() > MAX_SEARCHED {
            self.limit = Some(root.to_owned());
        }
        for candidate in candidates.iter().take(MAX_SEARCHED) {
            if std::fs::metadata(&candidate.path).is_ok_and(|file| file.len() > MAX_FILE) {
                continue;
            }
            let Ok(Content { bytes: Some(bytes), .. }) = read_file(&candidate.path, None) else { continue };
            if ![FLUX, ARGO_CD].iter().any(|group| contains(&bytes, group.as_bytes())) {
                continue;
            }
            let Ok(text) = std::str::from_utf8(&bytes) else { continue };
            for piece in split(text).iter().filter(|piece| piece.text.len() <= MAX_MANIFEST) {
                let Ok(value) = yaml(&piece.text) else { continue };
                let at = (root, candidate.path.as_path(), piece.first_line());
                let items = value
                    .get("items")
                    .and_then(Value::as_array)
                    .filter(|_| text_of(&value, "kind") == "List");
                match items {
                    Some(items) => items.iter().for_each(|item| self.read(item, at)),
                    None => self.read(&value, at),
                }
            }
        }
    }

    fn read(&mut self, value: &Value, at: (&Path, &Path, u64)) {
        let group = text_of(value, "apiVersion").split('/').next().unwrap_or_default();
        let Some(spec) = value.get("spec") else { return };
        match (group, text_of(value, "kind")) {
            (FLUX, "Kustomization") => self.flux(value, spec, at),
            (ARGO_CD, "Application") => self.argo_cd(value, spec, EngineKind::ArgoCd, at),
            (ARGO_CD, "ApplicationSet") => {
                if let Some(spec) = spec.pointer("/template/spec") {
                    self.argo_cd(value, spec, EngineKind::ArgoCdSet, at);
                }
            }
            _ => {}
        }
    }

    fn flux(&mut self, value: &Value, spec: &Value, at: (&Path, &Path, u64)) {
        let mut overlay = Map::new();
        for key in ["patches", "patchesJson6902", "images", "namePrefix", "nameSuffix", "components"] {
            overlay.extend(spec.get(key).map(|field| (key.to_owned(), field.clone())));
        }
        // Here patches are objects; in a kustomization they are text, which has a line break unless it is a path.
        let merged = spec.get("patchesStrategicMerge").and_then(Value::as_array).into_iter().flatten();
        let merged = merged.map(|patch| json!(format!("{patch}\n"))).collect::<Vec<_>>();
        overlay.insert("patchesStrategicMerge".to_owned(), merged.into());
        overlay.extend(spec.get("targetNamespace").map(|name| ("namespace".to_owned(), name.clone())));
        let filled = |key: &str| match spec.pointer(&format!("/postBuild/{key}")) {
            Some(Value::Object(variables)) => !variables.is_empty(),
            Some(Value::Array(sources)) => !sources.is_empty(),
            _ => false,
        };
        let from_cluster = filled("substituteFrom");
        let substitutes = from_cluster || filled("substitute");
        let engine = Engine {
            substitutes,
            from_cluster,
            ..Engine::new(EngineKind::Flux, value, at, text_of(spec, "path"), Value::Object(overlay), "spec.")
        };
        self.push(engine);
    }

    fn argo_cd(&mut self, value: &Value, spec: &Value, kind: EngineKind, at: (&Path, &Path, u64)) {
        let many = spec.get("sources").and_then(Value::as_array).into_iter().flatten();
        let sources = spec.get("source").map(|source| (source, "source.kustomize."));
        for (source, prefix) in sources.into_iter().chain(many.map(|source| (source, "sources[].kustomize.")))
        {
            let (Some(Value::Object(fields)), path) = (source.get("kustomize"), text_of(source, "path"))
            else {
                continue;
            };
            // If the path comes from a template, its folders are known only in the cluster.
            if path.is_empty() || path.contains("{{") {
                continue;
            }
            let mut overlay = fields.clone();
            let images = fields.get("images").and_then(Value::as_array).into_iter().flatten();
            let images = images.filter_map(Value::as_str).map(|image| json!({"name": replaced_name(image)}));
            overlay.insert("images".to_owned(), images.collect());
            self.push(Engine::new(kind, value, at, path, Value::Object(overlay), prefix));
        }
    }

    fn push(&mut self, engine: Engine) {
        if self.list.len() < MAX_ENGINES {
            self.list.push(engine);
        } else {
            self.limit = Some(engine.root);
        }
    }
}

impl Engine {
    fn new(
        kind: EngineKind,
        value: &Value,
        (root, file, line): (&Path, &Path, u64),
        path: &str,
        overlay: Value,
        prefix: &'static str,
    ) -> Self {
        let metadata = value.get("metadata").unwrap_or(&Value::Null);
        let namespace = text_of(metadata, "namespace");
        Self {
            file: file.to_owned(),
            line,
            kind,
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: text_of(metadata, "name").to_owned(),
            root: root.to_owned(),
            path: path.to_owned(),
            overlay,
            prefix,
            substitutes: false,
            from_cluster: false,
        }
    }

    /// The folder that is rendered; `None`: there is no such folder in the checkout.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let folder = self.root.join(self.path.trim_start_matches('/')).canonicalize().ok()?;
        (folder.starts_with(&self.root) && folder.is_dir()).then_some(folder)
    }

    /// The fields that it adds, as a kustomization of its folder; `None`: they are invalid, so that the engine refuses it.
    pub(super) fn kustomization(&self, folder: &Path) -> Option<Kustomization> {
        Kustomization::of(&self.file, folder, self.overlay.clone()).ok()
    }

    /// The field of the resource that corresponds to one of a kustomization.
    pub(super) fn field(&self, field: &str) -> String {
        let field =
            if self.kind == EngineKind::Flux && field == "namespace" { "targetNamespace" } else { field };
        format!("{}{field}", self.prefix)
    }

    pub(super) fn title(&self) -> String {
        let kind = match self.kind {
            EngineKind::Flux => "Flux Kustomization",
            EngineKind::ArgoCd => "Argo CD Application",
            EngineKind::ArgoCdSet => "Argo CD ApplicationSet",
        };
        let namespace = self.namespace.iter().map(|namespace| format!("{namespace}/")).collect::<String>();
        format!("the {kind} {namespace}{}", self.name)
    }
}

/// Whether Flux would replace something in the manifest of a set.
pub(super) fn has_variable(manifest: &[u8]) -> bool {
    /// The label or annotation that excludes an object.
    const SWITCH: &str = "kustomize.toolkit.fluxcd.io/substitute";
    fn in_text(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains("${"),
            Value::Array(items) => items.iter().any(in_text),
            Value::Object(fields) => fields.iter().any(|(key, value)| key.contains("${") || in_text(value)),
            _ => false,
        }
    }
    let Ok(text) = std::str::from_utf8(manifest) else { return false };
    if !text.contains("${") {
        return false;
    }
    let Ok(value) = yaml(text) else { return true };
    let off = |part: &&str| {
        let list = value.get("metadata").and_then(|metadata| metadata.get(part));
        list.and_then(|list| list.get(SWITCH)).and_then(Value::as_str) == Some("disabled")
    };
    !["labels", "annotations"].iter().any(off) && in_text(&value)
}

/// The image that an entry such as `old=new:tag`, `name:tag` or `name@digest` replaces.
fn replaced_name(image: &str) -> &str {
    let (name, _) = image.split_once('=').unwrap_or((image, ""));
    let name = name.split('@').next().unwrap_or_default();
    let tag = name.rfind(':').filter(|at| !name.get(*at..).unwrap_or_default().contains('/'));
    name.get(..tag.unwrap_or(name.len())).unwrap_or_default()
}

fn text_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
