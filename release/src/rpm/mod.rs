// SPDX-License-Identifier: Apache-2.0
//! An RPM package in format 4 (<https://rpm.org/docs/latest/manual/format_v4.html>): a lead, a header with digests, a header
//! that describes the package and its files, and a compressed cpio archive.

mod cpio;
mod header;

use xtask::digest::Digest;
use xtask::files::Entry;
use xtask::run::Result;

use self::header::{Header, Value, tag};
use crate::VERSION;
use crate::package::{self, DESCRIPTION, Layout, NAME, RECOMMENDED, SUMMARY};
use crate::payload::{Texts, gzip};
use crate::target::Target;

const LAYOUT: Layout = Layout {
    zsh: "usr/share/zsh/site-functions",
    license: "usr/share/licenses/krs/LICENSE",
    third_party: "usr/share/licenses/krs/THIRD-PARTY-LICENSES",
};
/// Folders that no other package has.
const OWN_FOLDERS: &[&str] = &["usr/share/licenses/krs"];
/// The number of this package of the version.
const RELEASE: &str = "1";
/// `PGPHASHALGO_SHA256`.
const SHA256: u32 = 8;
const SENSE_LESS_OR_EQUAL: u32 = 0xa;
const SENSE_EQUAL: u32 = 8;
/// The requirement is one of rpm itself.
const SENSE_RPMLIB: u32 = 1 << 24;
const FLAG_DOC: u32 = 1 << 1;
const FLAG_LICENSE: u32 = 1 << 7;
/// What of rpm this format uses, and since which version it has that.
const RPMLIB: &[(&str, &str)] = &[
    ("rpmlib(CompressedFileNames)", "3.0.4-1"),
    ("rpmlib(FileDigests)", "4.6.0-1"),
    ("rpmlib(PayloadFilesHavePrefix)", "4.0-1"),
];

impl Target {
    /// As RPM names it.
    const fn rpm_architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// As RPM writes it in what a package provides.
    const fn rpm_isa(self) -> &'static str {
        match self {
            Self::Amd64 => "x86-64",
            Self::Arm64 => "aarch-64",
        }
    }
}

/// As RPM names packages.
pub(crate) fn file_name(target: Target) -> String {
    format!("{NAME}-{VERSION}-{RELEASE}.{}.rpm", target.rpm_architecture())
}

/// A file or folder of the package.
#[derive(Debug)]
struct PackageFile {
    /// From the root, without the slash.
    path: String,
    /// With the type of the file.
    mode: u16,
    content: Vec<u8>,
    flags: u32,
}

pub(crate) fn package(target: Target, binary: &[u8], texts: &Texts, modified: u64) -> Result<Vec<u8>> {
    let files = package_files(binary, texts)?;
    let modified = u32::try_from(modified)?;
    let payload = cpio::archive(&files, modified)?;
    let compressed = gzip(&payload)?;
    let header = describe(target, &files, modified, &Digest::of(&compressed))?.bytes(tag::HEADERIMMUTABLE)?;

    let mut digests = Header::default();
    digests.add(tag::SIG_SHA256, Value::Text(Digest::of(&header).hex().to_owned()));
    digests.add(tag::SIG_SIZE, Value::Int32(vec![u32::try_from(header.len() + compressed.len())?]));
    digests.add(tag::SIG_PAYLOADSIZE, Value::Int32(vec![u32::try_from(payload.len())?]));
    let mut out = lead();
    out.extend(digests.bytes(tag::HEADERSIGNATURES)?);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(header);
    out.extend(compressed);
    Ok(out)
}

fn package_files(binary: &[u8], texts: &Texts) -> Result<Vec<PackageFile>> {
    let all = package::files(binary, texts, &LAYOUT)?;
    let file = |(path, entry): (&str, &Entry)| {
        let flags = match path {
            _ if path.starts_with("usr/share/licenses/krs/") => FLAG_LICENSE,
            _ if path.starts_with("usr/share/man/") => FLAG_DOC,
            _ => 0,
        };
        let (mode, content) = match entry {
            Entry::File(mode, content) => (0o100_000 | mode, content.clone()),
            Entry::Folder(mode) if OWN_FOLDERS.contains(&path) => (0o040_000 | mode, Vec::new()),
            Entry::Folder(_) | Entry::Link(_) => return None,
        };
        Some(PackageFile { path: path.to_owned(), mode: u16::try_from(mode).ok()?, content, flags })
    };
    Ok(all.entries().filter_map(file).collect())
}

/// 96 bytes that only old programs read: today everything is in the headers.
fn lead() -> Vec<u8> {
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1];
    lead.extend(format!("{NAME}-{VERSION}-{RELEASE}").bytes().take(65));
    lead.resize(76, 0);
    // Linux; signatures are in a header.
    lead.extend([0, 1, 0, 5]);
    lead.resize(96, 0);
    lead
}

fn describe(target: Target, files: &[PackageFile], modified: u32, payload: &Digest) -> Result<Header> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut header = Header::default();
    header.add(tag::HEADERI18NTABLE, Value::Texts(vec!["C".to_owned()]));
    header.add(tag::NAME, text(NAME));
    header.add(tag::VERSION, text(VERSION));
    header.add(tag::RELEASE, text(RELEASE));
    header.add(tag::SUMMARY, Value::Translated(SUMMARY.to_owned()));
    header.add(tag::DESCRIPTION, Value::Translated(DESCRIPTION.to_owned()));
    header.add(tag::GROUP, Value::Translated("Unspecified".to_owned()));
    header.add(tag::BUILDTIME, Value::Int32(vec![modified]));
    header.add(tag::BUILDHOST, text("localhost"));
    header.add(tag::LICENSE, text("Apache-2.0"));
    header.add(tag::OS, text("linux"));
    header.add(tag::ARCH, text(target.rpm_architecture()));
    header.add(tag::SOURCERPM, text(&format!("{NAME}-{VERSION}-{RELEASE}.src.rpm")));
    header.add(tag::PAYLOADFORMAT, text("cpio"));
    header.add(tag::PAYLOADCOMPRESSOR, text("gzip"));
    header.add(tag::PAYLOADFLAGS, text("9"));
    header.add(tag::PAYLOADDIGEST, Value::Texts(vec![payload.hex().to_owned()]));
    header.add(tag::PAYLOADDIGESTALGO, Value::Int32(vec![SHA256]));
    add_relations(&mut header, target);
    add_files(&mut header, files, modified)?;
    Ok(header)
}

fn add_relations(header: &mut Header, target: Target) {
    let texts = |texts: &[&str]| Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    let with_isa = format!("{NAME}({})", target.rpm_isa());
    let version = format!("{VERSION}-{RELEASE}");
    header.add(tag::PROVIDENAME, texts(&[NAME, &with_isa]));
    header.add(tag::PROVIDEVERSION, texts(&[&version, &version]));
    header.add(tag::PROVIDEFLAGS, Value::Int32(vec![SENSE_EQUAL; 2]));
    let (names, versions): (Vec<_>, Vec<_>) = RPMLIB.iter().copied().unzip();
    header.add(tag::REQUIRENAME, texts(&names));
    header.add(tag::REQUIREVERSION, texts(&versions));
    header.add(tag::REQUIREFLAGS, Value::Int32(vec![SENSE_RPMLIB | SENSE_LESS_OR_EQUAL; RPMLIB.len()]));
    header.add(tag::RECOMMENDNAME, texts(RECOMMENDED));
    header.add(tag::RECOMMENDVERSION, Value::Texts(vec![String::new(); RECOMMENDED.len()]));
    header.add(tag::RECOMMENDFLAGS, Value::Int32(vec![0; RECOMMENDED.len()]));
}

fn add_files(header: &mut Header, files: &[PackageFile], modified: u32) -> Result<()> {
    let int32 = |number: &dyn Fn(usize, &PackageFile) -> Result<u32>| -> Result<Value> {
        let numbers = files.iter().enumerate().map(|(index, file)| number(index, file));
        Ok(Value::Int32(numbers.collect::<Result<_>>()?))
    };
    let texts = |text: &dyn Fn(&PackageFile) -> String| Value::Texts(files.iter().map(text).collect());
    let folder = |file: &PackageFile| {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("/{folder}/")
    };
    let mut folders = files.iter().map(folder).collect::<Vec<_>>();
    folders.sort();
    folders.dedup();
    let folder_index = |_: usize, file: &PackageFile| {
        let index = folders.binary_search(&folder(file)).map_err(|_| "a folder is not listed")?;
        Ok(u32::try_from(index)?)
    };
    let size = files.iter().map(|file| file.content.len()).sum::<usize>();
    header.add(tag::SIZE, Value::Int32(vec![u32::try_from(size)?]));
    header.add(tag::FILESIZES, int32(&|_, file| Ok(u32::try_from(file.content.len())?))?);
    header.add(tag::FILEMODES, Value::Int16(files.iter().map(|file| file.mode).collect()));
    header.add(tag::FILERDEVS, Value::Int16(vec![0; files.len()]));
    header.add(tag::FILEMTIMES, int32(&|_, _| Ok(modified))?);
    header.add(tag::FILEDIGESTS, texts(&|file| file.digest()));
    header.add(tag::FILELINKTOS, texts(&|_| String::new()));
    header.add(tag::FILEFLAGS, int32(&|_, file| Ok(file.flags))?);
    header.add(tag::FILEUSERNAME, texts(&|_| "root".to_owned()));
    header.add(tag::FILEGROUPNAME, texts(&|_| "root".to_owned()));
    header.add(tag::FILEVERIFYFLAGS, int32(&|_, _| Ok(u32::MAX))?);
    header.add(tag::FILEDEVICES, int32(&|_, _| Ok(1))?);
    header.add(tag::FILEINODES, int32(&|index, _| Ok(u32::try_from(index + 1)?))?);
    header.add(tag::FILELANGS, texts(&|_| String::new()));
    header.add(tag::DIRINDEXES, int32(&folder_index)?);
    header.add(tag::BASENAMES, texts(&|file| file.path.rsplit('/').next().unwrap_or_default().to_owned()));
    header.add(tag::FILEDIGESTALGO, Value::Int32(vec![SHA256]));
    header.add(tag::DIRNAMES, Value::Texts(folders));
    Ok(())
}

impl PackageFile {
    const fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Of its content; folders have none.
    fn digest(&self) -> String {
        if self.is_folder() { String::new() } else { Digest::of(&self.content).hex().to_owned() }
    }
}

#[cfg(test)]
mod tests;
