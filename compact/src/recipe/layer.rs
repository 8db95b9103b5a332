// SPDX-License-Identifier: Apache-2.0
//! The recipe of a layer, of one gzip member or of several, as eStargz has one for each file.

use std::io::{self, Read, Seek, SeekFrom};

use super::find::{DIVISOR, Reason, Stop, Tail, find_member, follow};
use super::{Gzip, MEMBERS_MAXIMUM, Members, Recipe, SETTINGS_MAXIMUM};
use crate::encoder::Family;

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// The layer can be made from its plain bytes.
    Recipe(Recipe),
    /// The layer travels as it is.
    None(Reason),
}

/// Finds the recipe of a compressed layer.
///
/// # Flow
/// Each encoder is tried on the first mebibyte. Those that are equal run over the stream. If none is equal to its end, corrections
/// are made to the match finder that needs the fewest of them at the beginning, and tried. Of several members, each is tried with the
/// settings of those before it first.
///
/// # Guarantees
/// A recipe without corrections was compared with the layer, byte for byte; one with corrections by size and CRC-32. The layer is read
/// from its beginning at most five times, and its first megabytes once for each encoder. Memory is below 64 MiB beside the recipe, which is not larger than a tenth of the layer.
///
/// # Errors
/// The file cannot be read. What is wrong with the layer itself is a [`Reason`].
pub fn find<R: Read + Seek>(mut layer: R) -> io::Result<Found> {
    match try_find(&mut layer) {
        Ok(recipe) => Ok(Found::Recipe(recipe)),
        Err(Stop::Reason(reason)) => Ok(Found::None(reason)),
        Err(Stop::Io(error)) => Err(error),
    }
}

fn try_find<R: Read + Seek>(layer: &mut R) -> Result<Recipe, Stop> {
    layer.rewind()?;
    let mut magic = Vec::new();
    layer.by_ref().take(4).read_to_end(&mut magic)?;
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => {}
        [0x28, 0xb5, 0x2f, 0xfd] => return Err(Stop::Reason(Reason::Zstd)),
        _ => return Ok(Recipe::Plain),
    }
    let (mut gzip, tail) = find_member(layer)?;
    if tail.is_member {
        return find_members(layer, gzip, &tail);
    }
    gzip.behind = tail.behind;
    Ok(Recipe::Gzip(gzip))
}

/// A layer from the beginning of one of its members.
struct From<'a, R> {
    layer: &'a mut R,
    start: u64,
}

impl<R: Read> Read for From<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.layer.read(out)
    }
}

impl<R: Seek> Seek for From<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(place) => SeekFrom::Start(place.saturating_add(self.start)),
            other => other,
        };
        Ok(self.layer.seek(to)?.saturating_sub(self.start))
    }
}

/// The recipe of a layer whose first member is known.
///
/// Settings of earlier members are tried first. For each other member all encoders are; the limit of settings bounds how often.
fn find_members<R: Read + Seek>(layer: &mut R, first: Gzip, tail: &Tail) -> Result<Recipe, Stop> {
    let mut members = Members { settings: vec![first], runs: Vec::new(), behind: Vec::new() };
    members.push(0, tail.plain);
    let (mut setting, mut start) = (0, tail.size);
    for _ in 1..MEMBERS_MAXIMUM {
        let mut member = From { layer, start };
        let known = try_settings(&mut member, &members.settings, setting)?;
        let (found, tail) = match known {
            Some(found) => found,
            None => {
                if members.settings.len() == SETTINGS_MAXIMUM {
                    return Err(Stop::Reason(Reason::Members));
                }
                let (gzip, tail) = find_member(&mut member)?;
                members.settings.push(gzip);
                (members.settings.len() - 1, tail)
            }
        };
        setting = found;
        members.push(setting, tail.plain);
        start += tail.size;
        if !tail.is_member {
            members.behind = tail.behind;
            let recipe = Recipe::Members(members);
            let is_small = recipe.encode().len() as u64 <= start / DIVISOR;
            return if is_small { Ok(recipe) } else { Err(Stop::Reason(Reason::TooLarge)) };
        }
    }
    Err(Stop::Reason(Reason::Members))
}

/// The first settings that write a member, those of the member before it first.
fn try_settings<R: Read + Seek>(
    member: &mut From<'_, R>,
    settings: &[Gzip],
    last: usize,
) -> Result<Option<(usize, Tail)>, Stop> {
    let header = header(member)?;
    let is_usable =
        |&number: &usize| settings.get(number).is_some_and(|s| s.corrections.is_none() && s.header == header);
    let numbers = [last].into_iter().chain((0..settings.len()).filter(|&number| number != last));
    let numbers = numbers.filter(is_usable).collect::<Vec<_>>();
    let families = numbers.iter().map(|&number| settings[number].family).collect::<Vec<Family>>();
    let found = follow(member, &families)?;
    Ok(found.and_then(|(family, tail)| {
        let number = numbers.into_iter().find(|&number| settings[number].family == family)?;
        Some((number, tail))
    }))
}

fn header<R: Read + Seek>(member: &mut From<'_, R>) -> Result<Vec<u8>, Stop> {
    member.rewind()?;
    Ok(crate::deflate::inflate::GzipReader::new(member)?.header().to_vec())
}
