// SPDX-License-Identifier: Apache-2.0
//! What a Linux program needs to start: the headers of its ELF file.

use std::error::Error;
use std::fmt;

/// `e_ident` of a 64-bit little-endian file.
const IDENT: &[u8] = b"\x7fELF\x02\x01\x01";
/// A file with more program headers, or more entries in its dynamic section, is damaged.
const MAX_HEADERS: usize = 64;
const MAX_DYNAMIC: usize = 4096;
/// The longest name of a library.
const MAX_NAME: usize = 255;

/// A part of the file that is loaded.
const PT_LOAD: u64 = 1;
/// The dynamic section.
const PT_DYNAMIC: u64 = 2;
/// The path of a dynamic loader.
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Why a file cannot be used as a program or library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfProblem {
    /// No 64-bit little-endian ELF file, or a damaged one.
    NotElf,
    /// For another machine: expected and found.
    Machine(u16, u16),
    /// It needs a dynamic loader and libraries.
    Dynamic,
}

impl fmt::Display for ElfProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("it is no valid 64-bit ELF file"),
            Self::Machine(expected, found) => {
                write!(f, "it is for ELF machine {found}, expected machine {expected}")
            }
            Self::Dynamic => f.write_str("it needs a dynamic loader, expected a static program"),
        }
    }
}

impl Error for ElfProblem {}

/// What a program or a library states about how it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// `e_machine`.
    pub machine: u16,
    /// The path of its dynamic loader; a static program, and most libraries, have none.
    pub loader: Option<String>,
    /// The names of the libraries that it is linked to.
    pub needed: Vec<String>,
}

impl Elf {
    /// Reads the headers of a file.
    pub fn parse(file: &[u8]) -> Result<Self, ElfProblem> {
        let file = File(file);
        if !file.0.starts_with(IDENT) {
            return Err(ElfProblem::NotElf);
        }
        let machine = u16::try_from(file.number(18, 2)?).map_err(|_| ElfProblem::NotElf)?;
        let segments = file.segments()?;
        let find = |kind: u64| segments.iter().find(|segment| segment.kind == kind);
        let loader = find(PT_INTERP).map(|segment| file.text(segment.offset)).transpose()?;
        let needed = match find(PT_DYNAMIC) {
            Some(dynamic) => file.needed(dynamic, &segments)?,
            None => Vec::new(),
        };
        Ok(Self { machine, loader, needed })
    }

    /// Accepts a static program for a machine.
    pub fn require_static(&self, machine: u16) -> Result<(), ElfProblem> {
        if self.machine != machine {
            return Err(ElfProblem::Machine(machine, self.machine));
        }
        if self.loader.is_some() || !self.needed.is_empty() {
            return Err(ElfProblem::Dynamic);
        }
        Ok(())
    }
}

/// A program header.
#[derive(Debug)]
struct Segment {
    kind: u64,
    offset: usize,
    address: u64,
    size: usize,
}

struct File<'a>(&'a [u8]);

impl File<'_> {
    fn number(&self, at: usize, bytes: usize) -> Result<u64, ElfProblem> {
        let slice = at.checked_add(bytes).and_then(|end| self.0.get(at..end)).ok_or(ElfProblem::NotElf)?;
        Ok(slice.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn size(&self, at: usize, bytes: usize) -> Result<usize, ElfProblem> {
        usize::try_from(self.number(at, bytes)?).map_err(|_| ElfProblem::NotElf)
    }

    fn text(&self, at: usize) -> Result<String, ElfProblem> {
        let bytes = self.0.get(at..).ok_or(ElfProblem::NotElf)?.iter().take(MAX_NAME + 1);
        let text = bytes.copied().take_while(|byte| *byte != 0).collect::<Vec<_>>();
        if text.len() > MAX_NAME {
            return Err(ElfProblem::NotElf);
        }
        String::from_utf8(text).map_err(|_| ElfProblem::NotElf)
    }

    fn segments(&self) -> Result<Vec<Segment>, ElfProblem> {
        let (first, size, count) = (self.size(32, 8)?, self.size(54, 2)?, self.size(56, 2)?);
        if count == 0 || count > MAX_HEADERS {
            return Err(ElfProblem::NotElf);
        }
        let segment = |index: usize| {
            let at = first.checked_add(index * size).ok_or(ElfProblem::NotElf)?;
            let field = |offset: usize| at.checked_add(offset).ok_or(ElfProblem::NotElf);
            Ok(Segment {
                kind: self.number(at, 4)?,
                offset: self.size(field(8)?, 8)?,
                address: self.number(field(16)?, 8)?,
                size: self.size(field(32)?, 8)?,
            })
        };
        (0..count).map(segment).collect()
    }

    fn needed(&self, dynamic: &Segment, segments: &[Segment]) -> Result<Vec<String>, ElfProblem> {
        let (mut names, mut strings) = (Vec::new(), None);
        for index in 0..(dynamic.size / 16).min(MAX_DYNAMIC) {
            let at = dynamic.offset.checked_add(index * 16).ok_or(ElfProblem::NotElf)?;
            let value_at = at.checked_add(8).ok_or(ElfProblem::NotElf)?;
            match self.number(at, 8)? {
                DT_NULL => break,
                DT_NEEDED => names.push(self.size(value_at, 8)?),
                DT_STRTAB => strings = Some(self.number(value_at, 8)?),
                _ => {}
            }
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let strings = strings.and_then(|address| position(address, segments)).ok_or(ElfProblem::NotElf)?;
        let name = |offset: usize| self.text(strings.checked_add(offset).ok_or(ElfProblem::NotElf)?);
        names.into_iter().map(name).collect()
    }
}

/// Where in the file an address is.
fn position(address: u64, segments: &[Segment]) -> Option<usize> {
    segments.iter().filter(|segment| segment.kind == PT_LOAD).find_map(|segment| {
        let within = usize::try_from(address.checked_sub(segment.address)?).ok()?;
        (within < segment.size).then(|| segment.offset.checked_add(within))?
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    /// A program with these program headers (type, offset, address, size) and this content after them, from byte 288 on.
    fn program(machine: u16, headers: &[[u64; 4]], content: &[u8]) -> Vec<u8> {
        let mut bytes = IDENT.to_vec();
        bytes.resize(64 + 4 * 56, 0);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(headers.len()).unwrap().to_le_bytes());
        for (index, [kind, offset, address, size]) in headers.iter().enumerate() {
            let at = 64 + index * 56;
            bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes()[..4]);
            for (field, value) in [(8, offset), (16, address), (32, size)] {
                bytes[at + field..at + field + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes.extend(content);
        bytes
    }

    fn check(file: &[u8]) -> Result<(), ElfProblem> {
        Elf::parse(file)?.require_static(62)
    }

    #[test]
    fn only_a_static_program_of_the_platform_is_accepted() {
        assert_eq!(check(&program(62, &[[PT_LOAD, 0, 0, 8]], b"")), Ok(()));
        assert_eq!(check(&program(62, &[[PT_INTERP, 288, 0, 8]], b"/lib/ld\0")), Err(ElfProblem::Dynamic));
        assert_eq!(check(&program(183, &[[PT_LOAD, 0, 0, 8]], b"")), Err(ElfProblem::Machine(62, 183)));
    }

    #[test]
    fn the_libraries_of_a_program_are_read() {
        let mut content = Vec::new();
        for number in [DT_NEEDED, 1, DT_STRTAB, 0x1000 + 368 - 288, DT_NEEDED, 8, DT_NULL, 0] {
            content.extend(number.to_le_bytes());
        }
        content.resize(368 - 288, 0);
        content.extend(b"\0libc.6\0libz.1\0");
        let dynamic = [PT_DYNAMIC, 288, 0x1000, 64];
        let file = program(62, &[[PT_LOAD, 288, 0x1000, 100], dynamic], &content);
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(
            elf,
            Elf { machine: 62, loader: None, needed: vec!["libc.6".to_owned(), "libz.1".to_owned()] }
        );
        assert_eq!(elf.require_static(62), Err(ElfProblem::Dynamic));
        // The names are in no part that is loaded.
        let file = program(62, &[[PT_LOAD, 288, 0x9000, 100], dynamic], &content);
        assert_eq!(Elf::parse(&file), Err(ElfProblem::NotElf));
    }

    #[test]
    fn a_truncated_or_other_file_is_no_program() {
        let program = program(62, &[[PT_LOAD, 0, 0, 8]], b"");
        for length in 0..64 + 40 {
            assert_eq!(check(&program[..length]), Err(ElfProblem::NotElf), "{length}");
        }
        assert_eq!(check(b"#!/bin/sh\n"), Err(ElfProblem::NotElf));
    }

    /// Test programs of this platform are linked to the C library.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn this_test_is_a_dynamic_program() {
        let elf = Elf::parse(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert!(elf.loader.is_some_and(|loader| loader.contains("/ld-linux")));
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.so")), "{:?}", elf.needed);
    }
}
