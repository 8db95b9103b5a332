// SPDX-License-Identifier: Apache-2.0
//! What GitOps engines make of a set: Flux and Fleet by the real kstatus, Argo CD by our health check in a real Lua.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use krs_core::crd::{API_VERSION, KIND, condition};
use krs_testing::tools;
use serde_json::{Value, json};

/// An object and what the engines are to make of it.
struct Case {
    state: String,
    object: Value,
    kstatus: String,
    argo: String,
}

/// Every state that the importer writes, with the status that it really writes.
fn own() -> Vec<Case> {
    let states = serde_json::from_str::<Vec<Value>>(include_str!("states.json")).unwrap();
    let text = |state: &Value, field: &str| state[field].as_str().unwrap().to_owned();
    let case = |state: &Value| Case {
        state: text(state, "state"),
        object: state["object"].clone(),
        kstatus: text(state, "kstatus"),
        argo: text(state, "argo"),
    };
    states.iter().map(case).collect()
}

/// States that the importer does not write: those of other versions, of hands, and of an object that nobody has seen.
fn foreign() -> Vec<Case> {
    let set = |generation: i64, status: Value| {
        json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "images", "namespace": "shop", "generation": generation},
            "spec": {"destinationRegistry": "edge.local:5000", "images": []},
            "status": status,
        })
    };
    let status = |observed: i64, conditions: &[(&str, &str)]| {
        let condition =
            |(of, is): &(&str, &str)| json!({"type": of, "status": is, "reason": "R", "message": "m"});
        let conditions = conditions.iter().map(condition).collect::<Vec<_>>();
        json!({"observedGeneration": observed, "conditions": conditions})
    };
    let (ready, synced, degraded) = (condition::READY, condition::SYNCED, "Degraded");
    let (reconciling, stalled) = (condition::RECONCILING, condition::STALLED);
    let mut unseen = set(1, Value::Null);
    unseen.as_object_mut().unwrap().remove("status");
    let mut unobserved = set(2, status(0, &[(ready, "True")]));
    unobserved["status"].as_object_mut().unwrap().remove("observedGeneration");
    let mut deleted = set(1, status(1, &[(ready, "True")]));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    [
        ("no status: the definition has no default", unseen, "Current", "Progressing"),
        (
            "the default of the definition",
            set(1, json!({"observedGeneration": -1})),
            "InProgress",
            "Progressing",
        ),
        ("no conditions", set(1, json!({"observedGeneration": 1})), "Current", "Progressing"),
        ("only Synced=False", set(1, status(1, &[(synced, "False")])), "Current", "Progressing"),
        ("only Synced=True", set(1, status(1, &[(synced, "True")])), "Current", "Progressing"),
        ("Ready=False", set(1, status(1, &[(ready, "False")])), "InProgress", "Progressing"),
        ("Ready=Unknown", set(1, status(1, &[(ready, "Unknown")])), "InProgress", "Progressing"),
        (
            "Ready=Unknown, Reconciling=True",
            set(1, status(1, &[(ready, "Unknown"), (reconciling, "True")])),
            "InProgress",
            "Progressing",
        ),
        (
            "Ready=False, Reconciling=True",
            set(1, status(1, &[(ready, "False"), (reconciling, "True")])),
            "InProgress",
            "Progressing",
        ),
        (
            "Ready=False, Stalled=True",
            set(1, status(1, &[(ready, "False"), (stalled, "True")])),
            "Failed",
            "Degraded",
        ),
        (
            "Ready=False, Stalled=False",
            set(1, status(1, &[(ready, "False"), (stalled, "False")])),
            "InProgress",
            "Progressing",
        ),
        ("Ready=True", set(1, status(1, &[(ready, "True")])), "Current", "Healthy"),
        (
            "Ready=True of an older generation",
            set(2, status(1, &[(ready, "True")])),
            "InProgress",
            "Progressing",
        ),
        ("Ready=True without observedGeneration", unobserved, "Current", "Progressing"),
        (
            "Ready=True, Degraded=True",
            set(1, status(1, &[(ready, "True"), (degraded, "True")])),
            "Current",
            "Healthy",
        ),
        // Argo CD itself shows what is being deleted as Progressing and asks no check.
        ("being deleted", deleted, "Terminating", "Healthy"),
    ]
    .into_iter()
    .map(|(state, object, kstatus, argo)| Case {
        state: state.to_owned(),
        object,
        kstatus: kstatus.to_owned(),
        argo: argo.to_owned(),
    })
    .collect()
}

fn cases() -> Vec<Case> {
    let cases = own().into_iter().chain(foreign()).collect::<Vec<_>>();
    assert!(cases.len() > 30, "only {} states", cases.len());
    cases
}

/// Runs a program on a text; answers the lines that it says.
fn lines(program: &str, arguments: &[&str], input: &str) -> Vec<String> {
    let mut command = Command::new(tools::require(program));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    // Both programs read all before they say more than a pipe holds.
    to.write_all(input.as_bytes()).unwrap();
    drop(to);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Fails with every case whose verdict is another one.
fn compare(engine: &str, verdicts: &[String], expected: impl Fn(&Case) -> String) {
    let cases = cases();
    assert_eq!(verdicts.len(), cases.len(), "{engine} judged not each state: {verdicts:?}");
    let wrong = cases.iter().zip(verdicts).filter(|(case, verdict)| expected(case) != **verdict);
    let wrong = wrong.map(|(case, verdict)| {
        format!("{}: expected {}, {engine} says {verdict}", case.state, expected(case))
    });
    let wrong = wrong.collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn flux_and_fleet_wait_for_a_set_and_never_take_a_stale_or_missing_one_for_done() {
    let objects = cases().iter().map(|case| format!("{}\n", case.object)).collect::<String>();
    compare("kstatus", &lines("kstatus", &[], &objects), |case| case.kstatus.clone());
}

/// What Argo CD's Lua does not have; the check must do without.
const ABSENT: &str = "string, io, math, debug, coroutine, dofile, loadfile, require = nil";

#[test]
fn argo_cd_judges_every_state_by_the_health_check() {
    let check = include_str!("../../gitops/argocd-health.lua");
    let mut script =
        format!("local write = print\n{ABSENT}\nlocal function check(obj_)\nobj = obj_\n{check}\nend\n");
    for case in cases() {
        writeln!(script, "write(check({}).status)", lua(&case.object)).unwrap();
    }
    compare("the health check", &lines("lua5.1", &["-"], &script), |case| case.argo.clone());
}

#[test]
fn argo_cd_shows_the_importers_own_words() {
    let check = include_str!("../../gitops/argocd-health.lua");
    for case in own().iter().filter(|case| ["Healthy", "Degraded"].contains(&case.argo.as_str())) {
        let script = format!(
            "obj = {}\nlocal function check()\n{check}\nend\nprint(check().message)",
            lua(&case.object)
        );
        let conditions = case.object["status"]["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|c| c["type"] == condition::READY).unwrap();
        assert_eq!(lines("lua5.1", &["-"], &script), [ready["message"].as_str().unwrap()], "{}", case.state);
    }
}

/// A value as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let escaped = text.bytes().map(|byte| format!("\\{byte:03}")).collect::<String>();
            format!("\"{escaped}\"")
        }
        Value::Array(items) => {
            format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("[{}] = {}", lua(&json!(key)), lua(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}
