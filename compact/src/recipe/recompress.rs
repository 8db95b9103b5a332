// SPDX-License-Identifier: Apache-2.0
//! A compressed layer from its plain bytes.

use std::io::{self, Read, Write};

use super::{Corrections, Gzip, Members, Recipe};
use crate::corrections::{CorrectionError, Replay};
use crate::deflate::Trailer;
use crate::encoder::{Encoder, Finder};

/// Plain bytes that are read at once. It bounds what one step can add to the output.
const PIECE: usize = 64 * 1024;

/// Why a layer was not compressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The bytes are no recipe.
    #[error(transparent)]
    Decode(#[from] super::DecodeError),
    /// The corrections do not fit the plain bytes.
    #[error("the recipe does not fit the plain bytes: {0}")]
    Correction(#[from] CorrectionError),
    /// More or fewer plain bytes than the members of the recipe have together.
    #[error("the recipe does not fit the plain bytes: its members have others in number")]
    Members,
    /// The plain bytes cannot be read.
    #[error("cannot read the plain bytes: {0}")]
    Read(#[source] io::Error),
    /// The output cannot be written.
    #[error("cannot write the compressed layer: {0}")]
    Write(#[source] io::Error),
}

/// Writes the compressed layer.
///
/// # Guarantees
/// Memory is below 4 MiB for streams of all encoders that are known, and below 24 MiB for any recipe. What is written depends on the
/// recipe and the plain bytes only. A recipe from anywhere causes no panic.
///
/// The caller bounds the output, by an error of the writer at the size that the layer must have, and compares its digest: a recipe
/// that does not belong to the plain bytes is not noticed here.
///
/// # Errors
/// `plain` or `out` fails, or the corrections of the recipe do not fit the plain bytes. What was written by then is of no use.
pub fn recompress(recipe: &Recipe, mut plain: impl Read, out: &mut impl Write) -> Result<(), RecipeError> {
    match recipe {
        Recipe::Plain => pieces(&mut plain, |piece| out.write_all(piece).map_err(RecipeError::Write)),
        Recipe::Gzip(gzip) => member(gzip, &mut plain, out),
        Recipe::Members(list) => members(list, plain, out),
    }
}

fn members(list: &Members, mut plain: impl Read, out: &mut impl Write) -> Result<(), RecipeError> {
    for run in &list.runs {
        let setting = list.settings.get(run.setting).ok_or(RecipeError::Members)?;
        for &size in &run.sizes {
            let mut part = plain.by_ref().take(size);
            member(setting, &mut part, out)?;
            if part.limit() > 0 {
                return Err(RecipeError::Members);
            }
        }
    }
    pieces(&mut plain, |_| Err(RecipeError::Members))?;
    out.write_all(&list.behind).map_err(RecipeError::Write)
}

fn member(gzip: &Gzip, plain: &mut impl Read, out: &mut impl Write) -> Result<(), RecipeError> {
    out.write_all(&gzip.header).map_err(RecipeError::Write)?;
    let (mut writer, mut trailer, mut bytes) = (Deflate::new(gzip)?, Trailer::default(), Vec::new());
    pieces(plain, |piece| {
        trailer.update(piece);
        writer.write(piece, &mut bytes)?;
        out.write_all(&bytes).map_err(RecipeError::Write)?;
        bytes.clear();
        Ok(())
    })?;
    writer.finish(&mut bytes)?;
    bytes.extend_from_slice(&trailer.bytes());
    bytes.extend_from_slice(&gzip.behind);
    out.write_all(&bytes).map_err(RecipeError::Write)
}

fn pieces(
    plain: &mut impl Read,
    mut each: impl FnMut(&[u8]) -> Result<(), RecipeError>,
) -> Result<(), RecipeError> {
    let mut piece = vec![0; PIECE];
    loop {
        match plain.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(size) => each(&piece[..size.min(PIECE)])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RecipeError::Read(error)),
        }
    }
}

/// The deflate stream of a recipe.
enum Deflate<'a> {
    Encoder(Box<dyn Encoder>),
    Replay(Box<Replay<'a, Finder>>),
}

impl<'a> Deflate<'a> {
    fn new(gzip: &'a Gzip) -> Result<Self, RecipeError> {
        Ok(match &gzip.corrections {
            None => Self::Encoder(gzip.family.encoder()),
            Some(Corrections { trees, bytes }) => {
                let finder = gzip.family.finder().ok_or(super::DecodeError::NoFinder)?;
                Self::Replay(Box::new(Replay::new(bytes, finder, *trees)))
            }
        })
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CorrectionError> {
        match self {
            Self::Encoder(encoder) => encoder.write(plain, out),
            Self::Replay(replay) => return replay.write(plain, out),
        }
        Ok(())
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<(), CorrectionError> {
        match self {
            Self::Encoder(mut encoder) => encoder.finish(out),
            Self::Replay(replay) => return replay.finish(out),
        }
        Ok(())
    }
}
