// SPDX-License-Identifier: Apache-2.0
//! Encoders that are none of the families: their streams are rebuilt by corrections, which must stay small.

use std::fs::File;
use std::io::{Cursor, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use krs_compact::recipe::{Found, Reason, Recipe, find, recompress};

/// Bytes of each kind of content.
const PART: usize = 2 << 20;

/// What layers consist of: code, and text with small files between tar headers.
fn layer() -> Vec<u8> {
    let path = std::env::var_os("PATH").unwrap();
    let git = std::env::split_paths(&path).map(|folder| folder.join("git")).find(|file| file.is_file());
    let mut plain = std::fs::read(git.expect("git is not on PATH: run `cargo xtask tools`")).unwrap();
    plain.truncate(PART);
    let script = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let answer = Command::new("python3").args(["-I", "-c", script]).output();
    let answer = String::from_utf8(answer.expect("python3: run `cargo xtask tools`").stdout).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, Path::new(answer.trim_end()));
    let mut text = archive.into_inner().unwrap();
    text.truncate(PART);
    plain.extend_from_slice(&text);
    assert_eq!(plain.len(), 2 * PART);
    plain
}

/// The sources of a folder, in the order of their names.
fn append(archive: &mut tar::Builder<Vec<u8>>, folder: &Path) {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "py")) {
        let mut header = tar::Header::new_gnu();
        let content = std::fs::read(file).unwrap();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_790_000_000);
        archive.append_data(&mut header, file.file_name().unwrap(), content.as_slice()).unwrap();
    }
}

/// What a program writes for its standard input.
fn compress(program: &Path, arguments: &[&str], plain: &[u8]) -> Vec<u8> {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(plain).unwrap();
    file.rewind().unwrap();
    let output = Command::new(program).args(arguments).stdin(file).stderr(Stdio::inherit()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask tools`", program.display()));
    assert!(output.status.success(), "{}: {}", program.display(), output.status);
    output.stdout
}

/// Compares what the recipe makes, and returns the size of the recipe in hundredths of a percent of the layer.
fn share(layer: &[u8], plain: &[u8]) -> Result<u64, Reason> {
    let recipe = match find(Cursor::new(layer)).unwrap() {
        Found::Recipe(recipe) => recipe,
        Found::None(reason) => return Err(reason),
    };
    let bytes = recipe.encode();
    let mut out = Vec::new();
    recompress(&Recipe::decode(&bytes).unwrap(), plain, &mut out).unwrap();
    assert!(out == layer, "the layer is another");
    Ok(bytes.len() as u64 * 10_000 / layer.len() as u64)
}

/// Each case: arguments, and hundredths of a percent of the layer that its recipe may have.
fn compare(program: &Path, cases: &[(&[&str], u64)]) {
    let plain = layer();
    let mut above = Vec::new();
    for &(arguments, most) in cases {
        let share = share(&compress(program, arguments, &plain), &plain);
        if !share.as_ref().is_ok_and(|&share| share <= most) {
            above.push(format!("{}: {share:?}, at most {most}", arguments.join(" ")));
        }
    }
    assert!(above.is_empty(), "{}, in hundredths of a percent:\n{}", program.display(), above.join("\n"));
}

// What is above 500 is a limit that is known: these encoders search in another way than every finder that is here.

#[test]
fn streams_of_go_1_27_are_rebuilt() {
    let tools = PathBuf::from(std::env::var_os("KRS_TOOLS").expect("KRS_TOOLS is not set"));
    let cases: [(&[&str], u64); _] =
        [(&["1"], 1000), (&["2"], 850), (&["4"], 620), (&["6"], 500), (&["9"], 250)];
    compare(&tools.join("bin/krs-encoders-go127"), &cases);
}

#[test]
fn streams_of_libdeflate_are_rebuilt() {
    let cases: [(&[&str], u64); _] =
        [(&["-c", "-1"], 400), (&["-c", "-6"], 350), (&["-c", "-9"], 300), (&["-c", "-12"], 920)];
    compare(Path::new("libdeflate-gzip"), &cases);
}

#[test]
fn streams_of_igzip_are_rebuilt() {
    compare(Path::new("igzip"), &[(&["-c", "-1"], 850), (&["-c", "-3"], 600)]);
}
