// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask corpus push`: the corpus in a registry.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::run::{self, Result, step};

/// Copies every image under its name and tag.
pub(crate) fn push(registry: &str, folder: &Path) -> Result<()> {
    let list: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("corpus.json"))?)?;
    step(&format!("push {} images to {registry}", list.len()), || {
        for image in &list {
            let text = |key: &str| image.get(key).and_then(Value::as_str).ok_or("corpus.json is damaged");
            let name = format!("{}:{}", text("name")?, text("tag")?);
            let mut skopeo = Command::new("skopeo");
            skopeo.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
            if is_loopback(registry) {
                skopeo.arg("--dest-tls-verify=false");
            }
            skopeo.arg(format!("oci:{}:{name}", folder.display()));
            run::output(skopeo.arg(format!("docker://{registry}/{name}")))?;
            println!("    {name}");
        }
        Ok(())
    })
}

/// Only a registry on this machine may be spoken to without TLS.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}
