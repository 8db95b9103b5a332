// SPDX-License-Identifier: Apache-2.0
//! A header: an index of tags, and a store with their values.

use std::collections::BTreeMap;

use xtask::run::Result;

/// Numbers of tags (rpmtag.h).
pub(super) mod tag {
    pub(in crate::rpm) const HEADERSIGNATURES: u32 = 62;
    pub(in crate::rpm) const HEADERIMMUTABLE: u32 = 63;
    pub(in crate::rpm) const HEADERI18NTABLE: u32 = 100;
    pub(in crate::rpm) const SIG_SHA256: u32 = 273;
    pub(in crate::rpm) const SIG_SIZE: u32 = 1000;
    pub(in crate::rpm) const SIG_PAYLOADSIZE: u32 = 1007;
    pub(in crate::rpm) const NAME: u32 = 1000;
    pub(in crate::rpm) const VERSION: u32 = 1001;
    pub(in crate::rpm) const RELEASE: u32 = 1002;
    pub(in crate::rpm) const SUMMARY: u32 = 1004;
    pub(in crate::rpm) const DESCRIPTION: u32 = 1005;
    pub(in crate::rpm) const BUILDTIME: u32 = 1006;
    pub(in crate::rpm) const BUILDHOST: u32 = 1007;
    pub(in crate::rpm) const SIZE: u32 = 1009;
    pub(in crate::rpm) const LICENSE: u32 = 1014;
    pub(in crate::rpm) const GROUP: u32 = 1016;
    pub(in crate::rpm) const OS: u32 = 1021;
    pub(in crate::rpm) const ARCH: u32 = 1022;
    pub(in crate::rpm) const FILESIZES: u32 = 1028;
    pub(in crate::rpm) const FILEMODES: u32 = 1030;
    pub(in crate::rpm) const FILERDEVS: u32 = 1033;
    pub(in crate::rpm) const FILEMTIMES: u32 = 1034;
    pub(in crate::rpm) const FILEDIGESTS: u32 = 1035;
    pub(in crate::rpm) const FILELINKTOS: u32 = 1036;
    pub(in crate::rpm) const FILEFLAGS: u32 = 1037;
    pub(in crate::rpm) const FILEUSERNAME: u32 = 1039;
    pub(in crate::rpm) const FILEGROUPNAME: u32 = 1040;
    pub(in crate::rpm) const SOURCERPM: u32 = 1044;
    pub(in crate::rpm) const FILEVERIFYFLAGS: u32 = 1045;
    pub(in crate::rpm) const PROVIDENAME: u32 = 1047;
    pub(in crate::rpm) const REQUIREFLAGS: u32 = 1048;
    pub(in crate::rpm) const REQUIRENAME: u32 = 1049;
    pub(in crate::rpm) const REQUIREVERSION: u32 = 1050;
    pub(in crate::rpm) const FILEDEVICES: u32 = 1095;
    pub(in crate::rpm) const FILEINODES: u32 = 1096;
    pub(in crate::rpm) const FILELANGS: u32 = 1097;
    pub(in crate::rpm) const PROVIDEFLAGS: u32 = 1112;
    pub(in crate::rpm) const PROVIDEVERSION: u32 = 1113;
    pub(in crate::rpm) const DIRINDEXES: u32 = 1116;
    pub(in crate::rpm) const BASENAMES: u32 = 1117;
    pub(in crate::rpm) const DIRNAMES: u32 = 1118;
    pub(in crate::rpm) const PAYLOADFORMAT: u32 = 1124;
    pub(in crate::rpm) const PAYLOADCOMPRESSOR: u32 = 1125;
    pub(in crate::rpm) const PAYLOADFLAGS: u32 = 1126;
    pub(in crate::rpm) const FILEDIGESTALGO: u32 = 5011;
    pub(in crate::rpm) const RECOMMENDNAME: u32 = 5046;
    pub(in crate::rpm) const RECOMMENDVERSION: u32 = 5047;
    pub(in crate::rpm) const RECOMMENDFLAGS: u32 = 5048;
    pub(in crate::rpm) const PAYLOADDIGEST: u32 = 5092;
    pub(in crate::rpm) const PAYLOADDIGESTALGO: u32 = 5093;
}

/// Bytes of an entry of the index, and of the trailer of a region.
const ENTRY: usize = 16;

/// A value with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Int16(Vec<u16>),
    Int32(Vec<u32>),
    Text(String),
    Texts(Vec<String>),
    /// A text with translations, of which there is one.
    Translated(String),
}

impl Value {
    const fn kind(&self) -> u32 {
        match self {
            Self::Int16(_) => 3,
            Self::Int32(_) => 4,
            Self::Text(_) => 6,
            Self::Texts(_) => 8,
            Self::Translated(_) => 9,
        }
    }

    const fn alignment(&self) -> usize {
        match self {
            Self::Int16(_) => 2,
            Self::Int32(_) => 4,
            Self::Text(_) | Self::Texts(_) | Self::Translated(_) => 1,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Int16(numbers) => numbers.len(),
            Self::Int32(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
            Self::Text(_) | Self::Translated(_) => 1,
        }
    }

    fn write(&self, store: &mut Vec<u8>) {
        let mut text = |text: &String| {
            store.extend(text.bytes());
            store.push(0);
        };
        match self {
            Self::Int16(numbers) => store.extend(numbers.iter().flat_map(|number| number.to_be_bytes())),
            Self::Int32(numbers) => store.extend(numbers.iter().flat_map(|number| number.to_be_bytes())),
            Self::Text(one) | Self::Translated(one) => text(one),
            Self::Texts(texts) => texts.iter().for_each(text),
        }
    }
}

/// Values by tag.
#[derive(Debug, Default)]
pub(super) struct Header(BTreeMap<u32, Value>);

impl Header {
    pub(super) fn add(&mut self, tag: u32, value: Value) {
        self.0.insert(tag, value);
    }

    /// The header, of which everything belongs to the region `region`: what digests and signatures are of.
    pub(super) fn bytes(&self, region: u32) -> Result<Vec<u8>> {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        for (tag, value) in &self.0 {
            store.resize(store.len().next_multiple_of(value.alignment()), 0);
            index.extend(entry(*tag, value.kind(), u32::try_from(store.len())?, value.count())?);
            value.write(&mut store);
        }
        const BINARY: u32 = 7;
        let entries = self.0.len() + 1;
        // The trailer says how far before itself the index begins.
        let first = entry(region, BINARY, u32::try_from(store.len())?, ENTRY)?;
        let before = i32::try_from(entries * ENTRY)?.wrapping_neg();
        store.extend(entry(region, BINARY, u32::from_be_bytes(before.to_be_bytes()), ENTRY)?);

        let mut out = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        out.extend(u32::try_from(entries)?.to_be_bytes());
        out.extend(u32::try_from(store.len())?.to_be_bytes());
        out.extend(first);
        out.extend(index);
        out.extend(store);
        Ok(out)
    }
}

fn entry(tag: u32, kind: u32, offset: u32, count: usize) -> Result<Vec<u8>> {
    Ok([tag, kind, offset, u32::try_from(count)?].into_iter().flat_map(u32::to_be_bytes).collect())
}
