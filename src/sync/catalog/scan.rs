// SPDX-License-Identifier: Apache-2.0
//! Reads a catalog in two steps, for questions about all of it: first which bundles and images each line has, then the
//! layers of the few lines that matter. A catalog of years is larger than memory may be, and most of it is layers.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};

use camino::Utf8Path;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::confirmation::Confirmation;
use super::error::CatalogError;
use super::file::{LinePosition, Lines};
use super::record::{Record, SentBundle};
use crate::bundle::StreamName;
use crate::format::is_supported;
use crate::json::JsonError;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// What a line says, without layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineSummary {
    /// A bundle went out, and these are its images.
    Bundle(BundleLine, Vec<ImageLine>),
    /// A site has imported a bundle.
    Confirmation(Confirmation),
}

/// A bundle, by what decides who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleLine {
    /// Sites that the bundle is meant for; empty: any.
    pub audience: Vec<String>,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Digest of the bundle's manifest.
    pub digest: Digest,
    /// Name of the file.
    pub file: String,
    /// Where its layers are read.
    pub position: LinePosition,
    /// When the line was written.
    pub sent_at: Timestamp,
    /// Its number in the stream.
    pub sequence: u64,
    /// The stream.
    pub stream: StreamName,
}

/// An image of a bundle, by what decides its layers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImageLine {
    /// The top manifest or index.
    pub digest: Digest,
    /// Platforms of the image that the bundle has; empty: all.
    #[serde(default)]
    pub platforms: Vec<Platform>,
}

/// The blobs of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleLayers {
    /// The images.
    pub images: Vec<LayersOfImage>,
    /// Each layer once, with its bytes.
    pub layers: Vec<(Digest, u64)>,
    /// Bytes of indexes, manifests and configs.
    pub other_bytes: u64,
}

/// An image and its layers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LayersOfImage {
    /// The top manifest or index.
    pub digest: Digest,
    /// Positions in [`BundleLayers::layers`].
    pub layers: Vec<u32>,
    /// Platforms of the image that the bundle has; empty: all.
    #[serde(default)]
    pub platforms: Vec<Platform>,
    /// The reference of the sets.
    pub reference: Reference,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Bundle,
    Confirmation,
}

/// The fields of a line of either kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(default)]
    audience: Vec<String>,
    bytes: Option<u64>,
    digest: Digest,
    #[serde(borrow)]
    file: Option<Cow<'a, str>>,
    format_version: u32,
    images: Option<Vec<ImageLine>>,
    kind: Kind,
    sent_at: Option<Timestamp>,
    sequence: u64,
    stream: StreamName,
}

/// Calls `each` for every line of a catalog, in its order.
///
/// # Errors
/// [`CatalogError::Read`]. What is wrong with one line is given to `each`.
pub fn summarize(
    path: &Utf8Path,
    mut each: impl FnMut(LinePosition, Result<LineSummary, CatalogError>),
) -> Result<(), CatalogError> {
    let mut lines = Lines::open(path)?;
    let mut bytes = Vec::new();
    let cannot = |source| CatalogError::Read { path: path.to_owned(), source };
    while let Some((position, line)) = lines.next_line(&mut bytes).map_err(cannot)? {
        each(position, line.and_then(|()| summary(&bytes, position)));
    }
    Ok(())
}

fn summary(line: &[u8], position: LinePosition) -> Result<LineSummary, CatalogError> {
    // Only where it fails the line is read in full: for the reason, and to distinguish a later version from damage.
    let fields = serde_json::from_slice::<Fields<'_>>(line).map_err(|error| match Record::parse(line) {
        Err(reason) => reason,
        Ok(_) => JsonError::from(error).into(),
    })?;
    if !is_supported(fields.format_version) {
        return Err(CatalogError::Version(fields.format_version));
    }
    let absent = |name: &str| CatalogError::Inconsistent(format!("`{name}` is absent"));
    if matches!(fields.kind, Kind::Confirmation) {
        return match Record::parse(line)? {
            Record::Confirmation(confirmation) => Ok(LineSummary::Confirmation(confirmation)),
            Record::Bundle(_) => Err(absent("confirmation")),
        };
    }
    let bundle = BundleLine {
        audience: fields.audience,
        bytes: fields.bytes.ok_or_else(|| absent("bytes"))?,
        digest: fields.digest,
        file: fields.file.ok_or_else(|| absent("file"))?.into_owned(),
        position,
        sent_at: fields.sent_at.ok_or_else(|| absent("sentAt"))?,
        sequence: fields.sequence,
        stream: fields.stream,
    };
    Ok(LineSummary::Bundle(bundle, fields.images.ok_or_else(|| absent("images"))?))
}

/// Reads the blobs of the bundle at a position that [`summarize`] gave.
///
/// # Errors
/// [`CatalogError`]: the file was changed since, or the line contradicts itself.
pub fn read_layers(path: &Utf8Path, position: LinePosition) -> Result<BundleLayers, CatalogError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        images: Vec<LayersOfImage>,
        layers: Vec<(Digest, u64)>,
        other_blobs: Vec<(IgnoredAny, u64)>,
    }
    let fields = serde_json::from_slice::<Fields>(&read_line(path, position)?).map_err(JsonError::from)?;
    let is_known = |layer: &u32| (*layer as usize) < fields.layers.len();
    if let Some(image) = fields.images.iter().find(|image| !image.layers.iter().all(is_known)) {
        return Err(CatalogError::Inconsistent(format!(
            "{} has a layer that is not listed",
            image.reference
        )));
    }
    Ok(BundleLayers {
        images: fields.images,
        layers: fields.layers,
        other_bytes: fields.other_blobs.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size)),
    })
}

/// Reads the bundle at a position that [`summarize`] gave, strictly.
///
/// # Errors
/// [`CatalogError`]: the file was changed since, or the line is not a valid record of a bundle.
pub fn read_bundle(path: &Utf8Path, position: LinePosition) -> Result<SentBundle, CatalogError> {
    match Record::parse(&read_line(path, position)?)? {
        Record::Bundle(bundle) => Ok(bundle),
        Record::Confirmation(_) => {
            Err(CatalogError::Inconsistent("the line is not a bundle any more".to_owned()))
        }
    }
}

fn read_line(path: &Utf8Path, position: LinePosition) -> Result<Vec<u8>, CatalogError> {
    let cannot = |source| CatalogError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(cannot)?;
    file.seek(SeekFrom::Start(position.offset)).map_err(cannot)?;
    let mut bytes = Vec::new();
    let next = Lines::new(BufReader::with_capacity(1 << 20, file)).next_line(&mut bytes).map_err(cannot)?;
    let (_, line) = next.ok_or_else(|| cannot(io::ErrorKind::UnexpectedEof.into()))?;
    line.map(|()| bytes)
}
