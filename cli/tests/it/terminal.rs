// SPDX-License-Identifier: Apache-2.0
//! `krs` at a terminal, and where there is none: `script` of util-linux is one, `setsid` takes it away.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use crate::harness::{Desk, Site};

/// Runs a line of a shell at a terminal, and types each answer when its question is there. Answers the exit code, and all
/// that was on the terminal.
fn at_a_terminal(desk: &Desk, line: &str, answers: &[(&str, &str)]) -> (i32, String) {
    let mut command = desk.command_of("script", &["-q", "-e", "-c", line, "/dev/null"]);
    command.env("KRS", env!("CARGO_BIN_EXE_krs")).env("SHELL", "/bin/sh").env("TERM", "dumb");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (sender, read) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buf = [0; 1024];
        while let Ok(bytes @ 1..) = stdout.read(&mut buf) {
            let _ = sender.send(buf[..bytes].to_vec());
        }
    });
    let (mut shown, mut read_to) = (Vec::new(), 0);
    for (question, answer) in answers {
        loop {
            let text = String::from_utf8_lossy(&shown).into_owned();
            if let Some(at) = text.get(read_to..).and_then(|rest| rest.find(question)) {
                read_to += at + question.len();
                break;
            }
            let more = read.recv_timeout(Duration::from_secs(60));
            shown.extend(more.unwrap_or_else(|_| panic!("`{question}` is not asked for:\n{text}")));
        }
        stdin.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    let status = child.wait().unwrap();
    drop(stdin);
    reader.join().unwrap();
    shown.extend(read.try_iter().flatten());
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn t237_a_passphrase_is_asked_for_at_the_terminal_while_sets_come_over_standard_input() {
    let site = Site::with_three_images();
    let desk = &site.desk;
    desk.write("set.yaml", site.set());
    let twice = [("Passphrase of the new key: ", "correct horse"), ("The same again: ", "correct horse")];
    let (code, shown) = at_a_terminal(desk, "$KRS keygen -o k", &twice);
    assert_eq!(code, 0, "{shown}");
    let line = format!(
        "cat set.yaml | $KRS bundle - -o a.krs.tar --key k.key --sequence 1 --plain-http {}",
        site.source.host()
    );
    let (code, shown) = at_a_terminal(desk, &line, &[("Passphrase of k.key: ", "correct horse")]);
    assert_eq!(code, 0, "{shown}");
    let outcome = desk.krs(&["verify", "a.krs.tar", "--public-key", "k.pub"]).ok();
    assert!(outcome.out.contains("3 images"), "{outcome}");

    let (code, shown) = at_a_terminal(desk, &line, &[("Passphrase of k.key: ", "battery staple")]);
    assert_eq!(code, 2, "{shown}");
    assert!(shown.contains("wrong passphrase"), "{shown}");
}

#[test]
fn a_password_is_asked_for_at_the_terminal() {
    let auth = krs_testing::registry::Auth::basic("robot", "correct horse");
    let site = Site::with(krs_testing::registry::Options { auth, ..Default::default() });
    let host = site.source.host().to_string();
    let line = format!("$KRS login {host} --username robot --retries 0");
    let question = format!("Password of robot at {host}: ");
    let (code, shown) = at_a_terminal(&site.desk, &line, &[(&question, "correct horse")]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("accepted and stored"), "{shown}");
    let (code, shown) = at_a_terminal(&site.desk, &line, &[(&question, "battery staple")]);
    assert_eq!(code, 7, "{shown}");
}

#[test]
fn t237_without_a_terminal_it_is_reported_how_the_passphrase_can_be_given() {
    let site = Site::with_three_images();
    let desk = &site.desk;
    desk.write("pass", "correct horse\n");
    desk.krs(&["keygen", "-o", "k", "--passphrase-file", "pass"]).ok();
    desk.krs_without_terminal(&["keygen", "-o", "z"]).failed(2, &["no terminal", "`-` for standard input"]);
    assert!(!desk.path("z.key").exists());
    let checkout = site.checkout.path().as_str();
    desk.krs_without_terminal(&["bundle", checkout, "-o", "a.krs.tar", "--key", "k.key"])
        .failed(2, &["no terminal to ask", "--passphrase-file, `-` for standard input"]);
    let outcome = desk.krs_without_terminal(&["bundle", "-", "-o", "a.krs.tar", "--key", "k.key"]);
    let outcome = outcome.failed(2, &["no terminal to ask", "--passphrase-file"]);
    assert!(!outcome.err.contains("standard input"), "{outcome}");
    desk.krs_stdin(
        &site.set(),
        &["bundle", "-", "-o", "a.krs.tar", "--key", "k.key", "--passphrase-file", "-"],
    )
    .failed(2, &["standard input cannot hold the sets and the passphrase"]);
    assert!(site.source.requests().is_empty(), "the key comes first");
    desk.krs_stdin(
        "correct horse\n",
        &["bundle", checkout, "-o", "a.krs.tar", "--key", "k.key", "--passphrase-file", "-"],
    )
    .ok();
    desk.krs(&["verify", "a.krs.tar", "--public-key", "k.pub"]).ok();
}
