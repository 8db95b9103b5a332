// SPDX-License-Identifier: Apache-2.0
//! Patterns of paths: those of Go's `path.Match`, and `**` for any number of folders.

/// Most steps of one comparison.
const MAX_STEPS: usize = 100_000;

/// Whether a path matches a pattern; `**` counts only where `is_deep`.
pub(super) fn matches(pattern: &str, path: &str, is_deep: bool) -> bool {
    let pattern = pattern.split('/').collect::<Vec<_>>();
    let path = path.split('/').collect::<Vec<_>>();
    let mut steps = 0;
    parts(&pattern, &path, is_deep, &mut steps)
}

fn parts(pattern: &[&str], path: &[&str], is_deep: bool, steps: &mut usize) -> bool {
    *steps += 1;
    if *steps > MAX_STEPS {
        return false;
    }
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) if is_deep => {
            (0..=path.len()).any(|n| parts(rest, path.get(n..).unwrap_or_default(), is_deep, steps))
        }
        (Some((first, pattern)), Some((name, path))) => {
            let (first, name) = (first.chars().collect::<Vec<_>>(), name.chars().collect::<Vec<_>>());
            part(&first, &name, steps) && parts(pattern, path, is_deep, steps)
        }
        _ => false,
    }
}

fn part(pattern: &[char], name: &[char], steps: &mut usize) -> bool {
    *steps += 1;
    if *steps > MAX_STEPS {
        return false;
    }
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            (0..=name.len()).any(|n| part(rest, name.get(n..).unwrap_or_default(), steps))
        }
        (Some(('?', rest)), Some((_, name))) => part(rest, name, steps),
        (Some(('[', class)), Some((c, name))) => {
            let Some(end) = class.iter().skip(1).position(|c| *c == ']').map(|end| end + 1) else {
                return false;
            };
            let (class, rest) =
                (class.get(..end).unwrap_or_default(), class.get(end + 1..).unwrap_or_default());
            in_class(class, *c) && part(rest, name, steps)
        }
        (Some(('\\', rest)), Some((c, name))) => {
            rest.split_first().is_some_and(|(escaped, rest)| escaped == c && part(rest, name, steps))
        }
        (Some((expected, rest)), Some((c, name))) => expected == c && part(rest, name, steps),
        _ => false,
    }
}

/// Whether a character is in `a-z_`, or not in `^a-z_`.
fn in_class(class: &[char], c: char) -> bool {
    let (is_negated, class) = match class.split_first() {
        Some(('^', class)) => (true, class),
        _ => (false, class),
    };
    let mut found = false;
    let mut rest = class;
    while let Some((first, after)) = rest.split_first() {
        if let ['-', last, after @ ..] = after {
            found |= (*first..=*last).contains(&c);
            rest = after;
        } else {
            found |= *first == c;
            rest = after;
        }
    }
    found != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, path, is_deep, expected) in [
            ("apps/*", "apps/a", false, true),
            ("apps/*", "apps/a/b", false, false),
            ("*", "apps", false, true),
            ("apps/**", "apps/a/b", false, false),
            ("apps/*-prod", "apps/a-prod", false, true),
            ("d/[f|g]", "d/g", false, true),
            ("d/[f|g]", "d/e", false, false),
            ("d/[^a-c]x?", "d/dxy", false, true),
            ("d/[^a-c]x?", "d/bxy", false, false),
            ("d/[", "d/[", false, false),
            ("d/\\*", "d/*", false, true),
            ("c/**/config.json", "c/a/b/config.json", true, true),
            ("c/**/config.json", "c/config.json", true, true),
            ("c/**/config.json", "c/a/other.json", true, false),
            ("", "a", true, false),
        ] {
            assert_eq!(matches(pattern, path, is_deep), expected, "{pattern} {path}");
        }
        // It ends, whatever the pattern.
        assert!(!matches(&"*a".repeat(60), &("a".repeat(200) + "b"), false));
    }
}
