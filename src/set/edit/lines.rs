// SPDX-License-Identifier: Apache-2.0
//! Lines of a text, by the bytes where they begin and end.

/// Where the line begins that a byte is on.
pub(super) fn start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1)
}

/// Where the text of the line ends that a byte is on: at its line break, or at the end of the text.
pub(super) fn end(text: &str, at: usize) -> usize {
    let Some(rest) = text.get(at..) else { return text.len() };
    let Some(length) = rest.find('\n') else { return text.len() };
    at + length - usize::from(rest.get(..length).is_some_and(|line| line.ends_with('\r')))
}

/// What stands before a byte on its line.
pub(super) fn before(text: &str, at: usize) -> &str {
    text.get(start(text, at)..at).unwrap_or_default()
}

/// The line before the one that begins at a byte: where it begins, and its text without the line break.
pub(super) fn previous(text: &str, start_of_line: usize) -> Option<(usize, &str)> {
    let end = start_of_line.checked_sub(1)?;
    let start = start(text, end);
    let line = text.get(start..end)?;
    Some((start, line.strip_suffix('\r').unwrap_or(line)))
}

/// The line after the one whose text ends at a byte: where it begins, and its text without the line break.
pub(super) fn next(text: &str, end_of_line: usize) -> Option<(usize, &str)> {
    let rest = text.get(end_of_line..)?;
    let start = end_of_line + rest.strip_prefix('\r').map_or(0, |_| 1) + 1;
    (start < text.len()).then(|| (start, text.get(start..end(text, start)).unwrap_or_default()))
}

/// The line break that the text uses.
pub(super) fn line_break(text: &str) -> &'static str {
    if text.find('\n').is_some_and(|at| text.get(..at).is_some_and(|line| line.ends_with('\r'))) {
        "\r\n"
    } else {
        "\n"
    }
}

pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c == ' ' || c == '\t')
}

/// Characters before the comment that a line consists of. `None`: it is no comment.
pub(super) fn comment_indent(line: &str) -> Option<usize> {
    let text = line.trim_start_matches([' ', '\t']);
    text.starts_with('#').then(|| line.len() - text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_their_break() {
        for (nl, text) in [("\n", "ab\ncd\n\nef"), ("\r\n", "ab\r\ncd\r\n\r\nef")] {
            let at = |part: &str| text.find(part).unwrap_or_default();
            assert_eq!(line_break(text), nl);
            assert_eq!((start(text, at("d")), end(text, at("c"))), (at("cd"), at("cd") + 2));
            assert_eq!(previous(text, at("cd")), Some((0, "ab")));
            assert_eq!(previous(text, at("ef")).map(|(_, line)| line), Some(""));
            assert_eq!(next(text, 2), Some((at("cd"), "cd")));
            assert_eq!((previous(text, 0), next(text, text.len())), (None, None));
            assert_eq!(end(text, at("ef")), text.len());
        }
        assert_eq!(line_break(""), "\n");
        assert_eq!(
            [comment_indent("  # x"), comment_indent("#"), comment_indent("a # x")],
            [Some(2), Some(0), None]
        );
    }
}
