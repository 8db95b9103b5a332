// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use camino::Utf8Path;
use krs_core::bundle::Bundle;
use krs_core::oci::digest::Digest;
use krs_core::sync::rebuild::{Bundles, Chain, RebuildError, RebuiltLayers};
use krs_core::sync::serve::{ServeOptions, Server, Tls};
use serde::Serialize;

use super::runtime::runtime;
use super::scratch::scratch;
use super::{files, policy, signals};
use crate::args::ServeArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{SCHEMA_VERSION, count, sentence};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    url: String,
    address: String,
    /// What can be pulled, by the names that the sets give at the edge.
    references: Vec<String>,
}

/// `krs serve`
pub(super) fn serve(args: &ServeArgs, console: &Console) -> Result<(), Failure> {
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate: read(certificate)?, key: read(key)? }),
        _ => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let bundle = Arc::new(policy::open(&args.file, &args.volumes, &args.policy, console)?);
    let images = bundle.images()?;
    let (bases, progress) = (files::reusable(&args.base)?, console.progress());
    let scratch = scratch(args.scratch.as_deref(), &bundle)?;
    let rebuilt = Arc::new(RebuiltLayers::new(scratch));
    runtime()?.block_on(async {
        let all = [vec![Arc::clone(&bundle)], bases.clone()].concat();
        rebuilt.make_chain(&chain(&bundle, &all)?, &Bundles(all), &progress).await?;
        let options = ServeOptions { address: args.listen, tls };
        let server = Server::bind(Arc::clone(&bundle), images, (rebuilt, bases), &options).await?;
        let address = server.address().to_string();
        let references = server.references().iter().map(|name| format!("{address}/{name}")).collect();
        let report = Report {
            schema_version: SCHEMA_VERSION,
            url: format!("{scheme}://{address}"),
            address,
            references,
        };
        let stopped = signals::stopped();
        console.result(&report, || text(&report))?;
        let stopped = async {
            stopped.await;
        };
        server.run(stopped).await;
        Ok(())
    })
}

/// How the patches of all bundles make what the first one does not have as it is.
///
/// # Errors
/// Nothing at hand has a layer that its patches read. One that it leaves to the site may be missing.
fn chain(bundle: &Bundle, all: &[Arc<Bundle>]) -> Result<Chain, RebuildError> {
    let is_stored = |layer: &Digest| all.iter().any(|bundle| bundle.blob(layer).is_some());
    let own = bundle.manifest().patches.iter().flat_map(|patch| &patch.layers).map(|layer| layer.digest);
    let own = own.collect::<BTreeSet<_>>();
    let left_out = bundle.manifest().base.iter().flat_map(|base| &base.layers).map(|layer| layer.digest);
    let wanted = own.iter().copied().chain(left_out.filter(|layer| !is_stored(layer))).collect();
    let patches = all.iter().flat_map(|bundle| &bundle.manifest().patches).collect::<Vec<_>>();
    let chain = Chain::new(&patches, &wanted, is_stored);
    let missing = chain.missing.iter().find(|(layer, _)| own.contains(*layer));
    match missing.and_then(|(_, leaves)| leaves.first()) {
        Some(digest) => Err(RebuildError::Missing { digest: *digest }),
        None => Ok(chain),
    }
}

fn text(report: &Report) -> String {
    let images = count(report.references.len() as u64, "image");
    let mut text = sentence(&format!(
        "Serving {images} at {}, read-only; Ctrl-C ends it. To pull, for example:",
        report.url
    ));
    if let Some(reference) = report.references.first() {
        // Commands stay in one line each: people copy them.
        let insecure = if report.url.starts_with("https") { "" } else { " --tls-verify=false" };
        text.push_str(&format!("  podman pull{insecure} {reference}\n"));
        let insecure = if report.url.starts_with("https") { "" } else { " --insecure" };
        text.push_str(&format!("  crane pull{insecure} {reference} image.tar\n"));
    }
    text
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| Failure::usage(format!("cannot read {path}: {e}")))
}
