// SPDX-License-Identifier: Apache-2.0
//! Columns of text. Whatever comes from outside is made printable here. (T-84)

use krs_core::redact::printable;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

/// Longest cell, in characters; longer ones are cut in the middle, where names differ least. Names of images are
/// shorter: people copy them from here.
const WIDEST: usize = 100;
/// The column of digests: complete where the lines have room for that, else as long as people compare them.
const DIGEST: &str = "DIGEST";
/// Digits of a digest that are shown where it does not fit, as [`Digest::short`](krs_core::oci::digest::Digest::short).
pub(super) const SHORT_DIGEST: usize = 12;
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

    /// Adds a row; cells that it does not have are empty.
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
        let mut rows = self.rows.clone();
        let mut widths = widths(&heading, &rows);
        if let Some(limit) = limit {
            if line_width(&widths) > limit {
                self.shorten_digests(&mut rows);
                widths = self::widths(&heading, &rows);
            }
            if !self.narrow(&mut widths, limit) {
                return self.records(&rows, limit);
            }
        }
        let all = std::iter::once(&heading).chain(&rows);
        let mut text = String::new();
        for row in all {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                let cell = shorten(cell, *width);
                let gap = " ".repeat(width.saturating_sub(cell.width()));
                let (before, after) =
                    if *align == Align::Right { (gap, String::new()) } else { (String::new(), gap) };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Each row as lines of a heading and a cell, where the columns do not fit beside each other.
    fn records(&self, rows: &[Vec<String>], limit: usize) -> String {
        let record = |row: &Vec<String>| {
            let cells = self.columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            let lines = cells.map(|((heading, _), cell)| (*heading, cell.clone())).collect::<Vec<_>>();
            fitted_facts(&lines, Some(limit))
        };
        rows.iter().map(record).collect::<Vec<_>>().join("\n")
    }

    fn shorten_digests(&self, rows: &mut [Vec<String>]) {
        for row in rows {
            for (cell, _) in row.iter_mut().zip(&self.columns).filter(|(_, (name, _))| *name == DIGEST) {
                let digits = cell.rsplit(':').next().unwrap_or_default();
                *cell = digits.chars().take(SHORT_DIGEST).collect();
            }
        }
    }

    /// Takes from the widest columns of text what is more than `limit` in a line. Numbers and digests are never cut. Answers
    /// whether the line fits then.
    fn narrow(&self, widths: &mut [usize], limit: usize) -> bool {
        while line_width(widths) > limit {
            let text = widths.iter_mut().zip(&self.columns).filter(|(_, column)| self.may_be_cut(column));
            let Some(widest) = text.map(|(width, _)| width).max_by_key(|width| **width) else { return false };
            if *widest <= NARROWEST {
                return false;
            }
            *widest -= 1;
        }
        true
    }

    fn may_be_cut(&self, column: &(&'static str, Align)) -> bool {
        column.1 == Align::Left && column.0 != DIGEST
    }
}

/// How wide each column has to be for its heading and its cells.
fn widths(heading: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths = heading.iter().map(|name| name.width()).collect::<Vec<_>>();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    widths
}

/// How wide a line with these columns is.
fn line_width(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

/// How wide the lines of a result may be: as wide as the terminal, or as COLUMNS says. `None`: it goes to a file or a
/// program, and names are not cut.
fn terminal_width() -> Option<usize> {
    let columns_variable = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let detected = || console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    columns_variable.or_else(detected).filter(|columns| *columns >= 40)
}

/// Cuts the middle out of a text that is wider than `most` columns.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let (mut head, mut tail) = (most / 2, most.saturating_sub(most / 2 + 1));
    // As many characters as have room: some take two columns.
    let fits = |left: &mut usize, c: &char| {
        let width = c.width().unwrap_or_default();
        let fits = width <= *left;
        *left = if fits { *left - width } else { 0 };
        fits
    };
    let begin = text.chars().take_while(|c| fits(&mut head, c)).collect::<String>();
    let end = text.chars().rev().take_while(|c| fits(&mut tail, c)).collect::<Vec<_>>();
    format!("{begin}…{}", end.into_iter().rev().collect::<String>())
}

/// Lines of `NAME  value`, for what is said of one thing. On a terminal they fit the width.
pub(crate) fn facts(lines: &[(&str, String)]) -> String {
    fitted_facts(lines, terminal_width())
}

fn fitted_facts(lines: &[(&str, String)], limit: Option<usize>) -> String {
    let width = lines.iter().map(|(name, _)| name.width()).max().unwrap_or_default();
    let line = |(name, value): &(&str, String)| {
        let value = printable(value, 400);
        let indent = width + 2;
        let widest = value.split(' ').map(UnicodeWidthStr::width).max().unwrap_or_default();
        match limit {
            // A digest or a path that has room on a line of its own stays in one piece.
            Some(limit) if indent + widest > limit && 2 + widest <= limit => {
                format!("{name}\n  {}\n", wrap(&value, limit, 2, 2))
            }
            Some(limit) => format!("{name:width$}  {}\n", wrap(&value, limit, indent, indent)),
            None => format!("{name:width$}  {value}\n"),
        }
    };
    lines.iter().map(line).collect()
}

/// A sentence of a result, ending with a new line. On a terminal its lines fit the width.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end();
    terminal_width().map_or_else(|| text.to_owned(), |limit| wrap(text, limit, 0, 0)) + "\n"
}

/// A line of a result below another one, indented by two, ending with a new line. On a terminal its lines fit the width.
pub(crate) fn indented(text: &str) -> String {
    let wrapped = terminal_width().map_or_else(|| text.to_owned(), |limit| wrap(text, limit, 2, 2));
    format!("  {wrapped}\n")
}

/// The text in lines of at most `limit` columns, of which the first begins at column `first` and the others are indented.
/// Words are never cut.
fn wrap(text: &str, limit: usize, first: usize, indent: usize) -> String {
    let (mut wrapped, mut column) = (String::new(), first);
    for word in text.split(' ') {
        let width = word.width();
        if column > indent && !wrapped.is_empty() {
            if column + 1 + width > limit {
                wrapped.push('\n');
                wrapped.push_str(&" ".repeat(indent));
                column = indent;
            } else {
                wrapped.push(' ');
                column += 1;
            }
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
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
        table.row([image.clone(), "0123456789ab".to_owned(), "1023 MiB".to_owned()]);
        for width in [40, 80, 100] {
            let text = table.fitted(Some(width));
            assert!(text.lines().all(|line| line.width() <= width), "{text}");
            assert!(text.contains("0123456789ab") && text.contains("…"), "{text}");
        }
        // Too narrow for three columns: one below the other.
        assert!(
            table.fitted(Some(34)).ends_with("DIGEST  0123456789ab\nSIZE    1023 MiB\n"),
            "{}",
            table.fitted(Some(34))
        );
        assert!(!table.fitted(None).lines().any(|line| line.chars().count() <= 100));
    }

    #[test]
    fn digests_are_complete_where_there_is_room() {
        let mut table = Table::new(&[("IMAGE", Align::Left), ("DIGEST", Align::Left)]);
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        table.row(["edge.example.com/team/app:1.0".to_owned(), digest.clone()]);
        for width in [None, Some(102)] {
            assert!(table.fitted(width).contains(&digest), "{width:?}");
        }
        // One column less.
        for width in [101, 80, 50] {
            let text = table.fitted(Some(width));
            assert!(text.lines().all(|line| line.width() <= width), "{text}");
            assert!(text.ends_with("edge.example.com/team/app:1.0  0123456789ab\n"), "{text}");
        }
    }

    #[test]
    fn facts_and_sentences_are_wrapped_between_words() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let lines = [("Digest", digest.clone()), ("Signed by", "key-01, ".repeat(12))];
        let text = fitted_facts(&lines, Some(80));
        assert!(text.starts_with(&format!("Digest\n  {digest}\nSigned by  key-01, ")), "{text}");
        assert!(text.lines().count() > 3 && text.lines().all(|line| line.width() <= 80), "{text}");
        assert!(text.lines().skip(3).all(|line| line.starts_with("           key-01")), "{text}");
        let unlimited = fitted_facts(&lines, None);
        assert_eq!(unlimited.lines().count(), 2, "a file or a program gets complete lines");
        assert_eq!(wrap("one two three", 7, 0, 0), "one two\nthree");
        assert_eq!(wrap("one-that-is-longer two", 7, 0, 2), "one-that-is-longer\n  two");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("abcde", 5), "abcde");
        // Two columns each.
        assert_eq!(shorten("日本語日本語", 8), "日本…語");
    }
}
