// SPDX-License-Identifier: Apache-2.0
//! The events of YAML, the same in every program.

use serde_saphyr::granit_parser::{Event, Options, Parser, ScanError, Span};

/// The events of `text` with their locations, without comments.
///
/// Whether the parser reports comments by default depends on its features, which Cargo unites over all crates of a build:
/// kube turns them on in the importer and nothing does in `krs`. With them, 97 comments in a row are an error.
pub(crate) fn events(text: &str) -> impl Iterator<Item = Result<(Event<'_>, Span), ScanError>> {
    let mut options = Options::default();
    options.emit_comments = false;
    Parser::new_from_str_with_options(text, options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    #[test]
    fn comments_are_no_events_and_any_number_of_them_is_read() {
        let text = |comments: &str| format!("a:\n{comments}- b\n");
        let events = |text: &str| {
            super::events(text).map(|event| format!("{:?}", event.unwrap().0)).collect::<Vec<_>>()
        };
        assert_eq!(events(&text(&"# c\n".repeat(500))), events(&text("")));
    }
}
