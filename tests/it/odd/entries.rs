// SPDX-License-Identifier: Apache-2.0
//! Indexes with odd platforms, annotations and entries of unknown types; content in descriptors.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn t97_indexes_with_odd_platforms_and_annotations_arrive_byte_for_byte() {
    let mut site = site();
    let plain = index(&[(&image("linux/amd64", 1), None)]);
    let shapes = [
        json!({"platform": {}}),
        json!({"platform": {"architecture": "amd64"}}),
        json!({"platform": {"os": "", "architecture": ""}}),
        json!({"platform": {"os": null, "architecture": null}}),
        json!({"platform": {"os": "linux", "architecture": "amd64", "variant": null, "os.features": null}}),
        json!({"annotations": null}),
        json!({"annotations": {"a": null}}),
        json!({"urls": null, "data": null, "artifactType": null}),
    ];
    let images = shapes.iter().enumerate().map(|(n, shape)| {
        let image = changed(&plain, |index| krs_testing::merge(&mut index["manifests"][0], shape));
        (format!("team/odd{n}"), image)
    });
    let images = images.collect::<Vec<_>>();
    for (name, image) in &images {
        site.add(image, name, "1");
    }
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    for (name, image) in &images {
        let (_, bytes) = site.edge.manifest(name, "1").unwrap();
        assert_eq!(bytes, image.manifest, "{name}");
        assert!(is_whole(&site.edge, name, image).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t97_a_child_of_an_unknown_type_travels_where_it_can_be_had() {
    let mut site = site();
    let plain = index(&[(&image("linux/amd64", 1), None)]);
    let child = |bytes: &[u8]| json!({"mediaType": "application/vnd.example.unknown", "digest": Digest::of(bytes), "size": bytes.len()});
    let contents: [&[u8]; 3] = [b"as a blob", br#"{"as": "a manifest"}"#, b"nowhere"];
    let odd = changed(&plain, |index| {
        index["manifests"].as_array_mut().unwrap().extend(contents.map(child));
    });
    site.add(&odd, "team/app", "1");
    site.source.put_blob("team/app", contents[0]);
    let [_, manifest, nowhere] = contents.map(Digest::of);
    site.source.put_manifest(
        "team/app",
        &manifest.to_string(),
        "application/vnd.example.unknown",
        contents[1],
    );
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    let remarks = resolved.images[0].remarks();
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].contains("without the entry of type application/vnd.example.unknown"), "{remarks:?}");
    assert!(remarks[0].contains(&nowhere.to_string()), "{remarks:?}");
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    assert_eq!(site.edge.manifest("team/app", "1").unwrap().1, odd.manifest);
    for content in &contents[..2] {
        assert_eq!(site.edge.blob("team/app", &Digest::of(content)).as_deref(), Some(*content));
    }
    assert!(is_whole(&site.edge, "team/app", &odd).await);
}

/// An index with an entry of an unknown type.
fn opaque(content: &[u8]) -> Image {
    let plain = index(&[(&image("linux/amd64", 1), None)]);
    let child = json!({
        "mediaType": "application/vnd.example.unknown", "digest": Digest::of(content), "size": content.len(),
    });
    changed(&plain, |index| index["manifests"].as_array_mut().unwrap().push(child))
}

#[tokio::test(flavor = "multi_thread")]
async fn t150_an_entry_of_an_unknown_type_is_put_as_a_manifest_where_an_edge_wants_that() {
    let content = br#"{"is": "neither an index nor a manifest"}"#;
    let image = opaque(content);
    let of_any_type = Options { unknown_types: true, ..Options::default() };
    for (edge, taken) in [(of_any_type, true), (Options::default(), false)] {
        let mut site = Site::with(Options { sparse_indexes: true, ..Options::default() }, edge);
        site.add(&image, "team/app", "1");
        site.source.put_blob("team/app", content);
        let (bundle, opened) = site.open("a.krs.tar").await;
        let pushed = site.push(&bundle, &opened).await;
        assert_eq!(site.edge.digest("team/app", "1").is_some(), taken);
        if taken {
            assert_eq!(pushed.unwrap().referrers, []);
            assert!(is_whole(&site.edge, "team/app", &image).await);
            continue;
        }
        let help = pushed.unwrap_err().help().unwrap();
        let named = format!("entry of type application/vnd.example.unknown {}: ", Digest::of(content));
        assert!(help.contains(&named) && help.contains("is not accepted"), "{help}");
        assert!(help.contains("validation.manifests.indexes.platforms"), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t96_content_in_a_descriptor_is_used_without_asking_and_sent_as_a_blob() {
    let mut site = site();
    let artifact = |data: &str| {
        ImageBuilder::new("tool").artifact_type("application/x-tool").layer_random(2000, 1).build_with(
            |manifest| {
                manifest["config"]["data"] = data.into();
            },
        )
    };
    let (sound, damaged) = (artifact("e30="), artifact("eyJ9"));
    site.add(&sound, "team/sound", "1");
    let config = sound.blobs.iter().find(|(_, bytes)| bytes == b"{}").unwrap().0;
    site.source.delete_blob(&config);
    site.source.clear_requests();
    let (bundle, opened) = site.open("a.krs.tar").await;
    let requests = site.source.requests();
    assert!(!requests.iter().any(|request| request.path.contains(&config.to_string())));
    site.push(&bundle, &opened).await.unwrap();
    assert_eq!(site.edge.blob("team/sound", &config).as_deref(), Some(&b"{}"[..]));

    // What is not the content is not used, and that is said.
    site.add(&damaged, "team/damaged", "1");
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    assert!(resolved.images[0].remarks().is_empty());
    let remarks = resolved.images[1].remarks();
    assert!(remarks[0].contains("`data`") && remarks[0].contains(&config.to_string()), "{remarks:?}");
    site.open("b.krs.tar").await;
}
