// SPDX-License-Identifier: Apache-2.0
//! Whether a program is what its platform needs: the header of its ELF file.

use std::error::Error;
use std::fmt;

/// `e_ident` of a 64-bit little-endian file.
const IDENT: &[u8] = b"\x7fELF\x02\x01\x01";
/// The program header that names a dynamic loader.
const PT_INTERP: u32 = 3;
/// A program with more program headers is damaged.
const MAX_HEADERS: usize = 64;

/// Why a program cannot be released.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ElfProblem {
    /// No 64-bit little-endian ELF file, or one that ends too early.
    NotElf,
    /// For another machine: expected and found.
    Machine(u16, u16),
    /// It needs a dynamic loader and libraries.
    Dynamic,
}

impl fmt::Display for ElfProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("it is no 64-bit ELF file"),
            Self::Machine(expected, found) => {
                write!(f, "it is for ELF machine {found}, expected machine {expected}")
            }
            Self::Dynamic => f.write_str("it needs a dynamic loader, expected a static program"),
        }
    }
}

impl Error for ElfProblem {}

/// Accepts a static program for a machine.
pub(crate) fn check_static(program: &[u8], machine: u16) -> Result<(), ElfProblem> {
    let number = |at: usize, bytes: usize| -> Result<u64, ElfProblem> {
        let slice = at.checked_add(bytes).and_then(|end| program.get(at..end)).ok_or(ElfProblem::NotElf)?;
        Ok(slice.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    };
    let size = |at, bytes| number(at, bytes).and_then(|n| usize::try_from(n).map_err(|_| ElfProblem::NotElf));
    if !program.starts_with(IDENT) {
        return Err(ElfProblem::NotElf);
    }
    let found = u16::try_from(number(18, 2)?).map_err(|_| ElfProblem::NotElf)?;
    if found != machine {
        return Err(ElfProblem::Machine(machine, found));
    }
    let (first, header_size, count) = (size(32, 8)?, size(54, 2)?, size(56, 2)?);
    if count == 0 || count > MAX_HEADERS {
        return Err(ElfProblem::NotElf);
    }
    for index in 0..count {
        let at = first.checked_add(index * header_size).ok_or(ElfProblem::NotElf)?;
        if number(at, 4)? == u64::from(PT_INTERP) {
            return Err(ElfProblem::Dynamic);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The headers of a program with one program header of this type.
    pub(crate) fn program(machine: u16, header: u32) -> Vec<u8> {
        let mut bytes = IDENT.to_vec();
        bytes.resize(64 + 56, 0);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&header.to_le_bytes());
        bytes
    }

    #[test]
    fn only_a_static_program_of_the_platform_is_accepted() {
        assert_eq!(check_static(&program(62, 1), 62), Ok(()));
        assert_eq!(check_static(&program(62, PT_INTERP), 62), Err(ElfProblem::Dynamic));
        assert_eq!(check_static(&program(183, 1), 62), Err(ElfProblem::Machine(62, 183)));
    }

    #[test]
    fn a_truncated_file_is_no_program() {
        let program = program(62, 1);
        for length in 0..67 {
            assert_eq!(check_static(&program[..length], 62), Err(ElfProblem::NotElf), "{length}");
        }
        assert_eq!(check_static(b"#!/bin/sh\n", 62), Err(ElfProblem::NotElf));
    }

    /// Test programs of this platform are linked to the C library.
    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
    fn this_test_is_a_dynamic_program() {
        let program = std::fs::read(std::env::current_exe().unwrap_or_default()).unwrap_or_default();
        assert_eq!(check_static(&program, 62), Err(ElfProblem::Dynamic));
    }
}
