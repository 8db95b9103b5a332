// SPDX-License-Identifier: Apache-2.0
//! Where passwords must never be.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::edge::{Edge, edges};
use crate::harness::{all, apply, kubectl, try_run, wait_not_ready, wait_ready};
use crate::site::Site;
use crate::source::{Account, Ci, account_secret, namespace, reference, registry, set, small_image};

/// What is looked for, and where it was found.
struct Search {
    forms: Vec<String>,
    found: BTreeSet<String>,
}

impl Search {
    fn scan(&mut self, name: &str, text: &[u8]) {
        for form in &self.forms {
            if text.windows(form.len()).any(|window| window == form.as_bytes()) {
                self.found.insert(format!("{name}: {}…", &form[..6]));
            }
        }
    }

    /// Checks arguments and environments of all processes, again and again. Answers how often skopeo was seen.
    fn watch_processes(&mut self, done: &AtomicBool) -> usize {
        let mut observations = 0;
        while !done.load(Ordering::SeqCst) {
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                if !entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
                    continue;
                }
                for file in ["cmdline", "environ"] {
                    let Ok(text) = std::fs::read(entry.path().join(file)) else { continue };
                    let start = String::from_utf8_lossy(&text[..text.len().min(80)]).replace('\0', " ");
                    observations += usize::from(file == "cmdline" && start.contains("skopeo"));
                    self.scan(&format!("{file} of {start}"), &text);
                }
            }
            std::thread::yield_now();
        }
        observations
    }
}

/// The logs of the copy Jobs' Pods that there are now. A Pod that does not run yet, or is gone by now, has none.
fn logs_of_runners() -> String {
    let selected = ["logs", "-n", "e10", "-l", "app.kubernetes.io/component=copy", "--tail=-1"];
    String::from_utf8_lossy(&try_run("kubectl", &selected, None).stdout).into_owned()
}

/// Reads the logs again and again, so that those of Jobs are among them that are deleted in the meantime.
fn read_logs(done: &AtomicBool) -> String {
    let mut text = String::new();
    while !done.load(Ordering::SeqCst) {
        text.push_str(&logs_of_runners());
        std::thread::sleep(Duration::from_millis(300));
    }
    text
}

#[test]
fn e10_passwords_are_nowhere_but_in_secrets() {
    let (account, wrong) = (Account::unique("source"), Account::unique("krs"));
    let source = registry(Some(&account), false);
    let host = source.host().to_string();
    let image = |name: &str| {
        let image = small_image(name, 400_000);
        image.push_to(&source, &format!("secrets/{name}"), Some("1"));
        reference(&source, &format!("secrets/{name}"), "1", &image)
    };
    let (packed, straight) = (image("packed"), image("straight"));
    let (access, objects) = edges().private.access("e10");
    let edge = edges().private.host().to_string();
    let by_bundle = set("e10", "by-bundle", &edge, std::slice::from_ref(&packed), &access);
    let mut online = set("e10", "online", &edge, &[straight], &access);
    online["spec"]["source"] = "Registry".into();
    online["spec"]["images"][0]["sourceClientSecretName"] = "source".into();
    // Jobs that succeed are deleted as soon as their result is kept. One that fails stays, with its log.
    let absent = reference(&source, "secrets/absent", "1", &small_image("absent", 1000));
    let mut failing = set("e10", "failing", &edge, &[absent], &access);
    failing["spec"]["source"] = "Registry".into();
    failing["spec"]["images"][0]["sourceClientSecretName"] = "source".into();
    let mut refused = set("e10", "refused", &edge, &[packed], &access);
    refused["spec"]["destinationClientSecretName"] = "wrong".into();
    let mut ci = Ci::new();
    ci.account(&host, &account);
    ci.commit(std::slice::from_ref(&by_bundle));
    let bundle = ci.bundle("e10", "e10", 1, &source, &[]);
    let values =
        json!({"log": "trace", "online": {"enabled": true, "allowedSources": [host], "plainHTTP": [host]}});
    let site = Site::new(&[&ci.public_key()], &values);
    namespace("e10");
    apply(&json!(objects));
    apply(&json!([
        account_secret("e10", "source", &host, &account),
        account_secret("e10", "wrong", &edge, &wrong)
    ]));

    let forms = [&account, &wrong, &Edge::account()].into_iter().flat_map(Account::forms).collect();
    let mut search = Search { forms, found: BTreeSet::new() };
    let done = AtomicBool::new(false);
    let (observations, logs) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| search.watch_processes(&done));
        let reader = scope.spawn(|| read_logs(&done));
        let work = std::panic::catch_unwind(|| {
            apply(&json!([by_bundle, online, refused, failing]));
            site.insert(&bundle);
            wait_ready("e10", "by-bundle");
            wait_ready("e10", "online");
            wait_not_ready("e10", "refused", "AuthFailed");
            wait_not_ready("e10", "failing", "ImageNotFound");
        });
        done.store(true, Ordering::SeqCst);
        let answers = (watcher.join().unwrap(), reader.join().unwrap());
        work.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        answers
    });
    assert!(observations > 0, "no skopeo was seen, so the search shows nothing");

    // Every object of every kind but Secrets, with its status; Events are among them.
    let kinds = kubectl(&["api-resources", "--verbs=list", "--output=name"]);
    let kinds = kinds.lines().filter(|kind| *kind != "secrets").collect::<Vec<_>>().join(",");
    let objects = kubectl(&["get", &kinds, "--all-namespaces", "--output=json", "--show-managed-fields"]);
    for kind in ["Job", "Pod", "EdgeImageSet", "ImageBundle", "Event"] {
        assert!(objects.contains(&format!("\"kind\": \"{kind}\"")), "no {kind} among the objects");
    }
    for object in serde_json::from_str::<Value>(&objects).unwrap()["items"].as_array().unwrap() {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        search.scan(&name, object.to_string().as_bytes());
    }
    let log = Site::log();
    assert!(log.contains("TRACE"), "the importer says everything");
    search.scan("the importer's log", log.as_bytes());
    search.scan("a runner's log", logs.as_bytes());
    let runners = logs_of_runners();
    assert!(runners.contains("\"level\":\"INFO\""), "the runners say what they do: {runners}");
    // They have nothing of their own below INFO; what their libraries would say is held back whatever the level.
    let told = |job: &Value| {
        let args = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        args.windows(2).any(|pair| pair[0] == "--log" && pair[1] == "trace")
    };
    let jobs = all("jobs", "e10");
    assert!(!jobs.is_empty() && jobs.iter().all(told), "the runners are told to say everything: {jobs:#?}");
    search.scan("a runner's log", runners.as_bytes());
    assert!(search.found.is_empty(), "{:#?}", search.found);
}
