// SPDX-License-Identifier: Apache-2.0
//! Sets in many layouts: an edit of the text gives what the same layout gives for the edited set.

use proptest::prelude::*;

use crate::set::edit::{Editor, NewImage};

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    image: String,
    /// Comment lines above.
    above: Vec<String>,
    /// Comment behind, on its line.
    behind: Option<String>,
    platforms: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Line {
    Entry(Entry),
    Blank,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    /// In lines, with so many blanks before and behind the dash.
    Block {
        indent: usize,
        gap: usize,
    },
    /// Braces, each on its line in brackets.
    FlowLines {
        last_comma: bool,
    },
    FlowInline,
    JsonLines,
    JsonExpanded,
    JsonInline,
}

#[derive(Debug, Clone)]
struct File {
    layout: Layout,
    quote: &'static str,
    quoted_key: bool,
    crlf: bool,
    mark: bool,
    final_break: bool,
    in_list: bool,
    /// Other documents before and behind.
    others: bool,
    sets: Vec<Vec<Line>>,
}

impl Layout {
    const fn is_json(self) -> bool {
        matches!(self, Self::JsonLines | Self::JsonExpanded | Self::JsonInline)
    }
    const fn has_comments(self) -> bool {
        matches!(self, Self::Block { .. } | Self::FlowLines { .. })
    }
}

impl File {
    fn text(&self) -> String {
        let sets = self.sets.iter().enumerate().map(|(n, lines)| self.set(n, lines)).collect::<Vec<_>>();
        let mut text = if self.layout.is_json() {
            let items = sets.join(",\n");
            if self.in_list {
                format!("{{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n{items}\n]}}\n")
            } else {
                items + "\n"
            }
        } else if self.in_list {
            let item = |set: &String| {
                let lines = set.lines().enumerate().map(|(n, line)| match (n, line) {
                    (0, line) => format!("- {line}\n"),
                    (_, "") => "\n".to_owned(),
                    (_, line) => format!("  {line}\n"),
                });
                lines.collect::<String>()
            };
            format!("apiVersion: v1\nkind: List\nitems:\n{}", sets.iter().map(item).collect::<String>())
        } else {
            sets.join("---\n")
        };
        if self.others {
            text = format!("# first\n{{{{ .Values }}}}: {{a\n--- # ä\n{text}---\na: &x 1\nb: *x # last\n");
        }
        if !self.final_break {
            text.truncate(text.trim_end_matches('\n').len());
        }
        if self.crlf {
            text = text.replace('\n', "\r\n");
        }
        if self.mark { format!("\u{feff}{text}") } else { text }
    }

    fn set(&self, n: usize, lines: &[Line]) -> String {
        if self.layout.is_json() {
            let images = self.json_images(lines);
            return format!(
                "{{\"apiVersion\": \"kuberegistrysync.io/v1alpha1\", \"kind\": \"EdgeImageSet\",\n \"metadata\": {{\"name\": \"s{n}\"}},\n \"spec\": {{\n  \"destinationRegistry\": \"edge.local\",\n  \"images\": {images},\n  \"suspend\": true\n }}}}"
            );
        }
        let images = self.yaml_images(lines);
        format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {{name: s{n}}} # ü\nspec:\n  destinationRegistry: edge.local\n  images:{images}  # end\n  suspend: true   # also\n"
        )
    }

    fn key(&self) -> &'static str {
        if self.quoted_key { "\"image\"" } else { "image" }
    }

    fn braces(&self, entry: &Entry) -> String {
        let (q, key) = if self.layout.is_json() { ("\"", "\"image\"") } else { (self.quote, self.key()) };
        let more = match (entry.platforms, self.layout.is_json()) {
            (false, _) => "",
            (true, true) => ", \"platforms\": [\"linux/amd64\"]",
            (true, false) => ", platforms: [linux/amd64]",
        };
        format!("{{{key}: {q}{}{q}{more}}}", entry.image)
    }

    fn yaml_images(&self, lines: &[Line]) -> String {
        let mut text = String::new();
        let entries = entries(lines);
        let behind = |entry: &Entry| entry.behind.as_ref().map(|c| format!(" # {c}")).unwrap_or_default();
        match self.layout {
            Layout::Block { indent, gap } => {
                let (indent, gap) = (" ".repeat(indent + 2), " ".repeat(gap));
                text.push_str(" # the images\n");
                for line in lines {
                    let Line::Entry(entry) = line else {
                        text.push('\n');
                        continue;
                    };
                    entry.above.iter().for_each(|c| text.push_str(&format!("{indent}# {c}\n")));
                    let (q, key, behind) = (self.quote, self.key(), behind(entry));
                    text.push_str(&format!("{indent}-{gap}{key}: {q}{}{q}{behind}\n", entry.image));
                    if entry.platforms {
                        text.push_str(&format!("{indent} {gap}# which\n{indent} {gap}platforms:\n{indent} {gap}- linux/amd64 # p\n"));
                    }
                }
            }
            Layout::FlowLines { last_comma } => {
                text.push_str(" [ # the images\n");
                let last = entries.len() - 1;
                let mut n = 0;
                for line in lines {
                    let Line::Entry(entry) = line else {
                        text.push('\n');
                        continue;
                    };
                    entry.above.iter().for_each(|c| text.push_str(&format!("    # {c}\n")));
                    let comma = if n < last || last_comma { "," } else { "" };
                    text.push_str(&format!("    {}{comma}{}\n", self.braces(entry), behind(entry)));
                    n += 1;
                }
                text.push_str("  ]\n");
            }
            _ => {
                let all = entries.iter().map(|entry| self.braces(entry)).collect::<Vec<_>>();
                text.push_str(&format!(" [{}] # all\n", all.join(", ")));
            }
        }
        text
    }

    fn json_images(&self, lines: &[Line]) -> String {
        let entries = entries(lines);
        let all = entries.iter().map(|entry| match self.layout {
            Layout::JsonExpanded => {
                let braces = self.braces(entry);
                let inner = braces
                    .trim_start_matches('{')
                    .strip_suffix('}')
                    .unwrap()
                    .replace(", \"p", ",\n      \"p");
                format!("{{\n      {inner}\n    }}")
            }
            _ => self.braces(entry),
        });
        let all = all.collect::<Vec<_>>();
        if self.layout == Layout::JsonInline {
            format!("[{}]", all.join(", "))
        } else {
            format!("[\n    {}\n  ]", all.join(",\n    "))
        }
    }
}

fn entries(lines: &[Line]) -> Vec<&Entry> {
    lines.iter().filter_map(|line| if let Line::Entry(entry) = line { Some(entry) } else { None }).collect()
}

#[derive(Debug, Clone)]
enum Edit {
    Keep,
    Replace(String),
    Remove,
}

fn digest(n: u64) -> String {
    format!("@sha256:{n:064x}")
}

fn reference() -> impl Strategy<Value = String> {
    ("[a-z]{1,4}(/[a-z0-9]{1,5}){1,2}", "[a-z0-9]{1,3}", prop::option::of(any::<u64>())).prop_map(
        |(path, tag, number)| format!("r.example/{path}:{tag}{}", number.map(digest).unwrap_or_default()),
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let comment =
        || prop::sample::select(vec!["x", "- image: y", "ö: [", "\"quoted\""]).prop_map(str::to_owned);
    (reference(), prop::collection::vec(comment(), 0..2), prop::option::of(comment()), any::<bool>())
        .prop_map(|(image, above, behind, platforms)| Entry { image, above, behind, platforms })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![3 => Just(Edit::Keep), 2 => reference().prop_map(Edit::Replace), 1 => Just(Edit::Remove)]
}

type Edited = (Vec<(Entry, bool, Edit)>, Vec<(String, Option<String>)>);

fn set() -> impl Strategy<Value = Edited> {
    let new = (reference(), prop::option::of(Just("Deployment web".to_owned())));
    (prop::collection::vec((entry(), any::<bool>(), edit()), 1..6), prop::collection::vec(new, 0..3))
}

fn file() -> impl Strategy<Value = File> {
    let layout = prop_oneof![
        3 => (0_usize..4, 1_usize..4).prop_map(|(indent, gap)| Layout::Block { indent, gap }),
        2 => any::<bool>().prop_map(|last_comma| Layout::FlowLines { last_comma }),
        1 => Just(Layout::FlowInline),
        1 => Just(Layout::JsonLines),
        1 => Just(Layout::JsonExpanded),
        1 => Just(Layout::JsonInline),
    ];
    let flags = prop::array::uniform6(any::<bool>());
    (layout, prop::sample::select(vec!["", "'", "\""]), flags).prop_map(
        |(layout, quote, [quoted_key, crlf, mark, final_break, in_list, others])| File {
            layout,
            quote,
            quoted_key,
            crlf,
            mark,
            final_break,
            in_list,
            others,
            sets: Vec::new(),
        },
    )
}

/// Each image of a set is another one, or the set breaks a rule.
fn distinct(n: usize, image: &str) -> String {
    image.replacen("r.example", &format!("r{n}.example"), 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn t271_an_edit_gives_what_the_layout_gives_for_the_edited_set(
        mut file in file(),
        sets in prop::collection::vec(set(), 1..3),
    ) {
        let mut edited = file.clone();
        let mut calls = Vec::new();
        let mut n = 0;
        for (entries, new) in sets.into_iter().take(if file.layout.is_json() && !file.in_list { 1 } else { 2 }) {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            let mut edits = Vec::new();
            // The rest of a list stays, whatever is removed.
            let kept = entries.len() - 1;
            for (at, (mut entry, blank, edit)) in entries.into_iter().enumerate() {
                n += 1;
                entry.image = distinct(n, &entry.image);
                if !file.layout.has_comments() {
                    (entry.above, entry.behind) = (Vec::new(), None);
                } else if blank {
                    before.push(Line::Blank);
                    after.push(Line::Blank);
                }
                before.push(Line::Entry(entry.clone()));
                let last = at == kept;
                match &edit {
                    Edit::Remove if last => edits.push(Edit::Keep),
                    _ => edits.push(edit.clone()),
                }
                match edit {
                    Edit::Replace(image) => {
                        n += 1;
                        let image = distinct(n, &image);
                        *edits.last_mut().unwrap() = Edit::Replace(image.clone());
                        after.push(Line::Entry(Entry { image, ..entry }));
                    }
                    Edit::Remove if !last => {}
                    _ => after.push(Line::Entry(entry)),
                }
            }
            let mut images = Vec::new();
            for (image, comment) in new {
                n += 1;
                let image = distinct(n, &image);
                let above = comment.clone().filter(|_| file.layout.has_comments()).into_iter().collect();
                images.push(NewImage { image: image.clone(), comment });
                after.push(Line::Entry(Entry { image, above, behind: None, platforms: false }));
            }
            file.sets.push(before);
            edited.sets.push(after);
            calls.push((edits, images));
        }
        let (old, new) = (file.text(), edited.text());
        let mut editor = Editor::open("set.yaml", old.as_bytes()).unwrap();
        prop_assert_eq!(editor.sets(), file.sets.len(), "{}", old);
        for (set, (edits, images)) in calls.iter().enumerate() {
            let written = editor.images(set).into_iter().map(|image| image.written.unwrap()).collect::<Vec<_>>();
            let expected = entries(&file.sets[set]).into_iter().map(|entry| entry.image.clone()).collect::<Vec<_>>();
            prop_assert_eq!(written, expected);
            for (n, edit) in edits.iter().enumerate() {
                match edit {
                    Edit::Keep => {}
                    Edit::Replace(image) => editor.replace(set, n, image).unwrap(),
                    Edit::Remove => editor.remove(set, n).unwrap(),
                }
            }
            editor.append(set, images).unwrap();
        }
        let result = editor.finish().unwrap_or_else(|error| panic!("{error}\n{old}"));
        let result = String::from_utf8(result).unwrap();
        prop_assert_eq!(result, new, "{}", old);
    }

    #[test]
    fn hostile_text_is_edited_right_or_refused(text in hostile()) {
        let Ok(mut editor) = Editor::open("set.yaml", text.as_bytes()) else { return Ok(()) };
        for set in 0..editor.sets() {
            for image in 0..editor.images(set).len() {
                let _ = editor.replace(set, image, "r.example/new:1");
            }
            let _ = editor.append(set, &[NewImage { image: "r.example/other:1".to_owned(), comment: None }]);
        }
        if let Ok(result) = editor.finish() {
            let again = Editor::open("set.yaml", &result).unwrap();
            let images = (0..again.sets()).flat_map(|set| again.images(set));
            for image in images.filter_map(|image| image.written) {
                prop_assert!(image.parse::<crate::oci::reference::Reference>().is_ok(), "{}", image);
            }
        }
    }
}

/// A set of which pieces of text are inserted at random places.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "&a ",
        "*a",
        "!t ",
        "|\n",
        ">-\n",
        "? ",
        "- ",
        "\n",
        "\r",
        "\t",
        " ",
        "#",
        "\"",
        "'",
        "\\n",
        "---\n",
        "...\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        "<<: ",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "images:",
        "%YAML 1.2\n",
        "ä",
    ]);
    let set = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: a\nspec:\n  destinationRegistry: e.local\n  images:\n  - image: r.example/a:1 # c\n  - {image: \"r.example/b:1\"}\n  - image: 'r.example/c:1'\n    platforms: [linux/amd64]\n";
    prop::collection::vec((any::<prop::sample::Index>(), part), 0..4).prop_map(move |parts| {
        let mut text = set.to_owned();
        for (index, part) in parts {
            let mut at = index.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.insert_str(at, part);
        }
        text
    })
}
