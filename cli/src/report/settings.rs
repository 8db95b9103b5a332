// SPDX-License-Identifier: Apache-2.0
use krs_core::set::Settings;
use serde::Serialize;

/// What comes from `krs.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingsFacts {
    file: String,
    /// Values that the call left out, as `NAME VALUE`.
    values: Vec<String>,
    /// What the file requires.
    requires: Vec<&'static str>,
}

impl SettingsFacts {
    /// Of the file, and the values that were taken from it.
    pub(crate) fn new(settings: &Settings, values: Vec<String>) -> Self {
        let mut requires = settings.require.names();
        requires.extend(settings.naming.as_ref().map(|_| "naming"));
        Self { file: settings.file.clone(), values, requires }
    }

    /// For people: `krs.yaml: stream prod; requires digests, signature`.
    pub(crate) fn text(&self) -> String {
        let mut parts = self.values.clone();
        if !self.requires.is_empty() {
            parts.push(format!("requires {}", self.requires.join(", ")));
        }
        if parts.is_empty() {
            parts.push("no value is used".to_owned());
        }
        format!("{}: {}", self.file, parts.join("; "))
    }
}
