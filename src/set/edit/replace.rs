// SPDX-License-Identifier: Apache-2.0
//! Another value for the field `image` of an entry.

use super::change::{Change, Refusal, Splice, scalar};
use super::locate::{self, quote, simple};
use super::nodes::Nodes;

/// Replaces the value of entry `n`; its quotes stay.
pub(super) fn replace(nodes: &Nodes<'_>, set: usize, n: usize, image: &str) -> Result<Change, Refusal> {
    let entry = locate::entry(nodes, locate::list(nodes, set)?, n)?;
    let value = locate::value(nodes, entry)?;
    let (old, style) = simple(nodes, value)?;
    if old.contains("${") {
        return Err(Refusal::new(value, "the value has a variable, which another program fills in"));
    }
    let quote = quote(style).unwrap_or_default();
    Ok(Change {
        splices: vec![Splice { bytes: nodes.bytes(value), text: format!("{quote}{image}{quote}") }],
        events: value..value + 1,
        new_events: vec![scalar(image, style)],
    })
}
