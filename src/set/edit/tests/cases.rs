// SPDX-License-Identifier: Apache-2.0
//! Layouts that people write, one by one.

use crate::set::edit::{Editor, NewImage};

const HEAD: &str = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: a\nspec:\n  destinationRegistry: e.local\n";

/// The text after `edit`, without its first lines.
fn edited(images: &str, edit: impl Fn(&mut Editor<'_>)) -> String {
    let text = format!("{HEAD}{images}");
    let mut editor = Editor::open("a.yaml", text.as_bytes()).unwrap();
    edit(&mut editor);
    let result = editor.finish().unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(result).unwrap().strip_prefix(HEAD).unwrap().to_owned()
}

fn append(editor: &mut Editor<'_>, image: &str) {
    editor
        .append(0, &[NewImage { image: image.to_owned(), comment: Some("from web.yaml\nline 3".to_owned()) }])
        .unwrap();
}

#[test]
fn entries_are_appended_behind_the_last_and_before_comments_below_it() {
    for (before, after) in [
        (
            "  images:\n  - image: r.e/a:1 # c\n  # x\n\n  suspend: true\n",
            "  images:\n  - image: r.e/a:1 # c\n  # from web.yaml\n  # line 3\n  - image: r.e/b:1\n  # x\n\n  suspend: true\n",
        ),
        // Only an entry with no more than an image is copied as it is.
        (
            "  images:\n  - platforms: [linux/arm64]\n    image:   'r.e/a:1'\n",
            "  images:\n  - platforms: [linux/arm64]\n    image:   'r.e/a:1'\n  # from web.yaml\n  # line 3\n  - image:   'r.e/b:1'\n",
        ),
        (
            "  images:\n  -\n    image: r.e/a:1\n  -   image: r.e/c:1",
            "  images:\n  -\n    image: r.e/a:1\n  -   image: r.e/c:1\n  # from web.yaml\n  # line 3\n  -   image: r.e/b:1",
        ),
        (
            "  images: [\n    {image: r.e/a:1}, {image: r.e/c:1}]\n",
            "  images: [\n    {image: r.e/a:1}, {image: r.e/c:1}, {image: r.e/b:1}]\n",
        ),
        ("  images: [{ image: r.e/a:1 },]\n", "  images: [{ image: r.e/a:1 }, { image: r.e/b:1 },]\n"),
        ("  images: []  # none\n", "  images:  # none\n  # from web.yaml\n  # line 3\n  - image: r.e/b:1\n"),
        (
            "  images:\n  suspend: true\n",
            "  images:\n  # from web.yaml\n  # line 3\n  - image: r.e/b:1\n  suspend: true\n",
        ),
        ("  images: ~", "  images:\n  # from web.yaml\n  # line 3\n  - image: r.e/b:1"),
    ] {
        assert_eq!(edited(before, |editor| append(editor, "r.e/b:1")), after);
    }
}

#[test]
fn a_registry_in_brackets_gets_quotes() {
    let images = "  images:\n  - image: r.e/a:1\n";
    assert_eq!(
        edited(images, |editor| append(editor, "[::1]:5000/b:1")),
        "  images:\n  - image: r.e/a:1\n  # from web.yaml\n  # line 3\n  - image: \"[::1]:5000/b:1\"\n"
    );
}

#[test]
fn comments_cannot_become_content() {
    let comment = Some("x\r\n- image: r.e/evil:1\u{2028}- image: r.e/evil:2\u{85}\t".to_owned());
    let result = edited("  images:\n  - image: r.e/a:1\n", |editor| {
        editor.append(0, &[NewImage { image: "r.e/b:1".to_owned(), comment: comment.clone() }]).unwrap();
    });
    let text = format!("{HEAD}{result}");
    // Line breaks of YAML 1.1 are none here, and are for other readers of the file.
    assert!(!text.contains(['\u{2028}', '\u{85}', '\r']), "{text}");
    let images = Editor::open("a.yaml", text.as_bytes()).unwrap().images(0);
    let written = images.into_iter().map(|image| image.written.unwrap()).collect::<Vec<_>>();
    assert_eq!(written, ["r.e/a:1", "r.e/b:1"]);
}

#[test]
fn entries_are_removed_with_the_comments_that_belong_to_them() {
    let images = "  images:\n  # about a\n  - image: r.e/a:1\n    # more about a\n\n  # a heading\n\n  # about b\n  - image: r.e/b:1\n  - {image: r.e/c:1}  # c";
    let remove = |n| edited(images, move |editor| editor.remove(0, n).unwrap());
    assert_eq!(
        remove(0),
        "  images:\n\n  # a heading\n\n  # about b\n  - image: r.e/b:1\n  - {image: r.e/c:1}  # c"
    );
    assert_eq!(
        remove(1),
        "  images:\n  # about a\n  - image: r.e/a:1\n    # more about a\n\n  # a heading\n\n  - {image: r.e/c:1}  # c"
    );
    assert_eq!(remove(2), images.strip_suffix("\n  - {image: r.e/c:1}  # c").unwrap());
}

#[test]
fn all_edits_of_a_file_are_made_together() {
    let images = "  images:\n  - image: r.e/a:1\n  - image: r.e/b:1\n  - image: r.e/c:1\n";
    let result = edited(images, |editor| {
        editor.replace(0, 1, "r.e/b:2").unwrap();
        editor.remove(0, 2).unwrap();
        editor.append(0, &[NewImage { image: "r.e/d:1".to_owned(), comment: None }]).unwrap();
        editor.append(0, &[NewImage { image: "r.e/e:1".to_owned(), comment: None }]).unwrap();
        editor.remove(0, 0).unwrap();
    });
    assert_eq!(result, "  images:\n  - image: r.e/b:2\n  - image: r.e/d:1\n  - image: r.e/e:1\n");
}

#[test]
fn anchors_elsewhere_do_not_hinder() {
    let images = "  platforms: &p [linux/amd64]\n  images:\n  - image: r.e/a:1\n    platforms: *p\n";
    let result = edited(images, |editor| editor.replace(0, 0, "r.e/a:2").unwrap());
    assert_eq!(result, images.replace("a:1", "a:2"));
}
