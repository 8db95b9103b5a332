// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use super::*;
use crate::set::load;

const HEAD: &str = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: a\n  namespace: ns\nspec:\n  destinationRegistry: e.local\n  platforms: [linux/arm64]\n  images:\n";

fn plan(text: &str, options: &PinOptions) -> Result<PinPlan, SetError> {
    let loaded = load(&["-".into()], Some(&mut text.as_bytes())).unwrap();
    plan_file("a.yaml", text.as_bytes(), &loaded.sets.iter().collect::<Vec<_>>(), options)
}

fn written(plan: &PinPlan) -> Vec<&str> {
    plan.targets.iter().map(|target| target.written.as_str()).collect()
}

#[test]
fn what_has_no_digest_is_looked_up_and_the_rest_where_it_is_asked_for() {
    let digest = Digest::of(b"old");
    let text = format!(
        "{HEAD}  - image: r.e/a:1\n  - image: r.e/b:1@{digest}\n  - image: r.e/c@{digest}\n  - image: r.e/d:latest@{digest}\n"
    );
    let plan = |options: &PinOptions| plan(&text, options).unwrap();
    let none = plan(&PinOptions::default());
    assert_eq!((written(&none), none.digest_only, none.pinned), (vec!["r.e/a:1"], 1, 2));
    let target = &none.targets[0];
    assert_eq!((target.set_name.as_str(), target.line, target.digest), ("ns/a", 10, None));
    assert_eq!(target.platforms, ["linux/arm64".parse().unwrap()]);
    let all = plan(&PinOptions { refresh: true, patterns: Vec::new() });
    assert_eq!((all.targets.len(), all.digest_only, all.pinned), (3, 1, 0));
    let some = plan(&PinOptions { refresh: true, patterns: vec!["*:latest".parse().unwrap()] });
    let expected = format!("r.e/d:latest@{digest}");
    assert_eq!((written(&some), some.pinned), (vec!["r.e/a:1", expected.as_str()], 1));
    assert_eq!(some.targets[1].tagged.to_string(), "r.e/d:latest");
}

#[test]
fn digests_are_written_behind_the_name_as_it_stands_there() {
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    let text = format!(
        "{HEAD}  - image: docker.io/nginx:1 # short\n  - image: \"r.e/b:1@{old}\"\n  - image: r.e/c:1@{new}\n  - image: r.e/d:1\n"
    );
    let plan = plan(&text, &PinOptions { refresh: true, patterns: Vec::new() }).unwrap();
    let digest_of = |reference: &Reference| (reference.repository.as_str() != "d").then_some(new);
    let pinned = edit_file("a.yaml", text.as_bytes(), &plan.targets, digest_of).unwrap();
    let expected = format!(
        "{HEAD}  - image: docker.io/nginx:1@{new} # short\n  - image: \"r.e/b:1@{new}\"\n  - image: r.e/c:1@{new}\n  - image: r.e/d:1\n"
    );
    assert_eq!(String::from_utf8(pinned.bytes).unwrap(), expected);
    let changes = pinned.changes.iter().map(|(target, digest)| (target.line, target.digest, *digest));
    assert_eq!(changes.collect::<Vec<_>>(), [(10, None, new), (11, Some(old), new)]);
    assert_eq!(pinned.unchanged, 1);
}

#[test]
fn what_cannot_be_edited_is_refused_before_a_look_up() {
    let text = format!("{HEAD}  - image: |-\n      r.e/a:1\n  - image: r.e/b:1\n");
    let plan = plan(&text, &PinOptions::default()).unwrap();
    assert_eq!(written(&plan), ["r.e/b:1"]);
    let [refused] = plan.refused.as_slice() else { panic!("{:?}", plan.refused) };
    assert!(
        refused.to_string().starts_with("a.yaml:11:7: cannot be edited: the value is a block scalar"),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .ends_with("help: write it on one line, as `image: r.e/a:1`, and run the command again"),
        "{refused}"
    );
}

#[test]
fn a_file_that_holds_other_sets_than_were_read_is_not_edited() {
    let text = format!("{HEAD}  - image: r.e/a:1\n");
    let loaded = load(&["-".into()], Some(&mut text.as_bytes())).unwrap();
    let sets = loaded.sets.iter().collect::<Vec<_>>();
    for other in [text.replace("a:1", "a:2"), String::new(), format!("{text}---\n{text}")] {
        let error = plan_file("a.yaml", other.as_bytes(), &sets, &PinOptions::default()).unwrap_err();
        assert_eq!(error.message, "was changed while krs read it");
    }
    let same = text.replace('\n', "\r\n");
    assert!(plan_file("a.yaml", same.as_bytes(), &sets, &PinOptions::default()).is_ok());
}

#[test]
fn a_reference_that_would_be_twice_in_its_set_is_an_error_with_its_place() {
    let digest = Digest::of(b"x");
    let text = format!("{HEAD}  - image: r.e/a:1@{digest}\n  - image: r.e/a:1\n");
    let plan = plan(&text, &PinOptions::default()).unwrap();
    let errors = edit_file("a.yaml", text.as_bytes(), &plan.targets, |_| Some(digest)).unwrap_err();
    assert_eq!((errors.0[0].line, errors.0[0].file.as_str()), (11, "a.yaml"));
}
