// SPDX-License-Identifier: Apache-2.0
//! The faults that krs must survive, and what it does about each.

mod images;
mod importer;
mod making;
mod media;
mod registries;

/// Its number, what goes wrong, what happens then.
pub(crate) type Fault = (u16, &'static str, &'static str);

/// Titles of the groups, each with its faults.
pub(crate) const GROUPS: &[(&str, &[Fault])] = &[
    ("Media and archives that are not trusted", media::MEDIA),
    ("Content of images", images::IMAGES),
    ("Registries and the network", registries::REGISTRIES),
    ("The importer and its cluster", importer::IMPORTER),
    ("Making a bundle", making::MAKING),
];
