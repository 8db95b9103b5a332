// SPDX-License-Identifier: Apache-2.0
use std::fmt::Write as _;

use krs_core::collect::{Collected, Coverage, ImageUse, Problem, UnusedImage, Update, UsedImage};
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::human::count;
use super::table::{Align, Table, sentence};

/// The images that sources use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CollectReport {
    schema_version: u32,
    images: Vec<Image>,
    problems: Vec<Unread>,
    /// What was not read as an image or a manifest.
    skipped: Vec<Unread>,
    files: usize,
    /// Files that ignore files exclude.
    ignored_files: usize,
    resources: usize,
    /// What was done to a set that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Updated>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    added: Vec<Image>,
    replaced: Vec<Replaced>,
    /// Images of the set that nothing uses.
    unused: Vec<Unused>,
    /// Whether these were removed.
    pruned: bool,
}

#[derive(Debug, Serialize)]
struct Replaced {
    before: String,
    after: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    image: String,
    used_by: Vec<Use>,
}

/// A place that uses an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Use {
    /// The name as the place writes it.
    written: String,
    #[serde(flatten)]
    place: Place,
}

#[derive(Debug, Serialize)]
struct Place {
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Unread {
    #[serde(flatten)]
    place: Place,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl From<&krs_core::collect::Origin> for Place {
    fn from(origin: &krs_core::collect::Origin) -> Self {
        Self {
            source: origin.source.clone(),
            resource: origin.resource.clone(),
            field: origin.field.clone(),
            line: origin.line,
        }
    }
}

impl From<&Problem> for Unread {
    fn from(problem: &Problem) -> Self {
        Self { place: (&problem.origin).into(), reason: problem.reason.clone(), help: problem.help.clone() }
    }
}

impl From<&UsedImage> for Image {
    fn from(image: &UsedImage) -> Self {
        let of = |image: &ImageUse| Use { written: image.image.clone(), place: (&image.origin).into() };
        Self { image: image.reference.to_string(), used_by: image.uses.iter().map(of).collect() }
    }
}

impl CollectReport {
    pub(crate) fn new(images: &[UsedImage], problems: &[Problem], collected: &Collected) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            images: images.iter().map(Image::from).collect(),
            problems: problems.iter().map(Unread::from).collect(),
            skipped: collected.skipped.iter().map(Unread::from).collect(),
            files: collected.files,
            ignored_files: collected.ignored_files,
            resources: collected.resources,
            update: None,
        }
    }

    /// Adds what was done to a set.
    pub(crate) fn updated(&mut self, update: &Update, is_pruned: bool) {
        let replaced = update
            .replaced
            .iter()
            .map(|(before, after)| Replaced { before: before.clone(), after: after.reference.to_string() });
        self.update = Some(Updated {
            added: update.added.iter().map(Image::from).collect(),
            replaced: replaced.collect(),
            unused: update.unused.iter().map(Unused::from).collect(),
            pruned: is_pruned && !update.unused.is_empty(),
        });
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let table = self.update.as_ref().map_or_else(|| table(&self.images), Updated::text);
        let gap = if table.is_empty() { "" } else { "\n" };
        let (images, resources) =
            (count(self.images.len() as u64, "image"), count(self.resources as u64, "resource"));
        let mut files = format!("{} read", count(self.files as u64, "file"));
        if self.ignored_files > 0 {
            let _ = write!(files, ", {} ignored", self.ignored_files);
        }
        format!("{table}{gap}{}", sentence(&format!("{images} in {resources} ({files})")))
    }
}

impl Updated {
    fn text(&self) -> String {
        let mut table = Table::new(&[("", Align::Left), ("IMAGE", Align::Left), ("USED BY", Align::Left)]);
        for image in &self.added {
            let first = image.used_by.first().map(|first| place(&first.place)).unwrap_or_default();
            table.row(["+".to_owned(), image.image.clone(), first]);
        }
        for Replaced { before, after } in &self.replaced {
            table.row(["~".to_owned(), after.clone(), format!("in place of {before}")]);
        }
        let (sign, note) =
            if self.pruned { ("-", "nothing; removed") } else { ("?", "nothing; --prune removes it") };
        for image in &self.unused {
            table.row([sign.to_owned(), image.image.clone(), note.to_owned()]);
        }
        table.render()
    }
}

/// The first place that uses each image, and how many there are.
fn table(images: &[Image]) -> String {
    let mut table = Table::new(&[("IMAGE", Align::Left), ("USES", Align::Right), ("USED BY", Align::Left)]);
    for image in images {
        let first = image.used_by.first().map(|first| place(&first.place)).unwrap_or_default();
        table.row([image.image.clone(), image.used_by.len().to_string(), first]);
    }
    table.render()
}

fn place(place: &Place) -> String {
    let line = place.line.map(|line| format!(":{line}")).unwrap_or_default();
    let resource = place.resource.iter().map(|resource| format!(": {resource}")).collect::<String>();
    format!("{}{line}{resource}", place.source)
}

/// What is used and what sets carry.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckReport {
    schema_version: u32,
    /// Images that are used and that no set carries.
    missing: Vec<Image>,
    /// Images of sets that nothing uses.
    unused: Vec<Unused>,
    /// Number of images that are used and carried.
    carried: usize,
    sets: usize,
    problems: Vec<Unread>,
}

#[derive(Debug, Serialize)]
struct Unused {
    image: String,
    file: String,
    line: u64,
}

impl From<&UnusedImage> for Unused {
    fn from(image: &UnusedImage) -> Self {
        Self { image: image.image.clone(), file: image.file.clone(), line: image.line }
    }
}

impl CheckReport {
    pub(crate) fn new(coverage: &Coverage, sets: usize, problems: &[Problem]) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            missing: coverage.missing.iter().map(Image::from).collect(),
            unused: coverage.unused.iter().map(Unused::from).collect(),
            carried: coverage.carried,
            sets,
            problems: problems.iter().map(Unread::from).collect(),
        }
    }

    pub(crate) fn is_equal(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.missing.is_empty() {
            text.push_str(&sentence("Used, and carried by no set:"));
            text.push_str(&table(&self.missing));
            text.push('\n');
        }
        if !self.unused.is_empty() {
            let mut table = Table::new(&[("IMAGE", Align::Left), ("SET", Align::Left)]);
            for image in &self.unused {
                table.row([image.image.clone(), format!("{}:{}", image.file, image.line)]);
            }
            text.push_str(&sentence("Carried by a set, and used by nothing:"));
            text.push_str(&table.render());
            text.push('\n');
        }
        let sets = count(self.sets as u64, "set");
        let (carried, missing) = (count(self.carried as u64, "image"), self.missing.len());
        let numbers =
            format!("{carried} used and carried by {sets}, {missing} missing, {} unused", self.unused.len());
        text + &sentence(&numbers)
    }
}
