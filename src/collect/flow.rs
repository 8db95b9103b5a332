// SPDX-License-Identifier: Apache-2.0
//! Writing YAML, with each scalar quoted or not as it was read: `1.20` stays the text that it is.

use super::yaml::{Node, Value};

/// Most bytes that are written: aliases can make a small text very large.
const MAX_BYTES: usize = 16 << 20;

/// A value as YAML in flow style, on one line. `None`: it would be too large.
pub(super) fn flow(node: &Node) -> Option<String> {
    let mut text = String::new();
    write(node, &mut text)?;
    (text.len() <= MAX_BYTES).then_some(text)
}

fn write(node: &Node, text: &mut String) -> Option<()> {
    if text.len() > MAX_BYTES {
        return None;
    }
    match &node.value {
        Value::Scalar(scalar, true) if is_safe(scalar) => text.push_str(scalar),
        // YAML 1.2 reads the strings of JSON.
        Value::Scalar(scalar, _) => text.push_str(&serde_json::Value::from(scalar.as_str()).to_string()),
        Value::List(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                text.push_str(if n == 0 { "" } else { ", " });
                write(item, text)?;
            }
            text.push(']');
        }
        Value::Map(fields) => {
            text.push('{');
            for (n, (key, value)) in fields.iter().enumerate() {
                text.push_str(if n == 0 { "" } else { ", " });
                text.push_str(&serde_json::Value::from(key.as_str()).to_string());
                text.push_str(": ");
                write(value, text)?;
            }
            text.push('}');
        }
    }
    Some(())
}

/// Whether a scalar without quotes means the same in a flow: a number, a word, or nothing, which is null.
fn is_safe(scalar: &str) -> bool {
    !scalar.is_empty()
        && scalar.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '~'))
        && scalar.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_' | '~' | '/'))
        && scalar.chars().any(|c| c.is_ascii_alphanumeric() || c == '~')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::super::yaml::documents;
    use super::*;

    #[test]
    fn scalars_keep_their_quotes_and_texts() {
        let text =
            "a: 1.20\nb: '1.20'\nc: |\n  x: \"y\"\n  z\nd: [~, true, x y, '#']\ne: {}\n'f: g': -x\nh: a #b\n";
        let (before, _) = documents(text);
        let written = flow(&before[0]).unwrap();
        assert!(written.starts_with("{\"a\": 1.20, \"b\": \"1.20\", "), "{written}");
        let (after, error) = documents(&written);
        assert_eq!(error, None, "{written}");
        assert_eq!(before[0].json(9), after[0].json(9), "{written}");
    }

    #[test]
    fn it_is_not_too_large() {
        let text = format!("a: &a {}\nb: [*a, *a]\n", "x".repeat(MAX_BYTES / 2));
        assert_eq!(flow(&documents(&text).0[0]), None);
    }
}
