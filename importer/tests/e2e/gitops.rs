// SPDX-License-Identifier: Apache-2.0
//! How people and GitOps engines read a set: `kubectl wait`, kstatus (Flux and Fleet), Argo CD's Lua.

use serde_json::{Value, json};

use crate::edge::edges;
use crate::harness::{get, kubectl, run, wait_not_ready, wait_ready};
use crate::site::Site;
use crate::source::{Ci, namespace, reference, registry, set, small_image};

/// What Argo CD runs, as `argocd-cm` holds it.
const HEALTH: &str = include_str!("../../gitops/argocd-health.lua");
/// What Flux's own code makes of objects.
fn kstatus(objects: &[Value]) -> Vec<String> {
    let input = objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    run("kstatus", &[], Some(&input)).lines().map(str::to_owned).collect()
}

fn both(object: &Value) -> (String, String) {
    (kstatus(std::slice::from_ref(object)).remove(0), lua(std::slice::from_ref(object)).remove(0))
}

/// What the check makes of objects, in real Lua.
fn lua(objects: &[Value]) -> Vec<String> {
    let mut script = format!("local function check(obj)\n{HEALTH}\nend\n");
    for object in objects {
        script += &format!("print(check({}).status)\n", table(object));
    }
    run("lua5.1", &["-"], Some(&script)).lines().map(str::to_owned).collect()
}

/// An object as Lua writes it; what is null is absent there, as in Argo CD.
fn table(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("[{key:?}] = {}", table(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("{{{}}}", list.iter().map(table).collect::<Vec<_>>().join(", ")),
        Value::Null => "nil".to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn e12_people_and_engines_see_a_set_become_ready() {
    let source = registry(None, false);
    let image = small_image("gitops", 20_000);
    image.push_to(&source, "gitops/app", Some("1"));
    let references = [reference(&source, "gitops/app", "1", &image)];
    let (access, _) = edges().open.access("e12");
    let app = set("e12", "x", edges().open.host().as_str(), &references, &access);
    let mut ci = Ci::new();
    ci.commit(std::slice::from_ref(&app));
    let bundle = ci.bundle("e12", "e12", 1, &source, &[]);
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("e12");
    // What no importer has checked yet is not done: the definition's default says so.
    let made =
        run("kubectl", &["apply", "--server-side", "--output=json", "-f", "-"], Some(&app.to_string()));
    let made = serde_json::from_str::<Value>(&made).unwrap();
    assert_eq!(both(&made), ("InProgress".to_owned(), "Progressing".to_owned()), "{made:#}");
    wait_not_ready("e12", "x", "WaitingForBundle");
    let waiting = get("edgeimagesets", "e12", "x").unwrap();
    assert_eq!(both(&waiting), ("InProgress".to_owned(), "Progressing".to_owned()), "{waiting:#}");
    site.insert(&bundle);
    kubectl(&["wait", "-n", "e12", "--for=condition=Ready", "eis/x", "--timeout=120s"]);
    assert_eq!(both(&wait_ready("e12", "x")), ("Current".to_owned(), "Healthy".to_owned()));
}
