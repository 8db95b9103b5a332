// SPDX-License-Identifier: Apache-2.0
//! Circles of files: files that cannot be understood, tested or moved without each other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::checkout;
use crate::graph::{Graph, name};
use crate::known::CIRCLES;

#[test]
fn files_use_each_other_in_one_direction_only() {
    let mut wrong = String::new();
    for (source, known) in CIRCLES {
        let graph = Graph::of_crate(&checkout().join(source));
        assert!(graph.files().count() > 20, "{source} was not found");
        let known = known.iter().map(|circle| circle.iter().map(|file| (*file).to_owned()).collect());
        let known = known.collect::<BTreeSet<BTreeSet<String>>>();
        let mut found = BTreeSet::new();
        for circle in graph.circles() {
            let names = circle.iter().map(|file| name(file)).collect();
            if !known.contains(&names) {
                writeln!(wrong, "{source}: a new circle of {} files: &{names:?}", names.len()).unwrap();
                for (file, used) in graph.uses().filter(|(a, b)| circle.contains(a) && circle.contains(b)) {
                    writeln!(wrong, "    {} uses {}", name(file), name(used)).unwrap();
                }
            }
            found.insert(names);
        }
        for gone in known.difference(&found) {
            writeln!(wrong, "{source}: this circle is gone, take it from the list: {gone:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
