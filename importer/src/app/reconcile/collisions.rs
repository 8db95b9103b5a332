// SPDX-License-Identifier: Apache-2.0
//! Names that two images want at the edge. Only the images are concerned that want them: they are copied under their
//! digest, and whoever may have the name keeps it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use krs_core::oci::reference::{RepositoryName, Tag};
use krs_core::set::SetImage;

use crate::model::required_images::SetName;
use crate::model::target::Target;

/// Why an image does not get its name, by its position in `spec.images`.
pub(crate) type Collisions = BTreeMap<usize, String>;

/// Takes names from the targets of a set that it gives to two things: nothing says which is meant.
pub(super) fn within(targets: &mut [Target], images: &[SetImage]) -> Collisions {
    let mut named = BTreeMap::<(RepositoryName, Tag), BTreeSet<usize>>::new();
    for (position, target) in targets.iter().enumerate() {
        for tag in &target.tags {
            named.entry((target.repository.clone(), tag.clone())).or_default().insert(position);
        }
    }
    let mut collisions = Collisions::new();
    // Targets are one for each repository and digest, so that two of one name have different digests.
    for ((repository, tag), positions) in named.into_iter().filter(|(_, positions)| positions.len() > 1) {
        let references = positions.iter().filter_map(|position| targets.get(*position));
        let references = references.map(|target| target.reference.to_string()).take(3).collect::<Vec<_>>();
        for position in positions {
            let Some(target) = targets.get_mut(position) else { continue };
            let message = format!(
                "{} would all be {}/{repository}:{tag} at the edge; give them different tags, or set destinationRepository or naming: HostInPath (they are copied under their digests)",
                references.join(" and "),
                target.registry
            );
            take(target, &tag, images, &message, &mut collisions);
        }
    }
    collisions
}

/// Takes names from the targets of the set `name` that older sets give to something else.
pub(super) fn give_up(
    targets: &mut [Target],
    images: &[SetImage],
    name: &SetName,
    contested: BTreeMap<usize, Vec<(Tag, SetName)>>,
) -> Collisions {
    let mut collisions = Collisions::new();
    for (position, tags) in contested {
        let Some(target) = targets.get_mut(position) else { continue };
        for (tag, other) in tags {
            // A namespace is not told what is in another one.
            let other = if other.namespace == name.namespace {
                format!("the older set {}", other.name)
            } else {
                "an older set of another namespace".to_owned()
            };
            let message = format!(
                "{}/{}:{tag} is {} in this set and another image in {other}; give one of them another tag, or set destinationRepository (it is copied under its digest)",
                target.registry, target.repository, target.reference
            );
            take(target, &tag, images, &message, &mut collisions);
        }
    }
    collisions
}

fn take(target: &mut Target, tag: &Tag, images: &[SetImage], message: &str, collisions: &mut Collisions) {
    let named = |position: &&usize| images.get(**position).is_some_and(|image| image.tag == *tag);
    collisions.extend(target.images.iter().filter(named).map(|position| (*position, message.to_owned())));
    target.take_tag(tag);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use krs_core::oci::digest::Digest;
    use krs_core::oci::reference::Destination;
    use serde_json::json;

    fn wanted(images: &[(&str, &str)]) -> (Vec<Target>, Vec<SetImage>) {
        let image = |(name, content): &(&str, &str)| {
            let digest = Digest::of(content.as_bytes());
            json!({"image": format!("example.com/{name}@{digest}"), "destinationRepository": "app"})
        };
        let list = images.iter().map(image).collect::<Vec<_>>();
        let spec = json!({"destinationRegistry": "edge.local", "images": list});
        let images = krs_core::set::check_spec(&serde_json::from_value(spec).unwrap()).unwrap();
        let destination = "edge.local".parse::<Destination>().unwrap();
        let targets = crate::model::target::targets(&destination, &images, |_| None, |r| r.digest).unwrap();
        (targets, images)
    }

    #[test]
    fn t153_only_images_that_want_a_contested_name_lose_it_and_each_keeps_a_tag() {
        let (mut targets, images) = wanted(&[("a:1", "x"), ("b:1", "y"), ("c:2", "x"), ("d:3", "z")]);
        let before = targets.clone();
        let collisions = within(&mut targets, &images);
        assert_eq!(collisions.keys().collect::<Vec<_>>(), [&0, &1]);
        assert!(collisions[&0].contains("app:1"), "{collisions:?}");
        let tags =
            targets.iter().map(|target| target.tags.iter().map(ToString::to_string).collect::<Vec<_>>());
        let own = Tag::of_digest(&Digest::of(b"y")).to_string();
        assert_eq!(tags.collect::<Vec<_>>(), [vec!["2".to_owned()], vec![own.clone()], vec!["3".to_owned()]]);
        assert!(
            targets[0].key != before[0].key && targets[2] == before[2],
            "what is verified is verified for the tags"
        );

        let set =
            |namespace: &str, name: &str| SetName { namespace: namespace.to_owned(), name: name.to_owned() };
        let contested = BTreeMap::from([(2, vec![("3".parse().unwrap(), set("b", "old"))])]);
        let collisions = give_up(&mut targets, &images, &set("b", "new"), contested);
        assert_eq!(collisions.keys().collect::<Vec<_>>(), [&3]);
        assert!(collisions[&3].contains("the older set old;"), "{collisions:?}");
    }

    #[test]
    fn t153_a_collision_with_another_namespace_tells_nothing_of_its_set() {
        let (mut targets, images) = wanted(&[("d:3", "z")]);
        let set =
            |namespace: &str, name: &str| SetName { namespace: namespace.to_owned(), name: name.to_owned() };
        let contested = BTreeMap::from([(0, vec![("3".parse().unwrap(), set("rival", "secret"))])]);
        let collisions = give_up(&mut targets, &images, &set("b", "new"), contested);
        let message = &collisions[&0];
        assert!(message.contains("an older set of another namespace"), "{message}");
        assert!(!message.contains("rival") && !message.contains("secret"), "{message}");
    }
}
