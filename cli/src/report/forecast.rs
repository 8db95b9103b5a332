// SPDX-License-Identifier: Apache-2.0
//! What a plan means for the media and the network.

use std::time::Duration;

use camino::Utf8Path;
use krs_core::bundle::{Space, space};
use krs_core::sync::plan::Plan;
use serde::Serialize;

use super::human::{count, duration, size};

/// What is to be expected of a bundle that is only planned.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forecast {
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    /// Bytes of the largest file, and of all.
    #[serde(skip)]
    largest: u64,
    #[serde(skip)]
    all: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    folder: String,
    free_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    largest_file: Option<u64>,
}

impl Forecast {
    /// Of a plan, for media and a rate of the network in bytes per second.
    pub(crate) fn new(
        plan: &Plan,
        volume_size: Option<u64>,
        target: Option<&Utf8Path>,
        rate: Option<u64>,
    ) -> Self {
        let target = target.and_then(|folder| {
            let Space { free, largest_file } = space(folder)?;
            Some(Target { folder: folder.to_string(), free_bytes: free, largest_file })
        });
        Self {
            volumes: volume_size.map(|each| plan.size.div_ceil(each).max(1)),
            target,
            seconds: rate.map(|rate| plan.fetch_size().div_ceil(rate.max(1))),
            largest: volume_size.unwrap_or(plan.size).min(plan.size),
            all: plan.size,
        }
    }

    /// Lines of a name and a value.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(volumes) = self.volumes {
            lines
                .push(("Volumes", format!("{} of at most {}", count(volumes, "volume"), size(self.largest))));
        }
        if let Some(target) = &self.target {
            lines.push(("Free", format!("{} in {}", size(target.free_bytes), target.folder)));
        }
        if let Some(seconds) = self.seconds {
            lines.push(("Will take", format!("{} at this rate", duration(Duration::from_secs(seconds)))));
        }
        lines
    }

    /// What stands in the way of writing it.
    pub(super) fn obstacle(&self) -> Option<String> {
        let Target { folder, free_bytes, largest_file } = self.target.as_ref()?;
        if let Some(limit) = largest_file.filter(|limit| *limit < self.largest) {
            let (one, most) = (size(self.largest), size(limit));
            return Some(format!(
                "a file of {one} does not fit on {folder}: files there have at most {most}"
            ));
        }
        let (all, free) = (size(self.all), size(*free_bytes));
        (self.all > *free_bytes).then(|| format!("the bundle needs {all}, and {folder} has {free} left"))
    }
}
