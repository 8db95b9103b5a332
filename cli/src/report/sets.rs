// SPDX-License-Identifier: Apache-2.0
use krs_core::redact::printable;
use krs_core::set::{LoadedSets, MergedImages, SetErrors, SkippedFile, Warning};
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::human::count;
use super::problem::{Problem, problems};
use super::settings::SettingsFacts;
use super::table::{Align, Table, indented, sentence};

/// Most skipped files that are shown to people.
const MAX_SKIPPED: usize = 20;

/// What was found in a checkout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetsReport {
    schema_version: u32,
    valid: bool,
    sets: Vec<Set>,
    /// Distinct images of all sets.
    image_count: usize,
    warnings: Vec<FileRemark>,
    /// Sets that were found and not read, and why.
    skipped: Vec<FileRemark>,
    /// YAML and JSON files that ignore files exclude, whether or not they hold sets.
    ignored_files: usize,
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<SettingsFacts>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    file: String,
    line: u64,
    destination_registry: String,
    images: usize,
    /// Images that are named by a tag only.
    without_digest: usize,
}

/// A remark on a line of a file.
#[derive(Debug, Serialize)]
pub(crate) struct FileRemark {
    file: String,
    line: u64,
    message: String,
}

impl From<&Warning> for FileRemark {
    fn from(warning: &Warning) -> Self {
        Self { file: warning.file.clone(), line: warning.line, message: warning.message.clone() }
    }
}

impl From<&SkippedFile> for FileRemark {
    fn from(skipped: &SkippedFile) -> Self {
        Self { file: skipped.file.clone(), line: skipped.line, message: skipped.reason.clone() }
    }
}

impl SetsReport {
    /// Of sets that are acceptable.
    pub(crate) fn new(loaded: &LoadedSets, merged: &MergedImages) -> Self {
        let set = |loaded: &krs_core::set::LoadedSet| Set {
            namespace: loaded.set.namespace.clone(),
            name: loaded.set.name.clone(),
            file: loaded.shown.clone(),
            line: loaded.line,
            destination_registry: loaded.set.spec.destination_registry.clone(),
            images: loaded.set.images.len(),
            without_digest: loaded.set.images.iter().filter(|i| i.reference.digest.is_none()).count(),
        };
        Self {
            schema_version: SCHEMA_VERSION,
            valid: true,
            sets: loaded.sets.iter().map(set).collect(),
            image_count: merged.images.len(),
            warnings: loaded.warnings.iter().map(FileRemark::from).collect(),
            skipped: loaded.skipped.iter().map(FileRemark::from).collect(),
            ignored_files: loaded.ignored_files,
            problems: Vec::new(),
            settings: None,
        }
    }

    /// Of sets that are not.
    pub(crate) fn of_errors(errors: &SetErrors) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            valid: false,
            sets: Vec::new(),
            image_count: 0,
            warnings: Vec::new(),
            skipped: Vec::new(),
            ignored_files: 0,
            problems: problems(errors),
            settings: None,
        }
    }

    /// Adds what `krs.yaml` says.
    #[must_use]
    pub(crate) fn with_settings(self, settings: Option<SettingsFacts>) -> Self {
        Self { settings, ..self }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new(&[
            ("SET", Align::Left),
            ("IMAGES", Align::Right),
            ("BY TAG ONLY", Align::Right),
            ("DESTINATION", Align::Left),
            ("PLACE", Align::Left),
        ]);
        for set in &self.sets {
            let name = krs_core::set::full_name(set.namespace.as_deref(), &set.name);
            let by_tag =
                if set.without_digest == 0 { "-".to_owned() } else { set.without_digest.to_string() };
            let position = format!("{}:{}", set.file, set.line);
            table.row([name, set.images.to_string(), by_tag, set.destination_registry.clone(), position]);
        }
        let (sets, images) = (count(self.sets.len() as u64, "set"), count(self.image_count as u64, "image"));
        let valid = sentence(&format!("{sets} with {images}: valid"));
        let settings = self.settings.iter().map(|settings| sentence(&settings.text())).collect::<String>();
        format!("{}\n{valid}{settings}{}", table.render(), self.skipped_text())
    }

    /// The sets that were not read, with why; nothing where there are none and no file was ignored.
    fn skipped_text(&self) -> String {
        let mut text = String::new();
        if !self.skipped.is_empty() {
            text.push_str(&format!("\n{} skipped:\n", count(self.skipped.len() as u64, "file")));
        }
        for skipped in self.skipped.iter().take(MAX_SKIPPED) {
            let line = if skipped.line > 0 { format!(":{}", skipped.line) } else { String::new() };
            let file = printable(&skipped.file, 300);
            text.push_str(&indented(&format!("{file}{line}: it {}", skipped.message)));
        }
        if let more @ 1.. = self.skipped.len().saturating_sub(MAX_SKIPPED) {
            text.push_str(&indented(&format!("and {more} more (--format json lists them)")));
        }
        if self.ignored_files > 0 {
            let files = count(self.ignored_files as u64, "YAML or JSON file");
            text.push_str(&sentence(&format!("{files} ignored by .gitignore or .krsignore")));
        }
        text
    }
}
