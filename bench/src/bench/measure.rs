// SPDX-License-Identifier: Apache-2.0
//! Measures the cost of programs: time, processor, memory, disk.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use xtask::run::{self, Result};

/// How often the memory of the running program, which only grows, is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);
/// After how many samples the folder is measured.
const SAMPLE_INTERVALS_PER_MEASURE: u32 = 20;

/// The cost of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From the start of the first program to the end of the last.
    pub(crate) wall: Duration,
    /// Processor time of all of them.
    pub(crate) cpu: Duration,
    /// Most memory of one of them, in bytes.
    pub(crate) rss: u64,
    /// Most bytes that the folder held.
    pub(crate) disk: u64,
    /// Bytes that it holds at the end.
    pub(crate) left: u64,
}

/// The state that the sampling thread and the starting thread share.
#[derive(Debug, Default)]
struct Shared {
    pid: AtomicU32,
    rss: AtomicU64,
    disk: AtomicU64,
    done: AtomicBool,
    killed: AtomicBool,
}

/// Runs programs one after the other until one fails. They may write into `folder` only, and take `limit` in all.
pub(crate) fn measure(commands: Vec<Command>, folder: &Path, limit: Duration) -> Result<Cost> {
    run(commands, folder, limit, false)
}

/// Runs programs and kills the one that runs after `after`. Returns whether it was killed.
pub(crate) fn kill_after(commands: Vec<Command>, folder: &Path, after: Duration) -> Result<bool> {
    match run(commands, folder, after, true) {
        Ok(_) => Ok(false),
        Err(error) if error.to_string().contains(TOOK_TOO_LONG) => Ok(true),
        Err(error) => Err(error),
    }
}

const TOOK_TOO_LONG: &str = "took more than";

fn run(commands: Vec<Command>, folder: &Path, limit: Duration, on_purpose: bool) -> Result<Cost> {
    let shared = Shared::default();
    let mut cost = Cost::default();
    let start = Instant::now();
    let result = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&shared, folder, start + limit));
        let result = commands.into_iter().try_for_each(|command| one(command, folder, &shared, &mut cost));
        cost.wall = start.elapsed();
        shared.done.store(true, Ordering::Relaxed);
        let _ = sampler.join();
        result
    });
    if shared.killed.load(Ordering::Relaxed) {
        let what = if on_purpose { "it was killed" } else { "it was ended" };
        return Err(format!("{TOOK_TOO_LONG} {:.1} s; {what}", limit.as_secs_f64()).into());
    }
    result?;
    cost.left = usage(folder);
    cost.rss = shared.rss.into_inner();
    cost.disk = shared.disk.into_inner().max(cost.left);
    Ok(cost)
}

fn one(mut command: Command, folder: &Path, shared: &Shared, cost: &mut Cost) -> Result<()> {
    let log = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(File::create(log.path())?));
    command.current_dir(folder).env("TMPDIR", folder);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
    shared.pid.store(child.id(), Ordering::Relaxed);
    let ended = ended(&child);
    // It is a zombie: what it used can still be read.
    cost.cpu += processor(child.id()).unwrap_or_default();
    shared.pid.store(0, Ordering::Relaxed);
    let status = child.wait()?;
    ended?;
    if status.success() {
        return Ok(());
    }
    let messages = run::tail(&String::from_utf8_lossy(&fs::read(log.path())?), 6);
    let name = name.rsplit('/').next().unwrap_or(&name).to_owned();
    Err(format!("{name} failed: {status}: {messages}").into())
}

/// Waits for the end of a program, without taking its status.
fn ended(child: &Child) -> Result<()> {
    let pid = pid(child.id()).ok_or("a process without a number")?;
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// Samples the running program and the folder until all is done. Ends a program that runs too long.
fn sample(shared: &Shared, folder: &Path, end: Instant) {
    let mut samples = 0;
    while !shared.done.load(Ordering::Relaxed) {
        let number = shared.pid.load(Ordering::Relaxed);
        if let Some(rss) = memory(number) {
            shared.rss.fetch_max(rss, Ordering::Relaxed);
        }
        if samples % SAMPLE_INTERVALS_PER_MEASURE == 0 {
            shared.disk.fetch_max(usage(folder), Ordering::Relaxed);
        }
        if Instant::now() > end
            && let Some(pid) = pid(number)
        {
            shared.killed.store(true, Ordering::Relaxed);
            let _ = kill_process(pid, Signal::KILL);
        }
        samples += 1;
        thread::sleep(SAMPLE_INTERVAL);
    }
}

/// The most memory that a process ever had.
fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Processor time of a process and its threads, in user mode and in the kernel.
fn processor(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().collect::<Vec<_>>();
    // Its own time, and that of its children.
    let ticks: u64 = (11..15).filter_map(|n| fields.get(n)?.parse::<u64>().ok()).sum();
    #[expect(clippy::cast_precision_loss, reason = "ticks are coarse")]
    let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(Duration::from_secs_f64(seconds))
}

/// Bytes that the files of a folder take on the disk.
pub(crate) fn usage(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    // A file may be removed meanwhile.
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => usage(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<Command> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        vec![command]
    }

    #[test]
    fn the_cost_of_a_program_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; head -c 300000 /dev/zero > x";
        let cost = measure(shell(script), folder.path(), Duration::from_secs(60)).unwrap();
        assert!(cost.left >= 300_000 && cost.disk >= cost.left, "{cost:?}");
        assert!(cost.cpu > Duration::ZERO && cost.wall > Duration::ZERO, "{cost:?}");
        assert!(cost.rss > 100_000, "{cost:?}");
    }

    #[test]
    fn a_program_that_fails_says_why_and_one_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let failed = measure(shell("echo no such image >&2; exit 3"), folder.path(), Duration::from_secs(60));
        assert!(failed.unwrap_err().to_string().contains("no such image"));
        assert!(kill_after(shell("exec sleep 600"), folder.path(), Duration::from_millis(50)).unwrap());
    }
}
