// SPDX-License-Identifier: Apache-2.0
//! A software bill of materials in CycloneDX 1.6 (<https://cyclonedx.org/docs/1.6/json/>).

use serde_json::{Value, json};

use crate::VERSION;
use crate::build::Program;
use crate::crates::{Crate, Crates, Id};
use crate::target::Target;
use xtask::digest::Digest;
use xtask::run::Result;
use xtask::source::Commit;

pub(crate) fn file_name(program: Program, target: Target) -> String {
    format!("{}-{VERSION}-{target}.cdx.json", program.name())
}

/// The document for one program of one platform. The same crates and the same binary give the same bytes.
pub(crate) fn cyclonedx(
    name: &str,
    target: Target,
    binary: &[u8],
    crates: &Crates,
    commit: &Commit,
) -> Result<Vec<u8>> {
    let digest = Digest::of(binary);
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(digest.hex()),
        "version": 1,
        "metadata": {
            "timestamp": commit.time,
            "tools": {"components": [{"type": "application", "name": "krs-release", "version": VERSION}]},
            "component": {
                "type": "application",
                "bom-ref": purl(&crates.root),
                "name": name,
                "version": VERSION,
                "purl": purl(&crates.root),
                "licenses": [{"expression": "Apache-2.0"}],
                "hashes": [{"alg": "SHA-256", "content": digest.hex()}],
                "properties": [
                    {"name": "krs:commit", "value": commit.revision},
                    {"name": "krs:platform", "value": target.name()},
                ],
            },
        },
    });
    document["components"] = crates.libraries().map(|(id, library)| component(id, library)).collect();
    document["dependencies"] = crates.all.iter().map(|(id, library)| dependency(id, library)).collect();
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

fn component(id: &Id, library: &Crate) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(id),
        "name": id.0,
        "version": id.1,
        "purl": purl(id),
        "scope": "required",
        "licenses": [{"expression": library.license}],
    });
    if let Some(sha256) = &library.sha256 {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    component
}

fn dependency(id: &Id, library: &Crate) -> Value {
    json!({"ref": purl(id), "dependsOn": library.depends_on.iter().map(purl).collect::<Vec<_>>()})
}

/// <https://github.com/package-url/purl-spec>: `+` of build metadata is escaped.
fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// A UUID of version 8 (RFC 9562) that follows from the binary.
fn serial_number(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::collections::BTreeSet;

    use super::*;
    use crate::crates::tests::crates;

    /// What the schema of CycloneDX requires, and what makes the document useful.
    #[test]
    fn the_document_has_all_required_fields_and_every_reference_exists() {
        let commit = Commit {
            revision: "abc".to_owned(),
            time: "2026-01-01T00:00:00Z".to_owned(),
            seconds: 1_767_225_600,
        };
        let make = || cyclonedx("app", Target::Amd64, b"program", &crates("/here"), &commit).unwrap();
        assert_eq!(make(), make());
        let document = serde_json::from_slice::<Value>(&make()).unwrap();
        assert_eq!((&document["bomFormat"], &document["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
        let serial = document["serialNumber"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap();
        assert_eq!(serial.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        let main = &document["metadata"]["component"];
        assert_eq!(main["hashes"][0]["content"], Digest::of(b"program").hex());
        let components = document["components"].as_array().unwrap();
        let mut references = components.iter().chain([main]).map(|component| {
            assert!(component["type"].is_string() && component["name"].is_string(), "{component}");
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
            component["bom-ref"].as_str().unwrap()
        });
        let known = references.by_ref().collect::<BTreeSet<_>>();
        assert_eq!(known, ["pkg:cargo/app@1.0.0", "pkg:cargo/core@1.0.0", "pkg:cargo/dep@2.1.0"].into());
        for dependency in document["dependencies"].as_array().unwrap() {
            let used = dependency["dependsOn"].as_array().unwrap().iter().chain([&dependency["ref"]]);
            assert!(used.into_iter().all(|reference| known.contains(reference.as_str().unwrap())));
        }
        assert_eq!(components[1]["hashes"][0]["content"], "abcd");
        assert_eq!(
            purl(&("zstd-sys".to_owned(), "2.0.16+zstd.1.5.7".to_owned())),
            "pkg:cargo/zstd-sys@2.0.16%2Bzstd.1.5.7"
        );
    }
}
