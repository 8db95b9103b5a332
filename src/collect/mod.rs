// SPDX-License-Identifier: Apache-2.0
//! Images that manifests, charts and lists name, found to make a set of them.
//!
//! A source is never left out in silence: what cannot be read or rendered is a [`Problem`] that says why and what to do.

mod model;

pub use model::{Collection, ImageUse, Origin, Problem};
