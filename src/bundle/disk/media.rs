// SPDX-License-Identifier: Apache-2.0
//! Reading from the media and not from memory. Content that was just written is in the page cache of the kernel, and a
//! check that reads it there accepts a drive that has stored nothing.

use std::fs::File;
use std::io;

use camino::Utf8Path;

/// Where the next reads come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the media: the page cache holds none of them.
    Media,
    /// Possibly from memory.
    PerhapsMemory {
        /// Why, as part of a sentence.
        reason: String,
    },
}

impl ReadFrom {
    /// The result for several files: the first one that may be read from memory decides.
    pub(in crate::bundle) fn and(self, next: impl FnOnce() -> io::Result<Self>) -> io::Result<Self> {
        match self {
            Self::Media => next(),
            perhaps @ Self::PerhapsMemory { .. } => next().map(|_| perhaps),
        }
    }
}

/// How often the kernel is told to drop the pages of a file, with a growing pause. Testing whether a page is in memory
/// makes the kernel read ahead, and succeeds if a fast drive finishes that in time.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ATTEMPTS: u32 = 5;
#[cfg(any(target_os = "linux", target_os = "android"))]
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Syncs a file to its media, and tells the kernel to drop its cached pages.
///
/// # Errors
/// The written data did not reach the media.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::bundle) fn drop_cached(file: &File, path: &Utf8Path) -> io::Result<ReadFrom> {
    use rustix::fs::{Advice, fadvise};

    match file.sync_data() {
        // The file system is read-only or does not support it.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
        synced => synced?,
    }
    let perhaps = |reason: String| Ok(ReadFrom::PerhapsMemory { reason });
    let kind = rustix::fs::fstatfs(file).ok().map(|found| found.f_type);
    for attempt in 0..ATTEMPTS {
        std::thread::sleep(PAUSE * attempt);
        if let Err(error) = fadvise(file, 0, None, Advice::DontNeed) {
            return perhaps(format!("the kernel keeps {path} in memory: {}", io::Error::from(error)));
        }
        if let Some(reason) = kind.and_then(keeps_in_memory) {
            return perhaps(format!("{path} is in {reason}"));
        }
        if !is_cached(file)? {
            return Ok(ReadFrom::Media);
        }
    }
    perhaps(format!("the kernel keeps parts of {path} in memory: another program may use it"))
}

/// The standard library cannot do it on this system.
///
/// # Errors
/// None.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(in crate::bundle) fn drop_cached(_: &File, _: &Utf8Path) -> io::Result<ReadFrom> {
    Ok(ReadFrom::PerhapsMemory { reason: "this system does not say what it keeps in memory".to_owned() })
}

/// File systems behind which something else may keep the content in memory, by their number in `statfs(2)`
/// (`linux/magic.h`).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn keeps_in_memory(kind: impl TryInto<i64>) -> Option<&'static str> {
    match kind.try_into().ok()? {
        0x0102_1994 | 0x8584_58f6 => Some("a file system in memory"),
        0x6573_5546 => Some("a file system in user space (FUSE), whose program may keep it in memory"),
        0x6969 | 0xfe53_4d42 | 0xff53_4d42 | 0x517b | 0x0102_1997 => {
            Some("a network file system, whose server may have it in memory")
        }
        _ => None,
    }
}

/// Whether some of the file is in the page cache. Tests a few offsets, far enough from each other that read-ahead for one
/// does not affect the next.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_cached(file: &File) -> io::Result<bool> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    const SAMPLES: u64 = 16;
    const LEAST_STEP: u64 = 16 << 20;
    let size = file.metadata()?.len();
    let step = (size / SAMPLES).max(LEAST_STEP);
    let mut byte = [0; 1];
    let mut at = 0;
    while at < size {
        let mut buf = [io::IoSliceMut::new(&mut byte)];
        match preadv2(file, &mut buf, at, ReadWriteFlags::NOWAIT) {
            Ok(read) if read > 0 => return Ok(true),
            // The read would have to wait for the media. If a file system cannot tell, `fadvise` must suffice.
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        at = at.saturating_add(step);
    }
    Ok(false)
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t213_what_was_just_written_is_dropped_from_memory_before_it_is_read_back() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("b");
        std::fs::write(&path, vec![7; 40 << 20]).unwrap();
        let file = File::open(&path).unwrap();
        assert!(is_cached(&file).unwrap(), "it was written just now");
        match drop_cached(&file, &path).unwrap() {
            ReadFrom::Media => assert!(!is_cached(&file).unwrap()),
            // The checkout is on a file system of one of these kinds.
            ReadFrom::PerhapsMemory { reason } => assert!(reason.contains("file system"), "{reason}"),
        }
    }

    #[test]
    fn file_systems_that_may_answer_from_memory_are_known_by_their_numbers() {
        for (kind, word) in [(0x0102_1994, "in memory"), (0x6573_5546, "FUSE"), (0x6969, "network")] {
            assert!(keeps_in_memory(kind).unwrap().contains(word));
        }
        for (name, kind) in [("ext4", 0xef53), ("FAT", 0x4d44), ("exFAT", 0x2011_bab0), ("XFS", 0x5846_5342)]
        {
            assert_eq!(keeps_in_memory(kind), None, "{name}");
        }
    }
}
