// SPDX-License-Identifier: Apache-2.0
//! Values that are held for as long as the importer runs and read now and then: as compressed JSON, in which an image takes
//! a tenth of the memory.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::marker::PhantomData;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value as compressed JSON. Equal values are equally packed.
pub(crate) struct CompressedJson<T> {
    deflated: Box<[u8]>,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> CompressedJson<T> {
    /// Packs a value.
    ///
    /// # Errors
    /// It has no JSON.
    pub(crate) fn new(value: &T) -> io::Result<Self> {
        let json = serde_json::to_vec(value)?;
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&json)?;
        let deflated = encoder.finish()?;
        Ok(Self { deflated: deflated.into(), value: PhantomData })
    }

    /// The value.
    ///
    /// # Errors
    /// Its JSON cannot be read back.
    pub(crate) fn get(&self) -> io::Result<T> {
        let mut json = Vec::new();
        DeflateDecoder::new(&*self.deflated).read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

impl<T> PartialEq for CompressedJson<T> {
    fn eq(&self, other: &Self) -> bool {
        self.deflated == other.deflated
    }
}

impl<T> fmt::Debug for CompressedJson<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.deflated.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use krs_core::oci::digest::Digest;

    #[test]
    fn a_thousand_images_take_less_than_half_of_their_text_and_come_back() {
        let image = |n: usize| {
            let digest = Digest::of(format!("{n}").as_bytes());
            format!("registry.example.com/team/component-{n}:1.{n}.0@{digest}")
        };
        let images = (0..1000).map(image).collect::<Vec<_>>();
        let packed = CompressedJson::new(&images).unwrap();
        let text = images.iter().map(String::len).sum::<usize>();
        assert!(packed.deflated.len() * 2 < text, "{} of {text} bytes", packed.deflated.len());
        assert_eq!(packed.get().unwrap(), images);
        assert_eq!(packed, CompressedJson::new(&images).unwrap());
        assert_ne!(packed, CompressedJson::new(&images[1..].to_vec()).unwrap());
    }
}
