// SPDX-License-Identifier: Apache-2.0
//! `krs receipt --from-cluster` and `--short`: what the importer keeps, and what confirms one bundle.

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::sign::PublicKey;
use krs_core::error::{ErrorKind, list};
use krs_core::format::FORMAT_VERSION;
use krs_core::oci::reference::Destination;
use krs_core::sync::receipt::{
    ClusterReceipt, ImporterLocation, Receipt, ShortReceipt, ShortReceiptContent, SiteKey, SiteKeys,
    SiteReceipt, read_from_cluster,
};
use serde::Serialize;

use super::{files, keys};
use crate::args::{QrTarget, ReceiptArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::qr::Qr;
use crate::report::{SCHEMA_VERSION, count};

/// A receipt of the cluster, for a person.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    schema_version: u32,
    file: &'a Utf8Path,
    site: &'a str,
    created_at: Timestamp,
    images: usize,
    awaited: usize,
    imported: usize,
    refused: usize,
    key: String,
}

/// `krs receipt --from-cluster`
pub(super) fn from_cluster(args: &ReceiptArgs, console: &Console) -> Result<(), Failure> {
    let context = args.from_cluster.clone().filter(|context| !context.is_empty());
    let location = ImporterLocation { context, namespace: args.namespace.clone() };
    let found = read_from_cluster(&location)?;
    let receipt = SiteReceipt::parse(&found.json)?;
    // What was damaged on the way is not carried to the other side. Who made it is verified there.
    let key = PublicKey::parse(&found.public_key, "site.pub")?;
    let keys = SiteKeys(vec![SiteKey { site: None, key: key.clone() }]);
    keys.check_file(&found.json, &receipt.site, Some(found.signature.as_bytes()))?;
    if args.short {
        return show(&chosen(&found, args)?, args, console);
    }
    let Some(file) = &args.file else {
        return console.print(&String::from_utf8_lossy(&found.json));
    };
    // The signature first: a receipt that is there has one.
    let signature = Utf8PathBuf::from(format!("{file}.minisig"));
    files::replace(&signature, found.signature.as_bytes())?;
    files::replace(file, &found.json)?;
    let report = Report {
        schema_version: SCHEMA_VERSION,
        file,
        site: receipt.site.as_str(),
        created_at: receipt.created_at,
        images: receipt.roots().count(),
        awaited: receipt.awaited.len(),
        imported: receipt.imported.len(),
        refused: receipt.refused.len(),
        key: key.id().to_string(),
    };
    console.result(&report, || {
        let Report { site, created_at, images, awaited, key, .. } = &report;
        format!(
            "site {site} has {} and awaits {awaited} ({created_at}); written to {file} and {file}.minisig, signed by key {key}\n",
            count(*images as u64, "image")
        )
    })
}

/// The short receipts of the importer that the call wants.
fn chosen(found: &ClusterReceipt, args: &ReceiptArgs) -> Result<Vec<ShortReceipt>, Failure> {
    let all = if found.short.trim().is_empty() { Vec::new() } else { ShortReceipt::parse_all(&found.short)? };
    let is_wanted = |receipt: &ShortReceipt| {
        args.stream.as_ref().is_none_or(|stream| receipt.content().stream == *stream)
    };
    let chosen = all.into_iter().filter(is_wanted).collect::<Vec<_>>();
    if chosen.is_empty() {
        let of = args.stream.as_ref().map(|stream| format!(" of stream {stream}")).unwrap_or_default();
        return Err(Failure::new(ErrorKind::Incomplete, format!("the site has imported no bundle{of} yet"))
            .help("kubectl get imagebundles shows what it waits for"));
    }
    Ok(chosen)
}

/// The bundle of the call, which a short receipt is about; `None`: none is made.
///
/// # Errors
/// It is not one bundle, or there is no key.
pub(super) fn check(args: &ReceiptArgs) -> Result<(), Failure> {
    if !args.short {
        return Ok(());
    }
    args.site_name().map_err(Failure::usage)?;
    if args.key.is_none() {
        return Err(
            Failure::usage("a short receipt is signed").help("name the secret key of the site with --key")
        );
    }
    match args.sets.as_slice() {
        [one] if files::is_bundle(one) => Ok(()),
        _ => Err(Failure::usage("a short receipt confirms one bundle").help("name its file with --set")),
    }
}

/// Confirms a bundle that the registry was found to have.
///
/// # Errors
/// An image of it is not there.
pub(super) fn of_registry(
    receipt: &Receipt,
    destination: &Destination,
    args: &ReceiptArgs,
    console: &Console,
) -> Result<(), Failure> {
    let (Some(file), Some(key)) = (args.sets.first(), &args.key) else { return Ok(()) };
    let bundle = files::open_anyones(file, &[])?;
    let manifest = bundle.manifest();
    let digest = |reference: &str| {
        let image = manifest.images.iter().find(|image| image.reference.to_string() == reference);
        image.map(|image| image.digest)
    };
    let mut absent = Vec::new();
    for image in bundle.sets().iter().flat_map(|set| &set.images) {
        let name = destination.repository(&image.repository).map_err(|e| Failure::usage(e.to_string()))?;
        let in_registry = receipt.repositories.iter().find(|repository| repository.name == name);
        let has = |digest| in_registry.is_some_and(|of| of.manifests.binary_search(&digest).is_ok());
        if !digest(&image.reference.to_string()).is_some_and(has) {
            absent.push(image.reference.to_string());
        }
    }
    absent.sort_unstable();
    absent.dedup();
    if !absent.is_empty() {
        let message = format!(
            "{} does not have {} of the bundle, so that it cannot be confirmed{}",
            receipt.registry,
            count(absent.len() as u64, "image"),
            list(&absent, "  ")
        );
        return Err(Failure::new(ErrorKind::Incomplete, message)
            .help(format!("push it first: krs push {file} {}", receipt.registry)));
    }
    let content = ShortReceiptContent {
        site: args.site_name().map_err(Failure::usage)?,
        stream: manifest.stream.clone(),
        sequence: manifest.sequence,
        digest: bundle.digest(),
        created_at: receipt.created_at,
        reads: FORMAT_VERSION,
    };
    let key = keys::secret_key(key, &args.passphrase, &[], console)?;
    show(&[ShortReceipt::sign(content, &key)?], args, console)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    schema_version: u32,
    receipts: Vec<ShownReceipt>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownReceipt {
    text: String,
    site: String,
    stream: String,
    sequence: u64,
    created_at: Timestamp,
}

fn show(receipts: &[ShortReceipt], args: &ReceiptArgs, console: &Console) -> Result<(), Failure> {
    let lines = receipts.iter().map(|receipt| format!("{receipt}\n")).collect::<String>();
    let qr = |text: &str| {
        Qr::new(text.trim_end()).map_err(|error| {
            Failure::usage(format!("a QR code cannot be made: {error}"))
                .help("choose one stream with --stream")
        })
    };
    match &args.qr {
        None | Some(QrTarget::Terminal) => {}
        Some(QrTarget::Svg(file)) => files::replace(file, qr(&lines)?.svg().as_bytes())?,
        Some(QrTarget::Png(file)) => {
            let picture = qr(&lines)?.png().map_err(|error| Failure::other(error.to_string()))?;
            files::replace(file, &picture)?;
        }
    }
    if let Some(file) = &args.file {
        files::replace(file, lines.as_bytes())?;
    }
    let codes = match &args.qr {
        Some(QrTarget::Terminal) => receipts
            .iter()
            .map(|one| Ok(qr(&one.to_string())?.terminal()))
            .collect::<Result<String, Failure>>()?,
        _ => String::new(),
    };
    let shown = receipts.iter().map(|receipt| {
        let ShortReceiptContent { site, stream, sequence, created_at, .. } = receipt.content();
        ShownReceipt {
            text: receipt.to_string(),
            site: site.to_string(),
            stream: stream.to_string(),
            sequence: *sequence,
            created_at: *created_at,
        }
    });
    let shown = Shown { schema_version: SCHEMA_VERSION, receipts: shown.collect() };
    console.result(&shown, || format!("{codes}{lines}"))
}
