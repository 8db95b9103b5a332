// SPDX-License-Identifier: Apache-2.0
//! Recipes as bytes. The format is described [above](super).

use super::{BEHIND_MAXIMUM, Corrections, Gzip, HEADER_MAXIMUM, Recipe};
use crate::corrections::Trees;
use crate::encoder::Family;

const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ENCODER: u8 = 1;
const CORRECTIONS: u8 = 2;

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
        most: usize,
    },
    /// A header that is not one of gzip.
    #[error("the recipe has a header that is not one of gzip")]
    Header,
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
        };
        let kind = if gzip.corrections.is_some() { CORRECTIONS } else { ENCODER };
        let mut out = vec![VERSION, kind];
        out.extend_from_slice(&gzip.family.to_bytes());
        if let Some(Corrections { trees, .. }) = &gzip.corrections {
            out.push(trees.to_byte());
        }
        let is_usual = gzip.header == gzip.family.header();
        append_sized(if is_usual { &[] } else { &gzip.header }, &mut out);
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
            [kind @ (ENCODER | CORRECTIONS)] => kind,
            [other] => return Err(RecipeError::Kind(other)),
        };
        let family = take(&mut rest)?;
        let family = Family::from_bytes(family).ok_or(RecipeError::Family(family[0], family[1]))?;
        let mut trees = None;
        if kind == CORRECTIONS {
            let [byte] = take(&mut rest)?;
            trees = Some(Trees::from_byte(byte).ok_or(RecipeError::Trees(byte))?);
            if family.finder().is_none() {
                return Err(RecipeError::NoFinder);
            }
        }
        let header = match take_sized(&mut rest, HEADER_MAXIMUM)? {
            [] => family.header().to_vec(),
            // It has one form only: the usual header is never written out.
            other if other == family.header() => return Err(RecipeError::Header),
            other if other.len() >= family.header().len() && other.starts_with(&[0x1f, 0x8b, 8]) => {
                other.to_vec()
            }
            _ => return Err(RecipeError::Header),
        };
        let behind = take_sized(&mut rest, BEHIND_MAXIMUM)?.to_vec();
        let corrections = match trees {
            Some(trees) => Some(Corrections { trees, bytes: rest.to_vec() }),
            None if rest.is_empty() => None,
            None => return Err(RecipeError::Behind(rest.len())),
        };
        Ok(Self::Gzip(Gzip { family, corrections, header, behind }))
    }
}

fn append_sized(bytes: &[u8], out: &mut Vec<u8>) {
    let mut size = bytes.len();
    while size > 0x7f {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
    out.extend_from_slice(bytes);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RecipeError> {
    let (taken, behind) = rest.split_first_chunk().ok_or(RecipeError::Truncated)?;
    *rest = behind;
    Ok(*taken)
}

fn take_sized<'a>(rest: &mut &'a [u8], most: usize) -> Result<&'a [u8], RecipeError> {
    let mut size = 0;
    for shift in [0, 7, 14] {
        let [byte] = take(rest)?;
        size |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if size > most || (byte == 0 && shift > 0) {
                return Err(RecipeError::Size { most });
            }
            let (taken, behind) = rest.split_at_checked(size).ok_or(RecipeError::Truncated)?;
            *rest = behind;
            return Ok(taken);
        }
    }
    Err(RecipeError::Size { most })
}
