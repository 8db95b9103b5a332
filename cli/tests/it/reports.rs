// SPDX-License-Identifier: Apache-2.0
//! `krs validate --report`: the files that CI systems read.

use crate::harness::{Desk, Site};

const SET: &str = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: shop\nspec:\n  destinationRegistry: edge.local:5000\n  images:\n  - image: registry.example/shop/api\n";

/// A checkout with a set that is wrong, in a folder whose name needs escaping everywhere.
fn wrong() -> Site {
    let site = Site::with_three_images();
    site.checkout.write("sites/a & 100%/shop.yaml", SET);
    site
}

#[test]
fn an_error_is_in_every_report_under_its_path_in_the_checkout() {
    let site = wrong();
    let formats = ["junit", "sarif", "github", "gitlab", "markdown"];
    let targets = formats.map(|format| format!("--report={format}={format}.out"));
    let path = site.checkout.path();
    let arguments = [&["validate", path.as_str()], &targets.each_ref().map(String::as_str)[..]].concat();
    let outcome = site.desk.krs(&arguments).failed(2, &["shop.yaml:8:12: image must have a digest"]);
    assert_eq!(outcome.out, "");
    let read = |name: &str| std::fs::read_to_string(site.desk.path(&format!("{name}.out"))).unwrap();
    let file = "sites/a & 100%/shop.yaml";
    let xml = read("junit");
    let xml = roxmltree::Document::parse(&xml).unwrap();
    let case = xml.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    assert_eq!((case.attribute("file"), case.attribute("line")), (Some(file), Some("8")));
    let sarif: serde_json::Value = serde_json::from_str(&read("sarif")).unwrap();
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "sites/a%20%26%20100%25/shop.yaml");
    assert_eq!(place["region"], serde_json::json!({"startLine": 8, "startColumn": 12}));
    assert!(
        read("github")
            .starts_with("::error file=sites/a & 100%25/shop.yaml,line=8,col=12,title=krs image-bare::")
    );
    let gitlab: serde_json::Value = serde_json::from_str(&read("gitlab")).unwrap();
    assert_eq!(gitlab[0]["location"], serde_json::json!({"path": file, "lines": {"begin": 8}}));
    assert_eq!(gitlab[0]["check_name"], "image-bare");
    assert!(
        read("markdown").contains("| error | sites/a &amp; 100%/shop.yaml:8:12 | image-bare | image must")
    );
    // The same paths and fingerprints from another folder, by another name of the checkout.
    let inner = path.join("sites");
    let output =
        site.desk.command(&["validate", ".", "--report", "gitlab"]).current_dir(&inner).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), read("gitlab"));
}

#[test]
fn a_report_of_valid_sets_lists_them_and_what_should_be_better() {
    let mut site = Site::with_three_images();
    site.name("team/web:2.0");
    site.commit();
    let path = site.checkout.path().as_str();
    let outcome = site.desk.krs(&["validate", path, "--report", "junit=a.xml", "--report", "github"]).ok();
    let expected = "::warning file=sites/berlin.yaml,line=12,title=krs no-digest::";
    assert!(outcome.out.starts_with(expected) && outcome.out.lines().count() == 1, "{outcome}");
    let xml = std::fs::read_to_string(site.desk.path("a.xml")).unwrap();
    let xml = roxmltree::Document::parse(&xml).unwrap();
    let case = xml.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    assert_eq!(case.attribute("name"), Some("set apps/site"));
    // By the variable too, with commas between the reports.
    let variables = [("KRS_REPORT", "gitlab=b.json,markdown=c.md")];
    let outcome = site.desk.krs_env(&variables, &["validate", path]).ok();
    assert!(outcome.out.contains("1 set with 4 images: valid"), "{outcome}");
    assert!(site.desk.path("b.json").is_file() && site.desk.path("c.md").is_file());
}

#[test]
fn standard_input_and_paths_outside_of_a_checkout_have_names_in_reports() {
    let desk = Desk::new();
    let outcome = desk.krs_stdin(SET, &["validate", "-", "--report", "gitlab"]).failed(2, &[]);
    assert_eq!(outcome.json()[0]["location"]["path"], "standard-input");
    std::fs::create_dir_all(desk.path("a/b")).unwrap();
    desk.write("a/b/shop.yaml", SET);
    let outcome = desk.krs(&["validate", "./a", "--report", "gitlab"]).failed(2, &[]);
    assert_eq!(outcome.json()[0]["location"]["path"], "a/b/shop.yaml");
    let output =
        desk.command(&["validate", "../a", "--report", "gitlab"]).current_dir(desk.path("a")).output();
    let json: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(json[0]["location"]["path"], "shop.yaml");
    // What cannot be read is a finding as well.
    let outcome = desk.krs(&["validate", "none", "--report", "gitlab"]).failed(2, &[]);
    assert_eq!(outcome.json()[0]["location"], serde_json::json!({"path": "none", "lines": {"begin": 1}}));
}

#[test]
fn reports_that_cannot_be_told_apart_are_refused() {
    let desk = Desk::new();
    desk.write("a.yaml", SET);
    for (arguments, message) in [
        (
            &["--report", "junit", "--report", "sarif"][..],
            "a report and another report would both go to standard output",
        ),
        (&["--report", "junit", "--format", "json"], "a report and the result as JSON"),
        (&["--report", "junit=a", "--report", "sarif=a"], "two reports would be written to a"),
        (&["--report", "xml=a"], "`xml` is not one of junit, sarif, github, gitlab, markdown"),
    ] {
        desk.krs(&[&["validate", "a.yaml"], arguments].concat()).failed(2, &[message]);
    }
    assert_eq!(desk.files(), ["a.yaml"]);
    desk.krs(&["validate", "a.yaml", "--report", "junit=none/a.xml"]).failed(1, &["cannot write none/a.xml"]);
}

#[test]
fn a_collision_between_files_shows_the_line_of_the_second() {
    let site = Site::with_three_images();
    let digest = "1111111111111111111111111111111111111111111111111111111111111111";
    let image = |registry: &str, digit: &str| {
        format!("{registry}.example/shop/api:1@sha256:{}", digest.replace('1', digit))
    };
    let set = |name: &str, image: &str| {
        SET.replace("registry.example/shop/api", image).replace("name: shop", &format!("name: {name}"))
    };
    site.checkout.write("sites/one.yaml", format!("# a comment\n{}", set("one", &image("a", "1"))));
    let item = set("two", &image("b", "2")).lines().map(|line| format!("  {line}\n")).collect::<String>();
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", item.trim_start());
    site.checkout.write("sites/two.yaml", list);
    let path = site.checkout.path().as_str();
    let outcome = site.desk.krs(&["validate", path]).failed(2, &["naming collision"]);
    let expected = format!("/sites/two.yaml:11:14: naming collision: `{}` and", image("b", "2"));
    assert!(outcome.err.contains(&expected), "{outcome}");
    let lines = outcome.err.lines().collect::<Vec<_>>();
    let shown = lines.iter().position(|line| line.starts_with("11 |")).unwrap();
    assert!(
        lines[shown].contains("- image: b.example") && lines[shown + 1].trim_end().ends_with("^^^"),
        "{outcome}"
    );
    assert_eq!(lines[shown].find("b.example"), lines[shown + 1].find('^'), "{outcome}");
    let outcome = site.desk.krs(&["validate", path, "--report", "github"]);
    assert!(outcome.out.contains(",line=11,col=14,title=krs naming-collision::"), "{outcome}");
}
