// SPDX-License-Identifier: Apache-2.0
//! How a receipt is divided among ConfigMaps, each of which takes one mebibyte with its names. Pure.

use krs_core::sync::receipt::MAX_RECEIPT_PART;

/// Divides a text into parts, which are the text when they are joined.
pub fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while rest.len() > MAX_RECEIPT_PART {
        let end = (0..=MAX_RECEIPT_PART).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
        let (part, next) = rest.split_at(end);
        parts.push(part);
        rest = next;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_and_are_the_text_when_they_are_joined() {
        for text in [
            String::new(),
            "x".repeat(MAX_RECEIPT_PART),
            "x".repeat(MAX_RECEIPT_PART + 1),
            "ü€".repeat(MAX_RECEIPT_PART),
        ] {
            let parts = split(&text);
            assert!(parts.iter().all(|part| part.len() <= MAX_RECEIPT_PART));
            assert!(parts.len() <= text.len() / (MAX_RECEIPT_PART - 3) + 1, "{}", parts.len());
            assert_eq!(parts.concat(), text);
        }
    }
}
