// SPDX-License-Identifier: Apache-2.0
//! The folders and single files at the top of each crate, in layers.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkout;
use crate::graph::{Graph, name};
use crate::known::AGAINST_THE_LAYERS;

/// A module at the top of a crate, and the others that it may use besides the [`Crate::ground`].
type Layer = (&'static str, &'static [&'static str]);

struct Crate {
    source: &'static str,
    /// What every module may use; these use only each other.
    ground: &'static [&'static str],
    /// From the bottom up: each may use only such as come earlier.
    layers: &'static [Layer],
}

const CRATES: &[Crate] = &[
    // `registry` and `bundle` do not know each other; `sync` joins them.
    Crate {
        source: "src",
        ground: &["error", "files", "format", "json", "redact"],
        layers: &[
            ("oci", &[]),
            ("progress", &["oci"]),
            ("crd", &["oci"]),
            ("set", &["oci", "crd"]),
            ("registry", &["oci"]),
            ("bundle", &["oci", "crd", "set", "progress"]),
            ("sync", &["oci", "crd", "set", "progress", "registry", "bundle"]),
            ("fuzz", &["oci", "crd", "set", "progress", "registry", "bundle", "sync"]),
        ],
    },
    Crate {
        source: "cli/src",
        ground: &[],
        layers: &[
            ("exit", &[]),
            ("args", &["exit"]),
            ("report", &[]),
            ("diagnostic", &["exit", "report"]),
            ("marks", &["diagnostic"]),
            ("progress", &["report"]),
            ("console", &["args", "diagnostic", "progress", "report"]),
            ("commands", &["args", "console", "diagnostic", "exit", "marks", "progress", "report"]),
        ],
    },
    // `app` and `runner` are two processes: what one tells the other is in `model::task`.
    Crate {
        source: "importer/src",
        ground: &[],
        layers: &[
            ("model", &[]),
            ("engine", &["model"]),
            ("adapters", &["engine", "model"]),
            ("runner", &["adapters", "engine", "model"]),
            ("app", &["adapters", "engine", "model"]),
        ],
    },
];

#[test]
fn the_modules_of_each_crate_use_each_other_in_one_direction_only() {
    let (mut wrong, mut upwards) = (Vec::new(), BTreeSet::new());
    for Crate { source, ground, layers } in CRATES {
        let graph = Graph::of_crate(&checkout().join(source));
        let allowed = layers.iter().copied().chain(ground.iter().map(|name| (*name, &[][..])));
        let allowed = allowed.collect::<BTreeMap<&str, &[&str]>>();
        let found =
            graph.files().filter_map(|file| file.first()).map(String::as_str).collect::<BTreeSet<_>>();
        assert!(found.len() >= 5, "{source}: {found:?}");
        for module in found.symmetric_difference(&allowed.keys().copied().collect()) {
            wrong.push(format!("{source}: `{module}` is either not in the table of this test or only there"));
        }
        for (file, used) in graph.uses() {
            let (Some(module), Some(other)) = (file.first(), used.first()) else { continue };
            let may_use = allowed.get(module.as_str()).copied().unwrap_or_default();
            if other != module && !ground.contains(&other.as_str()) && !may_use.contains(&other.as_str()) {
                upwards.insert(format!("{source}: {} uses {}", name(file), name(used)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known = AGAINST_THE_LAYERS.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
    let new = upwards.difference(&known).collect::<Vec<_>>();
    assert!(new.is_empty(), "against the layers: {new:#?}");
    let gone = known.difference(&upwards).collect::<Vec<_>>();
    assert!(gone.is_empty(), "mended, take it from AGAINST_THE_LAYERS: {gone:#?}");
}

#[test]
fn the_tables_of_layers_have_no_circle() {
    for Crate { source, layers, .. } in CRATES {
        let mut earlier = BTreeSet::new();
        for (module, may_use) in *layers {
            for used in *may_use {
                assert!(earlier.contains(used), "{source}: {module} may use {used}, which comes later");
            }
            earlier.insert(module);
        }
    }
}
