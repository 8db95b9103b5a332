// SPDX-License-Identifier: Apache-2.0
//! Invisible characters, which no name may have: editors, chats and web pages leave them in copied text.

/// The name of a character that is invisible or looks like a blank.
pub(in crate::set) const fn character_name(c: char) -> Option<&'static str> {
    Some(match c {
        ' ' => "a blank",
        '\t' => "a tab",
        '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => "a line break",
        '\u{a0}' | '\u{202f}' => "a no-break space",
        '\u{ad}' => "a soft hyphen",
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' | '\u{3000}' => "a wide or narrow space",
        '\u{200b}' => "a zero-width space",
        '\u{200c}' | '\u{200d}' => "a zero-width joiner",
        '\u{2060}' => "a word joiner",
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "a mark of writing direction"
        }
        '\u{feff}' => "a byte order mark",
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => "a control character",
        _ => return None,
    })
}

/// Names a character with its code.
pub(in crate::set) fn describe(c: char) -> String {
    format!("{} (U+{:04X})", character_name(c).unwrap_or("a character"), u32::from(c))
}

/// The error for a value with such a character.
pub(in crate::set) fn unseen(value: &str) -> Option<String> {
    let (at, c) = value.char_indices().find(|(_, c)| character_name(*c).is_some())?;
    let name = describe(c);
    let rest = value.get(at..).unwrap_or_default();
    let location = if at == 0 {
        format!("begins with {name}")
    } else if rest.chars().all(|c| character_name(c).is_some()) {
        format!("ends with {name}")
    } else {
        format!("has {name} behind `{}`", crate::redact::printable(value.get(..at).unwrap_or_default(), 80))
    };
    // A block scalar keeps the line break at its end.
    let advice =
        if c == '\n' { "; write it on one line, or with `>-` in place of `|` or `>`" } else { "; remove it" };
    Some(format!("the value {location}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_named() {
        for (value, message) in [
            ("a:1\u{a0}", Some("the value ends with a no-break space (U+00A0); remove it")),
            ("a\u{200b}:1", Some("the value has a zero-width space (U+200B) behind `a`; remove it")),
            (" a", Some("the value begins with a blank (U+0020); remove it")),
            ("a  ", Some("the value ends with a blank (U+0020); remove it")),
            (
                "a\n",
                Some(
                    "the value ends with a line break (U+000A); write it on one line, or with `>-` in place of `|` or `>`",
                ),
            ),
            ("a/b:1@sha256:0", None),
            ("ä", None),
        ] {
            assert_eq!(unseen(value).as_deref(), message, "{value:?}");
        }
    }
}
