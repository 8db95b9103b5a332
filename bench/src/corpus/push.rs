// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask corpus push`: the corpus in a registry. By a foreign program, so that what krs reads there was not
//! written by krs; regctl takes Docker's media types out of a layout, and artifacts, byte for byte.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use xtask::cache::Cache;
use xtask::run::{self, Result, step};

/// Copies every image under its name and tag.
pub(crate) fn push(cache: &Cache, registry: &str, folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let list: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("corpus.json"))?)?;
    step(&format!("push {} images to {registry}", list.len()), || {
        for image in &list {
            let text = |key: &str| image.get(key).and_then(Value::as_str).ok_or("corpus.json is damaged");
            let name = format!("{}:{}", text("name")?, text("tag")?);
            let mut regctl = Command::new(cache.bin().join("regctl"));
            let host = registry.split('/').next().unwrap_or(registry);
            if is_loopback(host) {
                regctl.args(["--host", &format!("reg={host},tls=disabled")]);
            }
            regctl.args(["image", "copy"]);
            regctl.arg(format!("ocidir://{}@{}", folder.display(), text("digest")?));
            run::output(regctl.arg(format!("{registry}/{name}")))?;
            println!("    {name}");
        }
        Ok(())
    })
}

/// Only a registry on this machine may be spoken to without TLS.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
