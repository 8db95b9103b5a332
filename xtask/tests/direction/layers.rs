// SPDX-License-Identifier: Apache-2.0
//! The folders and single files at the top of each crate and in the registry client, in layers.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkout;
use crate::graph::{Graph, name};
use crate::known::AGAINST_THE_LAYERS;

/// A module at the top of a crate, and the others that it may use besides the [`Crate::ground`].
type Layer = (&'static str, &'static [&'static str]);

struct Crate {
    source: &'static str,
    /// The module whose folders these are; empty for those at the top.
    within: &'static str,
    /// What every module may use; these use only each other.
    ground: &'static [&'static str],
    /// From the bottom up: each may use only such as come earlier.
    layers: &'static [Layer],
}

const CRATES: &[Crate] = &[
    // `registry`, `local` and `bundle` do not know each other; `sync` joins them.
    Crate {
        source: "src",
        within: "",
        ground: &["error", "files", "format", "json", "program", "redact", "yaml"],
        layers: &[
            ("oci", &[]),
            ("progress", &["oci"]),
            ("crd", &["oci"]),
            ("set", &["oci", "crd"]),
            ("collect", &["oci", "progress", "crd", "set"]),
            ("registry", &["oci"]),
            ("local", &["oci"]),
            ("bundle", &["oci", "crd", "set", "progress"]),
            ("sync", &["oci", "crd", "set", "progress", "registry", "local", "bundle"]),
            ("fuzz", &["oci", "crd", "set", "progress", "registry", "local", "bundle", "sync"]),
        ],
    },
    // The transport knows no credentials: only `auth` and what comes after it use the keychain.
    Crate {
        source: "src",
        within: "registry",
        ground: &["host"],
        layers: &[
            ("failure", &[]),
            ("limits", &["failure"]),
            ("transport", &["failure", "limits"]),
            ("auth", &["failure", "limits", "transport"]),
            ("client", &["auth", "failure", "limits", "transport"]),
            ("content", &["auth", "client", "failure", "limits", "transport"]),
            ("fuzz", &["auth"]),
        ],
    },
    Crate {
        source: "compact/src",
        within: "",
        ground: &[],
        layers: &[
            ("deflate", &[]),
            ("encoder", &["deflate"]),
            ("corrections", &["deflate", "encoder"]),
            ("recipe", &["deflate", "encoder", "corrections"]),
            ("patch", &[]),
            ("diff", &["patch"]),
        ],
    },
    Crate {
        source: "cli/src",
        within: "",
        ground: &[],
        layers: &[
            ("exit", &[]),
            ("standard_error", &[]),
            ("args", &["exit"]),
            ("qr", &[]),
            ("replace_file", &[]),
            ("report", &[]),
            ("diagnostic", &["exit", "report"]),
            ("marks", &["diagnostic", "replace_file"]),
            ("progress", &["report", "standard_error"]),
            ("console", &["args", "diagnostic", "progress", "report", "standard_error"]),
            (
                "commands",
                &[
                    "args",
                    "console",
                    "diagnostic",
                    "exit",
                    "marks",
                    "progress",
                    "qr",
                    "replace_file",
                    "report",
                    "standard_error",
                ],
            ),
        ],
    },
    // `app` and `runner` are two processes: what one tells the other is in `model::task`.
    Crate {
        source: "importer/src",
        within: "",
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
    for Crate { source, within, ground, layers } in CRATES {
        let graph = Graph::of_crate(&checkout().join(source));
        let allowed = layers.iter().copied().chain(ground.iter().map(|name| (*name, &[][..])));
        let allowed = allowed.collect::<BTreeMap<&str, &[&str]>>();
        let found = graph.files().filter_map(|file| module_of(file, within)).collect::<BTreeSet<_>>();
        assert!(found.len() >= 5, "{source}: {found:?}");
        for module in found.symmetric_difference(&allowed.keys().copied().collect()) {
            wrong.push(format!("{source}: `{module}` is either not in the table of this test or only there"));
        }
        for (file, used) in graph.uses() {
            let (Some(module), Some(other)) = (module_of(file, within), module_of(used, within)) else {
                continue;
            };
            let may_use = allowed.get(module).copied().unwrap_or_default();
            if other != module && !ground.contains(&other) && !may_use.contains(&other) {
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

/// The folder or file directly in the module `within` that a file belongs to.
fn module_of<'a>(file: &'a [String], within: &str) -> Option<&'a str> {
    let inner =
        if within.is_empty() { file } else { file.split_first().filter(|(top, _)| *top == within)?.1 };
    inner.first().map(String::as_str)
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
