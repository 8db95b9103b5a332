// SPDX-License-Identifier: Apache-2.0
//! Sets of one name.

use std::collections::BTreeMap;

use crate::set::model::{CheckedSet, LoadedSet, Warning};
use crate::set::rules::rule::SET_DUPLICATE;

/// Warnings about sets with the same name, of which a cluster has only one.
pub(super) fn twins(sets: &[LoadedSet]) -> Vec<Warning> {
    let mut first = BTreeMap::<(Option<&str>, &str), &LoadedSet>::new();
    let mut warnings = Vec::new();
    for loaded in sets {
        let CheckedSet { namespace, name, .. } = &loaded.set;
        let other = *first.entry((namespace.as_deref(), name.as_str())).or_insert(loaded);
        if !std::ptr::eq(other, loaded) {
            let full = namespace.iter().map(|namespace| format!("{namespace}/")).collect::<String>() + name;
            let message = format!(
                "the set {full} is also in {}:{}; the bundle carries the images of both, and a cluster keeps only one of the sets",
                other.file, other.line
            );
            warnings.push(Warning::new(&loaded.file, loaded.line, &message).rule(SET_DUPLICATE));
        }
    }
    warnings
}
