// SPDX-License-Identifier: Apache-2.0
//! Commands for the user that read what was not read, with paths as in the call.

use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;

use crate::set::kustomize::{Effect, Render};

/// The folders of a call, with their names in it.
#[derive(Debug, Clone, Copy)]
pub(in crate::set) struct Advice<'a>(pub(in crate::set) &'a [(PathBuf, Utf8PathBuf)]);

impl Advice<'_> {
    /// The command that renders with Kustomize.
    pub(in crate::set) fn kustomize(self, kustomization: &Path) -> String {
        self.piped("kustomize build", kustomization.parent().unwrap_or(kustomization))
    }

    /// The advice for an effect, as a sentence; empty: there is none.
    pub(in crate::set) fn render(self, effect: &Effect) -> String {
        match &effect.render {
            Render::Nothing => String::new(),
            Render::Kustomize => self.kustomize(&effect.file),
            Render::Flux { name, namespace, folder, from_cluster } => {
                let part = |flag: &str, value: &str| quoted(value).map(|value| format!("{flag}{value}"));
                let command = [
                    part("flux build kustomization ", name),
                    namespace.as_ref().map_or(Some(String::new()), |name| part("--namespace ", name)),
                    part("--path ", &self.path(folder)),
                    part("--kustomization-file ", &self.path(&effect.file)),
                    Some(if *from_cluster { String::new() } else { "--dry-run".to_owned() }),
                ];
                let command = command.into_iter().collect::<Option<Vec<_>>>();
                let command = command.map(|parts| parts.into_iter().filter(|part| !part.is_empty()).collect());
                typed("flux build kustomization", command.map(|parts: Vec<_>| parts.join(" ")))
            }
            Render::ArgoCd { name } => {
                typed("argocd app manifests", quoted(name).map(|name| format!("argocd app manifests {name}")))
            }
            Render::ArgoCdSet => {
                "Render each of its Applications with `argocd app manifests`, and pipe that into this command, with `-` in place of the folder"
                    .to_owned()
            }
        }
    }

    /// How to read a hidden file.
    pub(in crate::set) fn name(self, path: &Path) -> String {
        quoted(&self.path(path)).map_or_else(
            || format!("To read it, rename it: {UNTYPABLE}"),
            |path| format!("To read it, name it: {path}"),
        )
    }

    /// The command that pipes the output of another command for a folder.
    pub(in crate::set) fn piped(self, command: &str, folder: &Path) -> String {
        typed(command, quoted(&self.path(folder)).map(|folder| format!("{command} {folder}")))
    }

    /// A path as the call would name it.
    fn path(self, path: &Path) -> String {
        let below = |(folder, shown): &(PathBuf, Utf8PathBuf)| {
            let relative = path.strip_prefix(folder).ok()?;
            let shown = if relative.as_os_str().is_empty() {
                shown.clone().into_std_path_buf()
            } else {
                shown.as_std_path().join(relative)
            };
            Some(shown)
        };
        let shown = self.0.iter().find_map(below).unwrap_or_else(|| path.to_owned());
        shown.to_string_lossy().into_owned()
    }
}

fn typed(program: &str, command: Option<String>) -> String {
    command.map_or_else(
        || format!("Render it with `{program}`, once it is renamed: {UNTYPABLE}"),
        |command| {
            format!(
                "Render it with `{command}`, and pipe that into this command, with `-` in place of the folder"
            )
        },
    )
}

/// The advice if no command can be given.
const UNTYPABLE: &str = "its path has characters that cannot be shown";

/// A path, quoted for a shell. `None`: it has to be escaped in messages, so that the command would name another path.
fn quoted(path: &str) -> Option<String> {
    if crate::set::show::shown(path) != path || path.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    // Not an option.
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@' | '=');
    if path.chars().all(plain) && !path.is_empty() {
        return Some(path);
    }
    Some(format!("'{}'", path.replace('\'', "'\\''")))
}
