// SPDX-License-Identifier: Apache-2.0
//! Files with a set that are not read as one.

use std::path::PathBuf;

use super::advice::Advice;
use crate::set::files::walk::Candidate;
use crate::set::kustomize::{Kustomizations, chart_of_template};

/// Why a file is not read as a set.
pub(super) struct Skip {
    pub(super) reason: String,
    /// The file that causes it.
    pub(super) because: Option<PathBuf>,
    /// How to have it read.
    pub(super) advice: String,
}

/// Why a file is not read, if a tool reads it in another way, or if it is hidden.
pub(super) fn skip(
    candidate: &Candidate,
    kustomizations: &Kustomizations,
    advice: &Advice<'_>,
) -> Option<Skip> {
    if let Some(kustomization) = kustomizations.lists(&candidate.path) {
        let name = kustomization.file_name().unwrap_or_default().to_string_lossy();
        return Some(Skip {
            reason: format!("is a Kustomize patch (listed in {name})"),
            because: Some(kustomization.to_owned()),
            advice: advice.kustomize(kustomization),
        });
    }
    if let Some(chart) = chart_of_template(&candidate.path) {
        let folder = chart.parent().unwrap_or(&chart);
        return Some(Skip {
            reason: "is a template of a Helm chart".to_owned(),
            advice: advice.piped("helm template", folder),
            because: Some(chart),
        });
    }
    candidate.hidden.then(|| Skip {
        reason: "is hidden (a part of its path begins with a dot)".to_owned(),
        because: None,
        advice: advice.name(&candidate.path),
    })
}
