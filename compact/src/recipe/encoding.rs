// SPDX-License-Identifier: Apache-2.0
//! Recipes as bytes. The format is described in `docs/reference/patches.md`.

use super::{
    BEHIND_MAXIMUM, Corrections, Gzip, HEADER_MAXIMUM, MEMBERS_MAXIMUM, Members, Recipe, Run,
    SETTINGS_MAXIMUM,
};
use crate::corrections::Trees;
use crate::encoder::Family;

const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ENCODER: u8 = 1;
const CORRECTIONS: u8 = 2;
const MEMBERS: u8 = 3;

/// Bytes that are no recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Made by a later krs.
    #[error("the recipe has version {0}, this krs reads version {VERSION}")]
    Version(u8),
    /// An unknown kind.
    #[error("the recipe has the unknown kind {0}")]
    Kind(u8),
    /// An encoder that this version does not have.
    #[error("the recipe names an encoder that this krs does not have ({0}, {1})")]
    Family(u8, u8),
    /// An encoder without a match finder, to which no corrections refer.
    #[error("the recipe has corrections for an encoder that finds no matches")]
    NoFinder,
    /// Unknown code lengths.
    #[error("the recipe expects codes of the unknown kind {0}")]
    Trees(u8),
    /// It ends early.
    #[error("the recipe ends early")]
    Truncated,
    /// A size above its limit, or written in more bytes than needed.
    #[error("the recipe has a size that is not allowed (at most {most})")]
    Size {
        /// The limit.
        most: u64,
    },
    /// A header that is not one of gzip.
    #[error("the recipe has a header that is not one of gzip")]
    Header,
    /// A list of members that is not in its one form.
    #[error("the recipe has a list of members that {0}")]
    Members(&'static str),
    /// Bytes behind the end.
    #[error("the recipe has {0} bytes behind its end")]
    Behind(usize),
}

impl Recipe {
    /// The recipe as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let gzip = match self {
            Self::Plain => return vec![VERSION, PLAIN],
            Self::Gzip(gzip) => gzip,
            Self::Members(members) => return members.encode(),
        };
        let mut out = vec![VERSION];
        gzip.append(&mut out);
        append_sized(&gzip.behind, &mut out);
        if let Some(Corrections { bytes, .. }) = &gzip.corrections {
            out.extend_from_slice(bytes);
        }
        out
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// The bytes are no recipe, or one of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecipeError> {
        let mut rest = bytes;
        match take(&mut rest)? {
            [VERSION] => {}
            [other] => return Err(RecipeError::Version(other)),
        }
        let kind = match take(&mut rest)? {
            [PLAIN] if rest.is_empty() => return Ok(Self::Plain),
            [PLAIN] => return Err(RecipeError::Behind(rest.len())),
            [MEMBERS] => return Members::decode(rest).map(Self::Members),
            [kind @ (ENCODER | CORRECTIONS)] => kind,
            [other] => return Err(RecipeError::Kind(other)),
        };
        let mut gzip = Gzip::take(kind, &mut rest)?;
        gzip.behind = take_sized(&mut rest, BEHIND_MAXIMUM)?.to_vec();
        match &mut gzip.corrections {
            Some(corrections) => corrections.bytes = rest.to_vec(),
            None if rest.is_empty() => {}
            None => return Err(RecipeError::Behind(rest.len())),
        }
        Ok(Self::Gzip(gzip))
    }
}

impl Gzip {
    /// From the kind to the header.
    fn append(&self, out: &mut Vec<u8>) {
        out.push(if self.corrections.is_some() { CORRECTIONS } else { ENCODER });
        out.extend_from_slice(&self.family.to_bytes());
        if let Some(Corrections { trees, .. }) = &self.corrections {
            out.push(trees.to_byte());
        }
        let is_usual = self.header == self.family.header();
        append_sized(if is_usual { &[] } else { &self.header }, out);
    }

    /// From behind the kind to the header.
    fn take(kind: u8, rest: &mut &[u8]) -> Result<Self, RecipeError> {
        let family = take(rest)?;
        let family = Family::from_bytes(family).ok_or(RecipeError::Family(family[0], family[1]))?;
        let mut corrections = None;
        if kind == CORRECTIONS {
            let [byte] = take(rest)?;
            let trees = Trees::from_byte(byte).ok_or(RecipeError::Trees(byte))?;
            if family.finder().is_none() {
                return Err(RecipeError::NoFinder);
            }
            corrections = Some(Corrections { trees, bytes: Vec::new() });
        }
        let header = match take_sized(rest, HEADER_MAXIMUM)? {
            [] => family.header().to_vec(),
            // It has one form only: the usual header is never written out.
            other if other == family.header() => return Err(RecipeError::Header),
            other if other.len() >= family.header().len() && other.starts_with(&[0x1f, 0x8b, 8]) => {
                other.to_vec()
            }
            _ => return Err(RecipeError::Header),
        };
        Ok(Self { family, corrections, header, behind: Vec::new() })
    }
}

impl Members {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, MEMBERS];
        append_number(self.settings.len() as u64, &mut out);
        for setting in &self.settings {
            setting.append(&mut out);
            if let Some(Corrections { bytes, .. }) = &setting.corrections {
                append_sized(bytes, &mut out);
            }
        }
        append_number(self.runs.len() as u64, &mut out);
        for Run { setting, sizes } in &self.runs {
            append_number(*setting as u64, &mut out);
            append_number(sizes.len() as u64, &mut out);
            for &size in sizes {
                append_number(size, &mut out);
            }
        }
        append_sized(&self.behind, &mut out);
        out
    }

    fn decode(mut rest: &[u8]) -> Result<Self, RecipeError> {
        let mut settings = Vec::new();
        for _ in 0..take_size(&mut rest, SETTINGS_MAXIMUM)? {
            let kind = match take(&mut rest)? {
                [kind @ (ENCODER | CORRECTIONS)] => kind,
                [other] => return Err(RecipeError::Kind(other)),
            };
            let mut setting = Gzip::take(kind, &mut rest)?;
            if let Some(corrections) = &mut setting.corrections {
                let most = rest.len();
                corrections.bytes = take_sized(&mut rest, most)?.to_vec();
            }
            settings.push(setting);
        }
        // How many members each of the settings has so far.
        let mut used = vec![0; settings.len()];
        let mut members = Self { settings, runs: Vec::new(), behind: Vec::new() };
        let mut left = MEMBERS_MAXIMUM;
        for _ in 0..take_size(&mut rest, MEMBERS_MAXIMUM)? {
            let setting = take_size(&mut rest, SETTINGS_MAXIMUM)?;
            let is_same = members.runs.last().is_some_and(|run| run.setting == setting);
            let count = take_size(&mut rest, left)?;
            left -= count;
            match used.get_mut(setting) {
                Some(used) if count > 0 && !is_same => *used += count,
                _ => return Err(RecipeError::Members("has a run without members or settings of its own")),
            }
            let sizes =
                (0..count).map(|_| take_number(&mut rest, u64::MAX)).collect::<Result<Vec<_>, _>>()?;
            members.runs.push(Run { setting, sizes });
        }
        let is_used = |(setting, &count): (&Gzip, &usize)| match setting.corrections {
            Some(_) => count == 1,
            None => count > 0,
        };
        if members.runs.is_empty() || !members.settings.iter().zip(&used).all(is_used) {
            return Err(RecipeError::Members(
                "is empty, or has settings that are not used, or corrections that are used twice",
            ));
        }
        members.behind = take_sized(&mut rest, BEHIND_MAXIMUM)?.to_vec();
        if rest.is_empty() { Ok(members) } else { Err(RecipeError::Behind(rest.len())) }
    }
}

fn append_number(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn append_sized(bytes: &[u8], out: &mut Vec<u8>) {
    append_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RecipeError> {
    let (taken, behind) = rest.split_first_chunk().ok_or(RecipeError::Truncated)?;
    *rest = behind;
    Ok(*taken)
}

fn take_number(rest: &mut &[u8], most: u64) -> Result<u64, RecipeError> {
    let refused = RecipeError::Size { most };
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(refused);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            let is_shortest = bits != 0 || shift == 0;
            return if is_shortest && number <= most { Ok(number) } else { Err(refused) };
        }
    }
    Err(refused)
}

fn take_size(rest: &mut &[u8], most: usize) -> Result<usize, RecipeError> {
    take_number(rest, most as u64).map(|size| size as usize)
}

fn take_sized<'a>(rest: &mut &'a [u8], most: usize) -> Result<&'a [u8], RecipeError> {
    let size = take_size(rest, most)?;
    let (taken, behind) = rest.split_at_checked(size).ok_or(RecipeError::Truncated)?;
    *rest = behind;
    Ok(taken)
}
