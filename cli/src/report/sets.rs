// SPDX-License-Identifier: Apache-2.0
use krs_core::set::{Loaded, Merged, PassedOver, SetErrors, Warning};
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::human::count;
use super::table::{Align, Table};
use crate::diagnostic::{Problem, problems};

/// What was found in a checkout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetsReport {
    schema_version: u32,
    valid: bool,
    sets: Vec<Set>,
    /// Distinct images of all sets.
    image_count: usize,
    warnings: Vec<Place>,
    passed_over: Vec<Place>,
    problems: Vec<Problem>,
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

/// Something about a place in a file.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    file: String,
    line: u64,
    message: String,
}

impl From<&Warning> for Place {
    fn from(warning: &Warning) -> Self {
        Self { file: warning.file.clone(), line: warning.line, message: warning.message.clone() }
    }
}

impl From<&PassedOver> for Place {
    fn from(passed: &PassedOver) -> Self {
        Self { file: passed.file.clone(), line: passed.line, message: passed.reason.clone() }
    }
}

impl SetsReport {
    /// Of sets that are acceptable.
    pub(crate) fn new(loaded: &Loaded, merged: &Merged) -> Self {
        let set = |loaded: &krs_core::set::LoadedSet| Set {
            namespace: loaded.set.namespace.clone(),
            name: loaded.set.name.clone(),
            file: loaded.file.clone(),
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
            warnings: loaded.warnings.iter().map(Place::from).collect(),
            passed_over: loaded.passed_over.iter().map(Place::from).collect(),
            problems: Vec::new(),
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
            passed_over: Vec::new(),
            problems: problems(errors),
        }
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
            let name = set.namespace.iter().chain([&set.name]).cloned().collect::<Vec<_>>().join("/");
            let by_tag =
                if set.without_digest == 0 { "-".to_owned() } else { set.without_digest.to_string() };
            let place = format!("{}:{}", set.file, set.line);
            table.row([name, set.images.to_string(), by_tag, set.destination_registry.clone(), place]);
        }
        let (sets, images) = (count(self.sets.len() as u64, "set"), count(self.image_count as u64, "image"));
        format!("{}\n{sets} with {images}: valid\n", table.render())
    }
}
