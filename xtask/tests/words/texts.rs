// SPDX-License-Identifier: Apache-2.0
//! Reads what users read, line by line.

use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use crate::list::Scope;

/// A file, the number of a line, and its text.
pub(crate) type Line = (String, usize, String);

pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Commands that have such a name.
const COMMANDS: [&str; 4] = ["docker login", "podman login", "skopeo login", "krs login"];

/// Everything of a scope, without these commands.
pub(crate) fn texts(scope: Scope) -> Vec<Line> {
    let mut lines = lines_of(scope);
    for (_, _, line) in &mut lines {
        *line = COMMANDS.iter().fold(std::mem::take(line), |line, command| line.replace(command, ""));
    }
    lines
}

fn lines_of(scope: Scope) -> Vec<Line> {
    match scope {
        Scope::Docs => {
            let root = ["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"];
            let mut pages = root.map(str::to_owned).to_vec();
            for folder in ["docs", "docs/reference", "docs/design", "docs/adr"] {
                pages.extend(files(folder, &[".md"]));
            }
            // Made of the help, of the names of tests, and of a measurement.
            let generated = ["docs/reference/cli.md", "docs/faults.md", "docs/benchmarks.md"];
            pages.retain(|page| !generated.contains(&page.as_str()));
            pages.iter().flat_map(|page| prose(page)).collect()
        }
        Scope::Chart => {
            let folders = ["importer/chart", "importer/chart/templates", "importer/chart/files/crds"];
            let endings = [".yaml", ".json", ".txt", ".md"];
            folders.iter().flat_map(|folder| files(folder, &endings)).flat_map(|file| lines(&file)).collect()
        }
        Scope::Help => {
            let snapshots = files("cli/tests/it/snapshots", &[".snap"]).into_iter();
            snapshots.filter(|file| file.contains("__help__")).flat_map(|file| lines(&file)).collect()
        }
        Scope::Messages => {
            let folders = ["src", "cli/src", "compact/src", "importer/src"].iter();
            folders
                .flat_map(|folder| rust_files(folder))
                .flat_map(|file| literals(&file, &read(&file)))
                .collect()
        }
    }
}

/// The files of a folder with these endings, by their paths from the root.
fn files(folder: &str, endings: &[&str]) -> Vec<String> {
    let entries = fs::read_dir(checkout().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    let mut files = names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>();
    files.sort();
    files
}

/// All Rust files below a folder, tests apart.
pub(crate) fn rust_files(folder: &str) -> Vec<String> {
    let mut found = files(folder, &[".rs"]);
    found.retain(|file| !file.ends_with("tests.rs"));
    for entry in fs::read_dir(checkout().join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "tests" && checkout().join(folder).join(&name).is_dir() {
            found.extend(rust_files(&format!("{folder}/{name}")));
        }
    }
    found
}

fn lines(file: &str) -> Vec<Line> {
    let text = read(file);
    text.lines().enumerate().map(|(number, line)| (file.to_owned(), number + 1, line.to_owned())).collect()
}

/// The lines of a page that are not in a block of code or an invisible comment, without what is in back-ticks.
fn prose(file: &str) -> Vec<Line> {
    let (mut in_code, mut in_comment) = (false, false);
    let is_prose = |(_, _, line): &Line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        in_comment |= line.starts_with("<!--");
        let prose = !in_code && !fence && !in_comment;
        in_comment &= !line.contains("-->");
        prose
    };
    let prose = lines(file).into_iter().filter(is_prose);
    // Commands and messages are quoted as they are.
    let without_code = |line: String| line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    prose.map(|(file, number, line)| (file, number, without_code(line))).collect()
}

/// String literals in the code of a file, without its tests.
fn literals(file: &str, source: &str) -> Vec<Line> {
    let code = source.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let mut found = Vec::new();
    collect(code.parse().expect("the file is Rust"), &mut found);
    let is_text = |text: &String| text.starts_with('"');
    let found = found.into_iter().filter(|(_, text)| is_text(text));
    found.map(|(line, text)| (file.to_owned(), line, text)).collect()
}

fn collect(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    let mut is_attribute = false;
    for token in tokens {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                is_attribute = true;
                continue;
            }
            TokenTree::Punct(mark) if is_attribute && mark.as_char() == '!' => continue,
            TokenTree::Group(group) if is_attribute && is_doc(group.stream()) => {}
            TokenTree::Group(group) => collect(group.stream(), found),
            TokenTree::Literal(literal) => {
                // A literal that goes over several lines is joined as the compiler does it.
                let text = literal.to_string();
                let lines = text.split("\\\n").map(str::trim_start).collect::<Vec<_>>();
                found.push((literal.span().start().line, lines.concat()));
            }
            _ => {}
        }
        is_attribute = false;
    }
}

/// Whether these are the inside of `#[doc = "…"]`, which a comment is too.
fn is_doc(tokens: TokenStream) -> bool {
    matches!(tokens.into_iter().next(), Some(TokenTree::Ident(name)) if name == "doc")
}

#[test]
fn literals_are_read_without_comments_and_tests() {
    let source = "//! One two.\n/// Three four.\n// five \"six seven\"\n#[error(\"eight nine\")]\nfn f() {\n    g(\"ten \\\n       \
                  eleven\", \"twelve\", 13, 'x', b\"no text\");\n}\n#[cfg(test)]\nmod tests { const A: &str = \"no no\"; }\n";
    let found = literals("f.rs", source).into_iter().map(|(_, line, text)| (line, text)).collect::<Vec<_>>();
    assert_eq!(
        found,
        [(4, "\"eight nine\"".to_owned()), (6, "\"ten eleven\"".to_owned()), (7, "\"twelve\"".to_owned())]
    );
}

#[test]
fn blocks_of_code_are_no_prose() {
    let page = prose("docs/bundle-in-ci.md");
    assert!(page.iter().any(|(_, _, line)| line.starts_with("# ")));
    assert!(!page.iter().any(|(_, _, line)| line.starts_with("krs bundle sites") || line.starts_with("```")));
}
