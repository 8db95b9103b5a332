// SPDX-License-Identifier: Apache-2.0
//! Volumes: byte ranges of one archive as files `NAME.krs.tar.001`, `.002`, ... `cat` joins them. `NAME.krs.json` beside
//! them lists the digest of each, so that each drive can be checked alone.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ManifestError;
use super::stream::StreamName;
use crate::format;
use crate::json::{self, JsonError};
use crate::oci::digest::Digest;

/// Most volumes of one bundle.
pub const MAX_VOLUMES: u64 = 9999;
/// Largest `NAME.krs.json`, in bytes.
pub(in crate::bundle) const MAX_LIST: usize = 4 << 20;
/// Most entries of one folder that are read.
const MAX_ENTRIES: usize = 100_000;
/// What the name of a bundle ends with.
const SUFFIX: &str = ".tar";

/// `NAME.krs.json`: the volumes of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeList {
    /// Digest of `krs/bundle.json`.
    pub bundle: Digest,
    /// When the content was decided.
    pub created_at: Timestamp,
    /// The version of the format of the bundle that was split.
    pub format_version: u32,
    /// The bundle's sequence.
    pub sequence: u64,
    /// Bytes of all volumes together.
    pub size: u64,
    /// The bundle's stream.
    pub stream: StreamName,
    /// Bytes of each volume but the last.
    pub volume_size: u64,
    /// The volumes, in their order.
    pub volumes: Vec<Volume>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// SHA-256 of the volume's file.
    pub digest: Digest,
    /// Name of the volume's file, without a folder.
    pub name: String,
    /// Size of the volume's file, in bytes.
    pub size: u64,
}

impl VolumeList {
    /// Reads `NAME.krs.json`, strictly.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let version = format::stated_version(bytes, MAX_LIST)?;
        if !format::is_supported(version) {
            return Err(ManifestError::Version(version));
        }
        let list = serde_json::from_slice::<Self>(bytes).map_err(JsonError::from)?;
        let bad = |what: &str| Err(ManifestError::Inconsistent(what.to_owned()));
        if list.volume_size == 0 || list.volumes.len() as u64 != count(list.size, list.volume_size) {
            return bad("the number of volumes does not fit their sizes");
        }
        let sizes = (1..).map(|n| size_of(n, list.size, list.volume_size));
        if !list.volumes.iter().zip(sizes).all(|(volume, size)| volume.size == size) {
            return bad("a volume does not have the size that follows from the others");
        }
        Ok(list)
    }

    /// The content of `NAME.krs.json`.
    ///
    /// # Errors
    /// None in practice: every field can be expressed in JSON.
    pub fn encode(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }
}

/// How many volumes of `volume_size` bytes (at least 1) an archive of `size` bytes has.
pub(in crate::bundle) const fn count(size: u64, volume_size: u64) -> u64 {
    let full = size.div_ceil(if volume_size == 0 { 1 } else { volume_size });
    if full == 0 { 1 } else { full }
}

/// Bytes of volume `n`, counted from 1.
pub(in crate::bundle) fn size_of(n: u64, size: u64, volume_size: u64) -> u64 {
    let start = n.saturating_sub(1).saturating_mul(volume_size);
    size.saturating_sub(start).min(volume_size)
}

/// The file of volume `n`.
pub(in crate::bundle) fn path(archive: &Utf8Path, n: u64) -> Utf8PathBuf {
    format!("{archive}.{n:03}").into()
}

/// The list of the volumes of an archive.
pub fn list_path(archive: &Utf8Path) -> Utf8PathBuf {
    let name = archive.as_str();
    match name.strip_suffix(".TAR") {
        Some(stem) => format!("{stem}.JSON").into(),
        None => format!("{}.json", name.strip_suffix(SUFFIX).unwrap_or(name)).into(),
    }
}

/// The archive that a file is a volume of, and the volume's number: `prod.krs.tar.002` gives `prod.krs.tar` and 2.
pub fn volume_of(path: &Utf8Path) -> Option<(Utf8PathBuf, u64)> {
    let (archive, number) = path.as_str().rsplit_once('.')?;
    let digits = number.len() >= 3 && number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse::<u64>().ok().filter(|n| digits && (1..=MAX_VOLUMES).contains(n))?;
    is_named(archive, SUFFIX).then(|| (archive.into(), number))
}

/// Whether a file has the name of an archive.
pub(in crate::bundle) fn is_archive(path: &Utf8Path) -> bool {
    is_named(path.as_str(), ".krs.tar")
}

/// Whether a name ends with `suffix`, even if a file system has changed it to upper case.
fn is_named(name: &str, suffix: &str) -> bool {
    let end = name.len().checked_sub(suffix.len()).and_then(|at| name.get(at..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// Whether a file has the number of a volume but not its full name, such as `prod (1).krs.001`.
pub(in crate::bundle) fn is_renamed(path: &Utf8Path) -> bool {
    let is_number = |end: &str| (3..=4).contains(&end.len()) && end.bytes().all(|b| b.is_ascii_digit());
    path.extension().is_some_and(is_number) && volume_of(path).is_none()
}

/// The archive that `path` names: the archive itself, one of its volumes, or the list of its volumes.
pub fn archive_of(path: &Utf8Path) -> Utf8PathBuf {
    if let Some((archive, _)) = volume_of(path) {
        return archive;
    }
    let name = path.as_str();
    if !is_named(name, ".krs.json") {
        return path.to_owned();
    }
    let stem = name.get(..name.len() - ".json".len()).unwrap_or(name);
    let is_upper = name.ends_with("JSON");
    format!("{stem}{}", if is_upper { ".TAR" } else { SUFFIX }).into()
}

/// The volumes of `archive` in its own folder and in `folders`, by number. If one is there twice, the first counts.
pub(in crate::bundle) fn find(archive: &Utf8Path, folders: &[Utf8PathBuf]) -> BTreeMap<u64, Utf8PathBuf> {
    let mut found = BTreeMap::new();
    let Some(name) = archive.file_name() else { return found };
    for path in folders_of(archive, folders).flat_map(files) {
        if let Some((of, n)) = path.file_name().and_then(|file| volume_of(Utf8Path::new(file)))
            && of.as_str() == name
        {
            found.entry(n).or_insert(path);
        }
    }
    found
}

/// The folder of `archive`, and `folders`.
pub(in crate::bundle) fn folders_of<'a>(
    archive: &'a Utf8Path,
    folders: &'a [Utf8PathBuf],
) -> impl Iterator<Item = &'a Utf8Path> {
    let own = archive.parent().filter(|own| !own.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    std::iter::once(own).chain(folders.iter().map(Utf8PathBuf::as_path))
}

/// What a folder holds; in the working directory by the names alone.
pub(in crate::bundle) fn files(folder: &Utf8Path) -> impl Iterator<Item = Utf8PathBuf> {
    let entries = folder.read_dir_utf8().into_iter().flatten().take(MAX_ENTRIES).map_while(Result::ok);
    let prefix = if folder == "." { Utf8Path::new("") } else { folder };
    entries.map(|entry| prefix.join(entry.file_name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_lead_from_the_archive_to_its_volumes_and_back() {
        let archive = Utf8Path::new("/usb/prod-118.krs.tar");
        assert_eq!(path(archive, 7), "/usb/prod-118.krs.tar.007");
        assert_eq!(path(archive, 1234), "/usb/prod-118.krs.tar.1234");
        assert_eq!(list_path(archive), "/usb/prod-118.krs.json");
        for name in ["prod-118.krs.tar", "prod-118.krs.tar.002", "prod-118.krs.json"] {
            assert_eq!(archive_of(&Utf8Path::new("/usb").join(name)), archive);
        }
        let upper = Utf8Path::new("/usb/PROD.KRS.TAR");
        for name in ["PROD.KRS.TAR", "PROD.KRS.TAR.002", "PROD.KRS.JSON"] {
            assert_eq!(archive_of(&Utf8Path::new("/usb").join(name)), upper);
        }
        assert_eq!(list_path(upper), "/usb/PROD.KRS.JSON");
        for (name, renamed) in [
            ("prod (1).krs.001", true),
            ("prod.krs.tar.001", false),
            ("PROD.KRS.TAR.001", false),
            ("a.zip", false),
        ] {
            assert_eq!(is_renamed(Utf8Path::new(name)), renamed, "{name}");
        }
        for other in ["a.krs.tar.part", "a.krs.tar.01", "a.krs.tar.000", "a.zip.001", "a.krs.tar.00001"] {
            assert_eq!(volume_of(Utf8Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn sizes_of_volumes_follow_from_the_archive() {
        assert_eq!((count(10, 4), count(8, 4), count(1, 4)), (3, 2, 1));
        assert_eq!((1..=4).map(|n| size_of(n, 10, 4)).collect::<Vec<_>>(), [4, 4, 2, 0]);
    }

    #[test]
    fn t33_a_list_that_contradicts_itself_is_refused() {
        let volume =
            |n: u64, size| Volume { digest: Digest::of(&[0]), name: format!("a.krs.tar.{n:03}"), size };
        let list = VolumeList {
            bundle: Digest::of(b""),
            created_at: "2026-11-24T04:00:00Z".parse().unwrap(),
            format_version: format::FIRST_VERSION,
            sequence: 1,
            size: 10,
            stream: StreamName::default(),
            volume_size: 4,
            volumes: vec![volume(1, 4), volume(2, 4), volume(3, 2)],
        };
        let read = |list: &VolumeList| VolumeList::parse(&list.encode().unwrap());
        assert_eq!(read(&list).unwrap(), list);
        assert!(json::is_canonical(&list.encode().unwrap()));
        for wrong in [
            VolumeList { volume_size: 0, ..list.clone() },
            VolumeList { size: 13, ..list.clone() },
            VolumeList { volumes: vec![volume(1, 4), volume(2, 2), volume(3, 4)], ..list.clone() },
        ] {
            assert!(matches!(read(&wrong), Err(ManifestError::Inconsistent(_))));
        }
    }
}
