// SPDX-License-Identifier: Apache-2.0
//! Layers as differences: what of a layer a site has already does not travel, and the layer has the same digest.
//!
//! An OCI digest is over the *compressed* layer, so the site must write the same gzip stream again, bit for bit. For that a
//! bundle carries a recipe: the encoder that wrote the layer, its level and framing, and a correction for each decision in which
//! the encoder differs from ours. Nothing here trusts a recipe or a patch: the caller compares size and digest of the result.
//!
//! Layers, each using only those above it:
//! * [`deflate`]: RFC 1951 and RFC 1952: symbols, codes, bits, tokens.
//! * [`encoder`]: the encoders of other programs, bit for bit.
//! * [`corrections`]: streams of other encoders, as differences from these.
//! * [`recipe`]: how a layer is compressed, found and used.
//! * [`patch`]: uncompressed layers from other layers, and the encoding of what that needs.
//! * [`diff`]: patches, made from layers.

pub mod corrections;
pub mod deflate;
pub mod diff;
pub mod encoder;
pub mod patch;
pub mod recipe;
