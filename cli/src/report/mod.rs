// SPDX-License-Identifier: Apache-2.0
//! Results: tables for people, documents for programs. The fields of the documents are an interface: they are added
//! to, and [`SCHEMA_VERSION`] grows when one changes its meaning.

mod bundle;
mod collect;
mod csv;
mod edge;
mod facts;
mod findings;
mod fleet;
mod forecast;
mod human;
mod images;
mod inspect;
mod patched;
mod pin;
mod problem;
mod sets;
mod settings;
mod table;

pub(crate) use bundle::{BundleReport, Done};
pub(crate) use collect::{CheckReport, CollectReport};
pub(crate) use edge::{DeliveryOutcome, DryPushReport, PushedBundle, PushedReport};
pub(crate) use facts::{Facts, Patched, SignatureFacts};
pub(crate) use findings::Findings;
pub(crate) use fleet::{FleetReport, UnusedReceipt};
pub(crate) use forecast::Forecast;
pub(crate) use human::{count, duration, rate, seconds, size};
pub(crate) use inspect::InspectReport;
pub(crate) use pin::PinReport;
pub(crate) use problem::{Problem, problems};
pub(crate) use sets::SetsReport;
pub(crate) use settings::SettingsFacts;
pub(crate) use table::{Align, Table, facts, indented, sentence, shorten};

/// Version of the documents that `--format json` prints.
pub(crate) const SCHEMA_VERSION: u32 = 1;
