// SPDX-License-Identifier: Apache-2.0
//! Lines of values with commas between them (RFC 4180), for spreadsheets.

use krs_core::redact::printable;

/// A line. Control characters are escaped, so that no value ends a line. A text that a spreadsheet would read as a formula
/// gets a `'` before it (OWASP, "CSV Injection"): values come from sites.
pub(super) fn line(cells: &[String]) -> String {
    let cells = cells.iter().map(|cell| cell_text(cell)).collect::<Vec<_>>();
    cells.join(",") + "\r\n"
}

fn cell_text(cell: &str) -> String {
    let is_number = cell.parse::<i64>().is_ok();
    let text = printable(cell, 4000);
    let text = if text.starts_with(['=', '+', '-', '@']) && !is_number { format!("'{text}") } else { text };
    if text.contains(['"', ',', ' ']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_values() {
        let cells = ["a", "", "x,y", "say \"no\"", "=1+1", "-5", "-5a", "a\r\nb\u{1b}[31m"];
        let line = line(&cells.map(str::to_owned));
        let (values, rest) = line.split_at(line.len() - 2);
        assert_eq!(rest, "\r\n");
        assert!(values.starts_with("a,,\"x,y\",\"say \"\"no\"\"\",'=1+1,-5,'-5a,"), "{values}");
        assert!(!values.contains(['\r', '\n', '\u{1b}']), "{values}");
    }
}
