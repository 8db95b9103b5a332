// SPDX-License-Identifier: Apache-2.0
//! Finds what Flux and Argo CD would change in sets in the folders that they render.

use std::path::Path;

use super::effect::{Effect, Render, counted, may_take};
use super::engines::{Engine, EngineKind, Engines, MAX_ENGINES, MAX_SEARCHED, has_variable};
use super::graph::{Graph, Sources, locate};
use super::parse::Kustomization;
use super::unread_sources::UnreadSources;
use crate::redact::printable;
use crate::set::files::walk::KUSTOMIZATIONS;

/// Most resources that are named; the others are counted.
const MAX_RESOURCES: usize = 10;

impl Graph<'_> {
    /// Finds what the resources of Flux and Argo CD would change in the sets.
    pub(super) fn engine_effects(&mut self, engines: &Engines) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut more = 0;
        for engine in &engines.list {
            let messages = self.of_engine(engine);
            if effects.len() >= MAX_RESOURCES {
                more += usize::from(!messages.is_empty());
                continue;
            }
            effects.extend(messages.into_iter().map(|(message, changes)| Effect {
                file: engine.file.clone(),
                line: engine.line,
                message,
                render: if changes { render(engine) } else { Render::Nothing },
            }));
        }
        if let (Some(last), Some(more)) = (
            effects.last_mut(),
            counted(more, "resource of Flux or Argo CD does", "resources of Flux or Argo CD do"),
        ) {
            last.message.push_str(&format!("; {more} so"));
        }
        effects
    }

    /// The effects of a resource that krs does not apply: a sentence each, and whether rendering the set includes it.
    fn of_engine(&mut self, engine: &Engine) -> Vec<(String, bool)> {
        let found = engine.folder().and_then(|folder| Some((engine.kustomization(&folder)?, folder)));
        let Some((overlay, folder)) = found else { return Vec::new() };
        let mut targets = self.below(&folder, &engine.file);
        if targets.sets.is_empty() {
            return Vec::new();
        }
        let mut fields =
            self.changes(&overlay, &targets).into_iter().map(|field| engine.field(field)).collect::<Vec<_>>();
        let components = overlay.components().map(str::to_owned).collect::<Vec<_>>();
        for component in &components {
            targets.add(&self.entry(&overlay, component));
        }
        if components.iter().any(|component| self.component_changes(&overlay, component, &targets)) {
            fields.push(engine.field("components"));
        }
        if engine.substitutes && self.sets(&targets).any(|set| has_variable(set.manifest)) {
            fields.push(engine.field("postBuild"));
        }
        let title = printable(&engine.title(), 300);
        let of = self.name_targets(&targets);
        let mut messages = Vec::new();
        if !fields.is_empty() {
            let fields = fields.join(", ");
            messages.push((
                format!(
                    "{title} would change {of} by {fields} if it renders this repository, and krs reads sets as they are"
                ),
                true,
            ));
        }
        let replaced = self.replaced_images(&overlay, &targets);
        messages.extend(replaced.map(|message| (format!("{title} {message}"), false)));
        let UnreadSources { certain, .. } = self.unread_sources(&overlay);
        messages.extend((!certain.is_empty()).then(|| (format!("{title} {}", may_take(&certain)), true)));
        messages
    }

    /// The sets that are rendered for a folder: those of its kustomization, or else all below it.
    fn below(&mut self, folder: &Path, file: &Path) -> Sources {
        if KUSTOMIZATIONS.iter().any(|name| folder.join(name).is_file()) {
            return self.collect_sources(folder, file);
        }
        let mut sources = Sources::default();
        sources.sets.extend(self.places_below(folder));
        let kustomizations = self.kustomizations;
        for known in kustomizations.read.keys().filter(|known| known.starts_with(folder)) {
            sources.add(&self.collect_sources(known, file));
        }
        sources
    }

    fn component_changes(&mut self, overlay: &Kustomization, component: &str, targets: &Sources) -> bool {
        let Ok(folder) = locate(overlay, component) else { return false };
        let kustomizations = self.kustomizations;
        match kustomizations.read.get(&folder) {
            Some(component) => !self.changes(component, targets).is_empty(),
            None => self
                .open_kustomization(&folder, &overlay.file)
                .is_some_and(|component| !self.changes(&component, targets).is_empty()),
        }
    }
}

fn render(engine: &Engine) -> Render {
    match engine.kind {
        EngineKind::Flux => Render::Flux {
            name: engine.name.clone(),
            namespace: engine.namespace.clone(),
            folder: engine.folder().unwrap_or_else(|| engine.root.clone()),
            from_cluster: engine.from_cluster,
        },
        EngineKind::ArgoCd => Render::ArgoCd { name: engine.name.clone() },
        EngineKind::ArgoCdSet => Render::ArgoCdSet,
    }
}

/// The warning if a checkout was not searched completely.
pub(super) fn limit(engines: &Engines) -> Option<Effect> {
    let root = engines.limit.as_ref()?;
    let message = format!(
        "holds more than krs searches for resources of Flux and Argo CD ({MAX_SEARCHED} files, {MAX_ENGINES} resources); the others may change sets"
    );
    Some(Effect { file: root.clone(), line: 0, message, render: Render::Nothing })
}
