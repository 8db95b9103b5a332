// SPDX-License-Identifier: Apache-2.0
//! Columns of text. Whatever comes from outside is made printable here. (T-84)

use krs_core::redact::printable;

/// Longest cell, in characters; longer ones are cut in the middle, where names differ least. Names of images are
/// shorter: people copy them from here.
const WIDEST: usize = 100;
/// A column of text is not made narrower than this.
const NARROWEST: usize = 12;

/// A table with a line of headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// Where a cell stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells that it lacks are empty.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(|cell| shorten(&printable(&cell, 400), WIDEST)).collect());
    }

    /// The table as text, ending with a new line; nothing where there are no rows. On a terminal its lines fit the width.
    pub(crate) fn render(&self) -> String {
        self.fitted(terminal_width())
    }

    fn fitted(&self, limit: Option<usize>) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let heading = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        let all = std::iter::once(&heading).chain(&self.rows);
        let mut widths = vec![0; self.columns.len()];
        for row in all.clone() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        if let Some(limit) = limit {
            self.narrow(&mut widths, limit);
        }
        let mut text = String::new();
        for row in all {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                let cell = shorten(cell, *width);
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, after) =
                    if *align == Align::Right { (gap, String::new()) } else { (String::new(), gap) };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Takes from the widest columns of text what is more than `limit` in a line. Numbers and digests are never cut.
    fn narrow(&self, widths: &mut [usize], limit: usize) {
        let gaps = 2 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            let text = widths.iter_mut().zip(&self.columns).filter(|(_, column)| self.may_be_cut(column));
            let Some(widest) = text.map(|(width, _)| width).max_by_key(|width| **width) else { return };
            if *widest <= NARROWEST {
                return;
            }
            *widest -= 1;
        }
    }

    fn may_be_cut(&self, column: &(&'static str, Align)) -> bool {
        column.1 == Align::Left && column.0 != "DIGEST"
    }
}

/// How wide the lines of a result may be: as wide as the terminal, or as COLUMNS says. `None`: it goes to a file or a
/// program, and names are not cut.
fn terminal_width() -> Option<usize> {
    let stated = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    stated.or_else(asked).filter(|columns| *columns >= 40)
}

/// Cuts the middle out of a text that is longer than `most` characters.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let (head, tail) = (most / 2, most - most / 2 - 1);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

/// Lines of `NAME  value`, for what is said of one thing.
pub(crate) fn facts(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    lines.iter().map(|(name, value)| format!("{name:width$}  {}\n", printable(value, 400))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_are_shown() {
        let mut table = Table::new(&[("IMAGE", Align::Left), ("SIZE", Align::Right)]);
        assert_eq!(table.render(), "");
        table.row(["a".to_owned(), "1 B".to_owned()]);
        table.row(["ä\u{1b}[31m".to_owned(), "10.0 KiB".to_owned()]);
        assert_eq!(table.render(), "IMAGE            SIZE\na                 1 B\nä\\u{1b}[31m  10.0 KiB\n");
    }

    #[test]
    fn lines_fit_the_terminal_and_digests_stay() {
        let mut table =
            Table::new(&[("IMAGE", Align::Left), ("DIGEST", Align::Left), ("SIZE", Align::Right)]);
        let image = format!("registry.example.com/{}/app:1.0", "team/".repeat(20));
        table.row([image.clone(), "sha256:0123456789ab".to_owned(), "1023 MiB".to_owned()]);
        for width in [40, 80, 100] {
            let text = table.fitted(Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= width.max(44)), "{text}");
            assert!(text.contains("sha256:0123456789ab") && text.contains("…"), "{text}");
        }
        assert!(!table.fitted(None).lines().any(|line| line.chars().count() <= 100));
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("abcde", 5), "abcde");
    }
}
