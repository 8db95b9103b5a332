// SPDX-License-Identifier: Apache-2.0
//! What `krs.yaml` can say.

use crate::crd::Naming;
use crate::oci::platform::Platform;
use crate::set::error::SetError;
use crate::set::rules::rule::SETTINGS;
use crate::set::yaml::position::Position;
use crate::set::yaml::text::Piece;

/// The name of the file.
pub const SETTINGS_FILE: &str = "krs.yaml";

/// What `krs.yaml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What messages call the file.
    pub file: String,
    pub(super) text: String,
    /// The stream of bundles, as it is written.
    pub stream: Option<Setting<String>>,
    /// The sites that bundles are for.
    pub audience: Vec<Setting<String>>,
    /// Platforms of images whose sets select none.
    pub platforms: Vec<Setting<Platform>>,
    /// The naming that every set must have.
    pub naming: Option<Setting<Naming>>,
    /// What is required.
    pub require: Requirements,
}

/// What every bundle must keep. Each is there where the file requires it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Every image of the sets has a digest.
    pub digests: Option<Setting<bool>>,
    /// The bundle is signed.
    pub signature: Option<Setting<bool>>,
    /// What is read is what the commit holds.
    pub clean: Option<Setting<bool>>,
    /// Every image has all platforms that are asked for.
    pub platforms: Option<Setting<bool>>,
    /// All signatures, SBOMs and attestations travel.
    pub referrers: Option<Setting<bool>>,
}

impl Requirements {
    /// The names of what is required.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            ("digests", &self.digests),
            ("signature", &self.signature),
            ("clean", &self.clean),
            ("platforms", &self.platforms),
            ("referrers", &self.referrers),
        ];
        all.into_iter().filter(|(_, setting)| setting.is_some()).map(|(name, _)| name).collect()
    }
}

/// A value with its place in the file.
#[derive(Debug, Clone, Copy)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    pub(super) position: Position,
}

/// Two are equal where their values are: files of two checkouts may have other lines.
impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Setting<T> {}

impl Settings {
    /// Where a setting stands: `krs.yaml:3`.
    pub fn place<T>(&self, setting: &Setting<T>) -> String {
        format!("{}:{}", self.file, setting.position.line)
    }

    /// An error about a setting.
    pub fn error<T>(&self, setting: &Setting<T>, message: &str) -> SetError {
        Piece::full(&self.text).error(&self.file, setting.position, message.to_owned()).rule(SETTINGS)
    }

    /// Whether both files say the same.
    pub(super) fn has_same_values(&self, other: &Self) -> bool {
        let values = |settings: &Self| {
            let Self { stream, audience, platforms, naming, require, .. } = settings.clone();
            (stream, audience, platforms, naming, require)
        };
        values(self) == values(other)
    }
}
