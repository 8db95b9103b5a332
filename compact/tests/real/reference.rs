// SPDX-License-Identifier: Apache-2.0
//! The real encoders of Go, behind a program that answers one request after another (`xtask/assets/encoders-k1`).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running program; it ends when its input does.
pub struct Reference {
    _program: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reference {
    /// `krs-encoders-k1` or `krs-encoders-k2`.
    pub fn start(program: &str) -> Self {
        let tools =
            std::env::var_os("KRS_TOOLS").expect("KRS_TOOLS is not set: run `cargo xtask test --only tests`");
        let path = PathBuf::from(tools).join("bin").join(program);
        Self::run(Command::new(path))
    }

    /// A program that answers in the same way.
    pub fn run(mut command: Command) -> Self {
        let program = command.get_program().to_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask tools`", program.display()));
        let (requests, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { _program: child, requests, answers }
    }

    /// The gzip file that the encoder writes. `writes` are the sizes of the calls that it gets the bytes in, again and again.
    pub fn gzip(&mut self, family: &str, level: i32, plain: &[u8], writes: &[usize]) -> Vec<u8> {
        let writes = writes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        writeln!(self.requests, "{family} {level} {} {writes}", plain.len()).unwrap();
        self.requests.write_all(plain).unwrap();
        self.requests.flush().unwrap();
        let mut size = String::new();
        self.answers.read_line(&mut size).unwrap();
        let mut stream =
            vec![0; size.trim_end().parse().expect("the program says on standard error what failed")];
        self.answers.read_exact(&mut stream).unwrap();
        stream
    }
}
