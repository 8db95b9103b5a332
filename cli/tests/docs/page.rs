// SPDX-License-Identifier: Apache-2.0
//! Pages taken apart.

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) commands: Vec<Commands>,
    /// Path and text of the YAML blocks that are files.
    pub(crate) files: Vec<(String, String)>,
    pub(crate) not_run: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Commands {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) needs: Vec<String>,
}

pub(crate) fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let (mut needs, mut not_run) = (Vec::new(), None);
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let until = |end: &str, lines: &mut std::iter::Enumerate<std::str::Lines<'_>>| {
            let indent = line.len() - line.trim_start().len();
            let inside = lines.map(|(_, line)| line).take_while(|line| line.trim() != end);
            inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect::<String>()
        };
        let trimmed = line.trim();
        let marker = |name: &str| {
            let inside = trimmed.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
            Some(inside.strip_prefix(name)?.trim().to_owned())
        };
        if trimmed == "<!-- setup:" {
            let text = until("-->", &mut lines);
            page.commands.push(Commands { line: n + 1, text, needs: Vec::new() });
        } else if let Some(programs) = marker("needs:") {
            needs = programs.split(',').map(|name| name.trim().to_owned()).collect();
            continue;
        } else if let Some(reason) = marker("not run:") {
            not_run = Some(reason);
            continue;
        } else if let Some(language) = trimmed.strip_prefix("```") {
            let text = until("```", &mut lines);
            match (language, text.strip_prefix("# file: ").and_then(|text| text.split_once('\n'))) {
                ("sh", _) if not_run.is_some() => page.not_run.extend(not_run.take()),
                ("sh", _) => page.commands.push(Commands { line: n + 1, text, needs }),
                ("yaml", Some((path, text))) => page.files.push((path.to_owned(), text.to_owned())),
                ("bash" | "shell" | "console", _) => panic!("line {}: commands are `sh` or `text`", n + 1),
                _ => {}
            }
        } else if trimmed.is_empty() {
            continue;
        }
        (needs, not_run) = (Vec::new(), None);
    }
    page
}

#[test]
fn a_page_is_taken_apart_into_commands_and_files() {
    let page = parse(
        "x\n```sh\na\n```\n<!-- needs: b, c -->\n1. y\n   ```sh\n   d\n     e\n   ```\n<!-- needs: f -->\n\n```sh\ng\n```\n\
         <!-- setup:\nh\n-->\n<!-- not run: why -->\n```sh\ni\n```\n```yaml\n# file: p/q.yaml\nr: 1\n```\n```text\ns\n```\n",
    );
    let commands = |line, text: &str, needs: &[&str]| Commands {
        line,
        text: text.to_owned(),
        needs: needs.iter().map(|name| (*name).to_owned()).collect(),
    };
    let expected = [
        commands(2, "a\n", &[]),
        commands(7, "d\n  e\n", &[]),
        commands(13, "g\n", &["f"]),
        commands(16, "h\n", &[]),
    ];
    assert_eq!(page.commands, expected);
    assert_eq!(page.files, [("p/q.yaml".to_owned(), "r: 1\n".to_owned())]);
    assert_eq!(page.not_run, ["why"]);
}
