// SPDX-License-Identifier: Apache-2.0
//! Names of ImageBundles. Pure.

use std::collections::BTreeMap;

use krs_core::oci::digest::Digest;

use super::folder::SUFFIX;

/// Longest name: it is the value of a label, too.
const MAX_NAME: usize = 63;
/// Hex digits that tell files apart whose names are the same otherwise.
const HASH: usize = 8;

/// The name for the file at `path` of an importer, where `taken` says which file has which name already; none: it is of
/// another importer.
pub(super) fn name(path: &str, taken: &BTreeMap<String, String>, importer: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let plain = dns(file.strip_suffix(SUFFIX).unwrap_or(file), MAX_NAME);
    match taken.get(&plain) {
        Some(other) if other != path => {
            let hash = Digest::of(format!("{importer}/{path}").as_bytes()).to_string();
            let hash = hash.rsplit(':').next().and_then(|hex| hex.get(..HASH)).unwrap_or_default();
            format!("{}-{hash}", dns(&plain, MAX_NAME - HASH - 1))
        }
        _ => plain,
    }
}

/// Makes labels of lower-case letters, digits and hyphens, joined by dots.
fn dns(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let labels = text.split('.').map(|label| label.chars().map(plain).collect::<String>());
    let labels = labels.map(|label| label.trim_matches('-').to_owned()).filter(|label| !label.is_empty());
    let mut name = labels.collect::<Vec<_>>().join(".");
    name.truncate(most);
    let name = name.trim_end_matches(['-', '.']);
    if name.is_empty() { "bundle".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t40_any_name_of_a_file_becomes_a_name_of_an_object() {
        let none = BTreeMap::new();
        for (path, expected) in [
            ("prod-118.krs.tar", "prod-118"),
            ("usb1/Prod_118 (copy).krs.tar", "prod-118--copy"),
            ("v1.2.krs.tar", "v1.2"),
            ("..-.a-.krs.tar", "a"),
            ("äöü.krs.tar", "bundle"),
        ] {
            assert_eq!(name(path, &none, "krs"), expected);
        }
        assert_eq!(name(&format!("{}.krs.tar", "x".repeat(250)), &none, "krs").len(), MAX_NAME);
    }

    #[test]
    fn two_files_never_share_a_name() {
        let taken = BTreeMap::from([("a".to_owned(), "a.krs.tar".to_owned())]);
        assert_eq!(name("a.krs.tar", &taken, "krs"), "a");
        let other = name("usb1/a.krs.tar", &taken, "krs");
        assert!(other.starts_with("a-") && other.len() == 10, "{other}");
        let foreign = BTreeMap::from([("a".to_owned(), String::new())]);
        let names = ["one", "two"].map(|importer| name("a.krs.tar", &foreign, importer));
        assert!(names[0] != names[1] && names.iter().all(|name| name.len() == 10), "{names:?}");
    }
}
