// SPDX-License-Identifier: Apache-2.0
//! What hostile files and moments cost: the built program, measured from outside.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use camino::Utf8Path;
use krs_core::bundle::layout::{self, MANIFEST_AT};
use krs_testing::registry::{Matcher, What};
use wait4::Wait4 as _;

use crate::harness::{Desk, Site, app};

const MEMORY: u64 = 64 << 20;
/// Longest that a run may take: it hangs then, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a run cost, and how it ended.
pub struct Cost {
    pub code: u64,
    pub memory: u64,
}

/// Runs `krs` below a process of its own that has never held much: on Linux, the peak of a process begins with that of
/// the one that started it.
pub fn measured(desk: &Desk, arguments: &[&str]) -> Cost {
    let mut between = Command::new(std::env::current_exe().unwrap());
    between.args(["hostile::measure", "--exact", "--ignored", "--nocapture"]);
    let output = between.current_dir(desk.folder()).env(MEASURE, arguments.join("\n")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, line) = text.split_once("MEASURED ").unwrap_or_else(|| panic!("{text}"));
    let figures =
        line.lines().next().unwrap().split(' ').map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>();
    let [code, memory] = figures[..] else { panic!("{line}") };
    Cost { code, memory }
}

const MEASURE: &str = "KRS_TEST_MEASURE";

/// The `krs` that is measured: another one than that of the tests, for example a release build, has its path in
/// `KRS_TEST_PROGRAM`.
pub fn program() -> String {
    std::env::var("KRS_TEST_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_krs").to_owned())
}

#[test]
#[ignore = "the other half of `measured`"]
fn measure() {
    let Ok(arguments) = std::env::var(MEASURE) else { return };
    let mut command = Desk::new().command_of(&program(), &[]);
    command.args(arguments.lines()).current_dir(".").stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let id = child.id();
    // Ends with the process, which ends with the run.
    std::thread::spawn(move || {
        std::thread::sleep(TIMEOUT);
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
    });
    let used = child.wait4().unwrap();
    #[allow(clippy::print_stdout)]
    {
        println!("MEASURED {} {}", used.status.code().unwrap_or(255), used.rusage.maxrss);
    }
}

/// The files of a folder with their sizes and times.
fn listing(folder: &Utf8Path) -> Vec<(String, u64, SystemTime)> {
    let entries = folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap());
    let mut listing = entries
        .map(|entry| {
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            (entry.file_name().to_owned(), metadata.len(), metadata.modified().unwrap())
        })
        .collect::<Vec<_>>();
    listing.sort();
    listing
}

/// An archive with another `krs/bundle.json`.
fn with_manifest(intact: &[u8], manifest: &[u8]) -> Vec<u8> {
    let at = usize::try_from(MANIFEST_AT).unwrap();
    let old = manifest_of(intact).len();
    let mut bytes = intact[..at - 512].to_vec();
    bytes.extend(layout::header(layout::MANIFEST, manifest.len() as u64).unwrap());
    bytes.extend_from_slice(manifest);
    bytes.resize(bytes.len().div_ceil(512) * 512, 0);
    bytes.extend_from_slice(&intact[at + old.div_ceil(512) * 512..]);
    bytes
}

fn manifest_of(intact: &[u8]) -> &[u8] {
    let at = usize::try_from(MANIFEST_AT).unwrap();
    let size = tar_size(&intact[at - 512..at]);
    &intact[at..at + size]
}

/// The size in a header.
fn tar_size(header: &[u8]) -> usize {
    let digits = std::str::from_utf8(&header[124..135]).unwrap();
    usize::from_str_radix(digits, 8).unwrap()
}

/// Hostile files by name; each is refused.
fn hostile(intact: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let manifest = String::from_utf8(manifest_of(intact).to_vec()).unwrap();
    let middle = intact.len() / 2;
    let flipped = |at: usize| {
        let mut bytes = intact.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let claims = |size: u64| {
        let mut bytes = intact.to_vec();
        bytes[1024..1536].copy_from_slice(&layout::header(layout::MANIFEST, size).unwrap());
        bytes
    };
    let fields = (0..1_000_000).map(|n| format!(r#""{n}":0"#)).collect::<Vec<_>>().join(",");
    let blobs = |n: u64| {
        let line = |n| format!(r#"{{"digest":"sha256:{n:064x}","offset":{},"size":0}},"#, n * 512 + 512);
        let lines = (0..n).map(line).collect::<String>();
        manifest.replacen("\"blobs\":[", &format!("\"blobs\":[{lines}"), 1)
    };
    let bomb =
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38][..], &[0x02, 0x00, 0x10, 0x00].repeat(250_000)].concat();
    let tiny = layout::header("x", 0).unwrap().repeat(20_000);
    let with = |text: &str| with_manifest(intact, text.as_bytes());
    vec![
        ("t04-manifest", flipped(1600)),
        ("t05-claims-a-tebibyte", claims(1 << 40)),
        ("t05-claims-60-mib", claims(60 << 20)),
        ("t06-deep", with(&"[".repeat(100_000))),
        ("t06-a-million-fields", with(&format!("{{{fields}}}"))),
        ("t06-30-mib-of-text", with(&format!("{{\"audience\":[\"{}\"]", "x".repeat(30 << 20)))),
        (
            "t06-utf-16",
            with_manifest(intact, &manifest.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
        ),
        ("t07-later", with(&manifest.replace("\"formatVersion\":1", "\"formatVersion\":9"))),
        ("t09-header", flipped(1030)),
        ("t17-twice", [&intact[..middle / 512 * 512], intact].concat()),
        ("t19-longer", [intact, &[0; 512]].concat()),
        ("t20-half", intact[..middle].to_vec()),
        ("t21-empty", Vec::new()),
        ("t22-bomb", bomb),
        ("t24-gzip", vec![0x1f, 0x8b, 8, 0]),
        ("t25-tiny-entries", [&intact[..intact.len() - 1024], &tiny, &[0; 1024]].concat()),
        ("t25-many-blobs", with(&blobs(100_000))),
        ("t42-layer", flipped(middle)),
        ("zeroes", vec![0; 1 << 20]),
    ]
}

#[test]
fn t05_t06_t22_t25_refusing_takes_64_mib_at_most_and_writes_nothing() {
    let site = Site::with_three_images();
    let desk = &site.desk;
    desk.keygen("ci");
    site.bundle("good.krs.tar", &["--key", "ci.key"]).ok();
    let intact = fs::read(desk.path("good.krs.tar")).unwrap();
    let mut table = String::new();
    let mut failed = 0;
    for (name, bytes) in hostile(&intact) {
        let file = format!("{name}.krs.tar");
        desk.write(&file, bytes);
        let before = listing(desk.folder());
        for more in [&[][..], &["--public-key", "ci.pub"]] {
            let arguments = [&["verify", file.as_str()], more].concat();
            let cost = measured(desk, &arguments);
            assert!((3..=6).contains(&cost.code), "{name}: exit code {}", cost.code);
            let bad = cost.memory > MEMORY;
            failed += u32::from(bad);
            let mark = if bad { "  TOO MUCH" } else { "" };
            table += &format!("{name:24} exit {} {:4} MiB{mark}\n", cost.code, cost.memory >> 20);
        }
        assert_eq!(listing(desk.folder()), before, "{name}: nothing is written");
        fs::remove_file(desk.path(&file)).unwrap();
    }
    assert_eq!(failed, 0, "\n{table}");
}

#[test]
fn t12_t13_pipes_and_devices_are_refused_by_every_command_without_waiting() {
    let desk = Desk::new();
    assert!(Command::new("mkfifo").arg(desk.path("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", desk.path("link")).unwrap();
    desk.keygen("ci");
    for file in ["pipe", "link", "/dev/zero"] {
        for command in [
            &["verify", file][..],
            &["inspect", file],
            &["push", file, "127.0.0.1:1"],
            &["serve", file, "--listen", "127.0.0.1:0"],
            &["sign", file, "--key", "ci.key"],
        ] {
            let cost = measured(&desk, command);
            assert_eq!(cost.code, 4, "{command:?}");
            assert!(cost.memory < MEMORY, "{command:?}");
        }
    }
}

#[test]
fn t39_a_file_that_may_not_be_read_is_reported_to_be_one() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;
    let desk = Desk::new();
    desk.write("a.krs.tar", "x");
    let mode =
        |path: &Utf8Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mut command = desk.command(&["verify", "a.krs.tar"]);
    if fs::metadata(desk.folder()).unwrap().uid() == 0 {
        // Root may read everything, so somebody else runs a copy of the program that they can reach.
        fs::copy(env!("CARGO_BIN_EXE_krs"), desk.path("krs")).unwrap();
        let somebody = desk.command(&["verify", "a.krs.tar"]);
        command = Command::new(desk.path("krs"));
        command.args(somebody.get_args()).env_clear().current_dir(desk.folder()).uid(65_534).gid(65_534);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        mode(&desk.path("krs"), 0o755);
        mode(desk.folder(), 0o755);
        mode(&desk.path("a.krs.tar"), 0o600);
    } else {
        mode(&desk.path("a.krs.tar"), 0o000);
    }
    let output = command.output().unwrap();
    let outcome = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{outcome}");
    for part in ["a.krs.tar", "ermission", "help: check the path, the permissions"] {
        assert!(outcome.contains(part), "`{part}` is not in {outcome}");
    }
}

#[test]
fn t40_bundles_are_written_and_read_under_any_name() {
    let site = Site::with_three_images();
    let folder = site.desk.path("Ablage für Köln");
    fs::create_dir(&folder).unwrap();
    for name in ["mit Leerzeichen", "Größe – 尺寸", &"x".repeat(200)] {
        let file = folder.join(format!("{name}.krs.tar"));
        site.bundle(file.as_str(), &[]).ok();
        site.desk.krs(&["verify", file.as_str()]).ok();
        site.push(file.as_str(), &[]).ok();
    }
}

#[test]
fn t51_a_tag_that_moved_changes_nothing_where_a_digest_is_written() {
    let mut site = Site::new();
    let (written, other) = (app("web", 2), app("web", 3));
    site.add(&written, "team/web", "1.0");
    site.commit();
    other.push_to(&site.source, "team/web", Some("1.0"));
    assert_eq!(site.source.digest("team/web", "1.0"), Some(other.digest), "the tag has moved");
    site.bundle("a.krs.tar", &[]).ok();
    site.push("a.krs.tar", &[]).ok();
    assert_eq!(site.edge.digest("team/web", "1.0"), Some(written.digest));
}

#[test]
fn t86_a_rate_limit_that_stays_ends_the_run_and_the_next_run_works() {
    let site = Site::with_three_images();
    site.source.fail(Matcher::blobs().nth(3..=u64::MAX), What::RetryAfter(429, 1));
    // Waits that a registry asks for use up no retry, and are bounded all the same.
    site.bundle("a.krs.tar", &["--retries", "0", "--max-wait", "2s"])
        .failed(8, &["rate limited by", "of --max-wait are left", "help: run the same command again later"]);
    assert_eq!(site.desk.files(), ["a.krs.tar.journal", "a.krs.tar.part"], "the next run resumes");
    site.source.clear_faults();
    site.bundle("a.krs.tar", &[]).ok();
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn t87_a_run_that_is_ended_leaves_no_archive_and_the_next_one_works() {
    for name in ["-INT", "-TERM", "-KILL"] {
        let site = Site::with_three_images();
        site.source.fail(Matcher::blobs(), What::Stall(1000, Duration::from_secs(60)));
        let path = site.checkout.path().as_str();
        let mut child = site.desk.command(&["bundle", path, "-o", "a.krs.tar"]).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while !site.desk.path("a.krs.tar.part").exists() {
            assert!(Instant::now() < end, "the run has begun to write");
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(&child, name);
        assert!(!child.wait().unwrap().success(), "{name}");
        assert!(!site.desk.path("a.krs.tar").exists(), "{name}");
        site.source.clear_faults();
        site.bundle("a.krs.tar", &[]).ok();
        site.desk.krs(&["verify", "a.krs.tar"]).ok();
        assert_eq!(site.desk.files(), ["a.krs.tar"], "{name}: nothing else is left");
    }
}
