// SPDX-License-Identifier: Apache-2.0
//! What sources name, and what of them could not be read.

use std::fmt;

use crate::redact::printable;

/// An image that a source names, before it is known whether the name is a valid reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageUse {
    /// The name as the source writes it.
    pub image: String,
    /// Where the source writes it.
    pub origin: Origin,
}

/// Where something was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Path of the file, with `/` between its parts; `-` for standard input, `cluster` for a running cluster.
    pub source: String,
    /// The resource in it: "Deployment web/api" (kind, then namespace and name).
    pub resource: Option<String>,
    /// The field: `spec.containers[0].image`.
    pub field: Option<String>,
    /// Line of the file, from 1. Absent for what was rendered.
    pub line: Option<usize>,
}

/// All that sources name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// The images, in the order of the sources; one entry for each use.
    pub images: Vec<ImageUse>,
    /// What could not be read or rendered. Images may be missing because of it.
    pub problems: Vec<Problem>,
}

/// Something that could not be read or rendered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// What it is about.
    pub origin: Origin,
    /// Why, as part of a sentence: "is not valid YAML: …".
    pub reason: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl Origin {
    /// A file, without a place in it.
    pub fn file(source: impl Into<String>) -> Self {
        Self { source: source.into(), ..Self::default() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.source, 300))?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))?;
        self.resource.as_ref().map_or(Ok(()), |resource| write!(f, ": {}", printable(resource, 200)))?;
        self.field.as_ref().map_or(Ok(()), |field| write!(f, ": {}", printable(field, 200)))
    }
}

impl Collection {
    /// Appends what another source names.
    pub fn extend(&mut self, other: Self) {
        self.images.extend(other.images);
        self.problems.extend(other.problems);
    }
}
