// SPDX-License-Identifier: Apache-2.0
//! What is not edited, with the place and what to write by hand.

use crate::set::edit::{Editor, NewImage};

const HEAD: &str = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: a\n";

fn replace(rest: &str) -> String {
    let text = format!("{HEAD}{rest}");
    let mut editor = Editor::open("a.yaml", text.as_bytes()).unwrap();
    editor.replace(0, 0, "r.e/new:1").unwrap_err().to_string()
}

#[test]
fn values_that_do_not_stand_there_as_they_read() {
    for (rest, place, reason) in [
        ("spec:\n  images:\n  - image: |-\n      r.e/a:1\n", "8:7", "the value is a block scalar"),
        ("spec:\n  images:\n  - image: >-\n      r.e/a:1\n", "8:7", "the value is a block scalar"),
        (
            "spec:\n  images:\n  - image: \"r.e/a\\x3a1\"\n",
            "7:12",
            "the value is a scalar with escapes, or on several lines",
        ),
        (
            "spec:\n  images:\n  - image: r.e/a:1\n      b\n",
            "7:12",
            "the value is a scalar with escapes, or on several lines",
        ),
        ("spec:\n  images:\n  - image: &a r.e/a:1\n", "7:15", "the value is written with an anchor"),
        ("spec:\n  images:\n  - image: !!str r.e/a:1\n", "7:18", "the value is written with a tag"),
        ("metadata: &a r.e/a:1\nspec:\n  images:\n  - image: *a\n", "8:12", "the value is an alias"),
        ("a: &a {image: r.e/a:1}\nspec:\n  images:\n  - *a\n", "8:5", "the entry is an alias"),
        (
            "a: &a {image: r.e/a:1}\nspec:\n  images:\n  - <<: *a\n",
            "8:5",
            "the entry has no `image` of its own",
        ),
        ("a: &a [{image: r.e/a:1}]\nspec:\n  images: *a\n", "7:11", "`spec.images` is an alias"),
        ("a: &a {images: []}\nspec: *a\n", "6:7", "`spec` is an alias"),
        ("a: &a {images: []}\nspec:\n  <<: *a\n", "7:3", "the spec has no `images` of its own"),
        (
            "spec:\n  images:\n  - image: r.e/${APP}:1\n",
            "7:12",
            "the value has a variable, which another program fills in",
        ),
        ("spec:\n  images: []\n", "6:11", "`spec.images` has no entry 0"),
    ] {
        let message = replace(rest);
        assert!(message.starts_with(&format!("a.yaml:{place}: cannot be edited: {reason}\n")), "{message}");
        assert!(message.ends_with("\n  help: write it by hand: image: r.e/new:1"), "{message}");
    }
}

#[test]
fn a_new_value_that_is_no_reference() {
    let text = format!("{HEAD}spec:\n  images:\n  - image: r.e/a:1\n");
    let mut editor = Editor::open("a.yaml", text.as_bytes()).unwrap();
    for value in ["", "r.e/a", "r.e/a:1 # x", "r.e/a:1\n- image: r.e/b:1", "\"", "${A}"] {
        let message = editor.replace(0, 0, value).unwrap_err().to_string();
        assert!(message.contains("is not a reference"), "{message}");
        let new = NewImage { image: value.to_owned(), comment: None };
        assert!(editor.append(0, &[new]).is_err());
    }
    assert_eq!(editor.finish().unwrap(), text.as_bytes());
}

#[test]
fn a_result_that_breaks_a_rule() {
    let text = format!(
        "{HEAD}spec:\n  destinationRegistry: e.local\n  images:\n  - image: r.e/a:1\n  - image: r.e/a:2\n"
    );
    let edit = |edit: &dyn Fn(&mut Editor<'_>)| {
        let mut editor = Editor::open("a.yaml", text.as_bytes()).unwrap();
        edit(&mut editor);
        editor.finish().unwrap_err().to_string()
    };
    let message = edit(&|editor| editor.replace(0, 0, "r.e/a:2").unwrap());
    assert!(message.starts_with("a.yaml:9:12: "), "{message}");
    let message = edit(&|editor| {
        editor.remove(0, 0).unwrap();
        editor.remove(0, 1).unwrap();
    });
    let expected = "a.yaml:8:5: cannot be edited: no image would be left; remove the set";
    assert!(message.starts_with(expected), "{message}");
    let message = edit(&|editor| {
        editor.remove(0, 0).unwrap();
        editor.replace(0, 0, "r.e/a:3").unwrap();
    });
    assert!(message.starts_with("a.yaml:1: edits that concern the same entry"), "{message}");
}

#[test]
fn files_that_cannot_be_opened() {
    let open = |bytes: &[u8]| Editor::open("a.yaml", bytes).map(|editor| editor.sets());
    assert_eq!(open(b"\xff").unwrap_err().to_string(), "a.yaml: is not UTF-8");
    assert_eq!(open(b"a: [").unwrap(), 0);
    assert_eq!(open(b"kind: EdgeImageSet\nspec: [").unwrap(), 0);
    assert!(open(&vec![b' '; (32 << 20) + 1]).is_err());
}
