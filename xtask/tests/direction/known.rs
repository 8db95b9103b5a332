// SPDX-License-Identifier: Apache-2.0
//! What is left to untie. Both lists are exact: nothing may be added, and what is mended must leave them.

/// Uses that go against the layers.
pub(crate) const AGAINST_THE_LAYERS: &[&str] = &[];

/// Circles of files, by crate.
pub(crate) const CIRCLES: &[(&str, &[&[&str]])] = &[
    ("src", &[]),
    ("cli/src", &[]),
    (
        "importer/src",
        &[
            &["adapters::credentials", "adapters::credentials::certificates", "adapters::credentials::error"],
            &[
                "app::reconcile",
                "app::reconcile::breaker",
                "app::reconcile::checks",
                "app::reconcile::clients",
                "app::reconcile::content",
                "app::reconcile::error",
                "app::reconcile::facts",
                "app::reconcile::job_reads",
                "app::reconcile::jobs",
                "app::reconcile::look",
                "app::reconcile::memory",
                "app::reconcile::observe",
                "app::reconcile::owner",
                "app::reconcile::renewals",
                "app::reconcile::report",
                "app::reconcile::resolve",
                "app::reconcile::round",
                "app::reconcile::sampling",
                "app::reconcile::secrets",
                "app::reconcile::sources",
                "app::reconcile::wakeups",
            ],
            &["engine::decide", "engine::decide::verdict"],
            &["engine::job", "engine::job::pod"],
            &["model::config", "model::config::pods"],
        ],
    ),
];
