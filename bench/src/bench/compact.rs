// SPDX-License-Identifier: Apache-2.0
//! Updates as they occur, with patches in place of layers: what travels, how long it takes to make and to rebuild, and what other
//! programs make of the same layers without compression.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::inventory::{Blob, Inventory};
use super::measure::{self, Cost};
use super::registry::Registry;
use super::report::{GoalResult, Table, float, megabytes};
use super::runner::Bench;
use super::stats::Goal;
use crate::corpus;
use xtask::cache::Cache;
use xtask::run::{self, Result};

const LIMIT: Duration = Duration::from_secs(1800);
/// What bsdiff is given: it needs 17 times as much memory, and minutes for more.
const BSDIFF_LIMIT: u64 = 64 << 20;
const MODES: [&str; 2] = ["fast", "small"];

/// All kinds of updates, a first bundle, and other programs.
pub(crate) fn run(bench: &Bench, cache: &Cache, small: bool) -> Result<(Vec<Table>, Vec<GoalResult>)> {
    let folder = corpus::updates_in_cache(cache, small)?;
    let all = Inventory::read(&folder)?;
    let source = Registry::start(&bench.registry_program, bench.work.path())?;
    corpus::push_to(cache, &source.address().to_string(), &folder)?;
    let updates = Updates { bench, all, source };
    let mut results = Vec::new();
    let tables = vec![
        updates.bundles(&mut results)?,
        updates.first_bundles(&mut results)?,
        updates.writers(&mut results)?,
        updates.others()?,
    ];
    Ok((tables, results))
}

struct Updates<'a> {
    bench: &'a Bench,
    all: Inventory,
    source: Registry,
}

/// One bundle with patches.
struct Made {
    archive: PathBuf,
    bytes: u64,
    cost: Cost,
    /// Layers that travel as patches.
    patched: u64,
}

impl Updates<'_> {
    /// The folders of the images' names: each is one kind of update.
    fn kinds(&self) -> Vec<String> {
        let mut kinds = Vec::new();
        for image in &self.all.images {
            let kind = kind(&image.name).to_owned();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    fn of(&self, kind_wanted: &str, tag: &str) -> Result<Inventory> {
        self.all.only(|image| kind(&image.name) == kind_wanted && image.tag == tag)
    }

    fn source(&self) -> String {
        self.source.address().to_string()
    }

    fn plain(&self, images: &Inventory) -> Result<PathBuf> {
        let archive = self.bench.new_path("plain").with_extension("krs.tar");
        let mut krs = self.bench.bundle(images, &self.source(), &archive)?;
        run::output(krs.args(["--sequence", "1"]))?;
        Ok(archive)
    }

    /// Makes a bundle with patches in a folder of its own, without recipes of earlier runs.
    fn compact(&self, images: &Inventory, mode: &str, base: Option<&Path>) -> Result<Made> {
        let folder = self.bench.new_path("compact");
        fs::create_dir_all(&folder)?;
        let archive = folder.join("update.krs.tar");
        let mut krs = self.bench.bundle(images, &self.source(), &archive)?;
        krs.args(["--sequence", "2"]).arg(format!("--compact={mode}"));
        if let Some(base) = base {
            krs.arg("--against").arg(base);
        }
        let cost = measure::measure(vec![krs], &folder, LIMIT)?;
        let mut inspect = self.bench.krs(&["inspect", "--format", "json"]);
        let facts: Value = serde_json::from_str(&run::output(inspect.arg(&archive))?)?;
        let patched = facts["patched"]["layers"].as_u64().unwrap_or_default();
        Ok(Made { bytes: fs::metadata(&archive)?.len(), archive, cost, patched })
    }

    /// Pushes a bundle with patches into a registry that has what it was made against.
    fn rebuild(&self, base: &Path, made: &Made) -> Result<Cost> {
        let edge = self.bench.empty_registry()?;
        let registry = edge.address().to_string();
        let push = |archive: &Path| {
            let mut krs = self.bench.krs(&["push", "--plain-http", &registry]);
            krs.arg(archive).arg(&registry);
            krs
        };
        run::output(&mut push(base))?;
        let scratch = self.bench.new_path("scratch");
        fs::create_dir_all(&scratch)?;
        let mut krs = push(&made.archive);
        krs.arg("--scratch").arg(&scratch);
        measure::measure(vec![krs], &scratch, LIMIT)
    }

    fn bundles(&self, results: &mut Vec<GoalResult>) -> Result<Table> {
        let mut rows = Vec::new();
        let mut sums = MODES.map(|mode| (mode, 0_u64, 0_u64));
        for kind in self.kinds() {
            let (before, after) = (self.of(&kind, "1")?, self.of(&kind, "2")?);
            let known = before.layers();
            let changed =
                after.blobs.iter().filter(|blob| blob.is_layer && !known.contains(blob.digest.as_str()));
            let changed = changed.collect::<Vec<_>>();
            let bytes = changed.iter().map(|blob| blob.size).sum::<u64>();
            let base = self.plain(&before)?;
            for (mode, all_changed, all_made) in &mut sums {
                let mode = *mode;
                let made = self.compact(&after, mode, Some(&base))?;
                let site = self.rebuild(&base, &made)?;
                *all_changed += bytes;
                *all_made += made.bytes;
                let ratio = float(made.bytes) / float(bytes);
                rows.push(vec![
                    kind.clone(),
                    mode.to_owned(),
                    format!("{} of {}", made.patched, changed.len()),
                    megabytes(bytes),
                    megabytes(made.bytes),
                    format!("{ratio:.4}"),
                    rate(bytes, &made.cost),
                    mebibytes(&made.cost),
                    rate(bytes, &site),
                    mebibytes(&site),
                ]);
                if kind == "patch-day" {
                    let what = |what: &str| format!("a patch day with --compact={mode}, {what}");
                    let (speed, memory) = if mode == "fast" { (20.0, 512) } else { (6.0, 1229) };
                    results.extend([
                        GoalResult::new(
                            &what("making it"),
                            Goal::Rate(speed),
                            Some(speed_of(bytes, &made.cost)),
                            None,
                        ),
                        GoalResult::new(
                            &what("memory"),
                            Goal::Memory(memory << 20),
                            Some(float(made.cost.rss)),
                            None,
                        ),
                        GoalResult::new(
                            &what("rebuilding it"),
                            Goal::Rate(25.0),
                            Some(speed_of(bytes, &site)),
                            None,
                        ),
                        GoalResult::new(
                            &what("memory at the site"),
                            Goal::Memory(256 << 20),
                            Some(float(site.rss)),
                            None,
                        ),
                    ]);
                }
                if kind == "go-program" && mode == "small" {
                    let speed = Some(speed_of(bytes, &site));
                    results.push(GoalResult::new("rebuilding one layer", Goal::Rate(12.0), speed, None));
                }
                let is_all = made.patched == changed.len() as u64;
                let missing = (!is_all).then(|| format!("{} of {} layers", made.patched, changed.len()));
                let what = format!("{kind}: every changed layer travels as a patch ({mode})");
                results.push(GoalResult::new(&what, Goal::Completes, Some(0.0), missing.as_deref()));
            }
        }
        for (mode, changed, made) in sums {
            let ratio = float(made) / float(changed);
            let most = if mode == "fast" { 0.08 } else { 0.035 };
            let what = format!("all updates with --compact={mode}, bytes of the changed layers");
            results.push(GoalResult::new(&what, Goal::Bytes(most), Some(ratio), None));
            let mut row = vec!["all".to_owned(), mode.to_owned(), String::new()];
            row.extend([megabytes(changed), megabytes(made), format!("{ratio:.4}")]);
            row.resize(10, String::new());
            rows.push(row);
        }
        let head = vec![
            "update",
            "--compact",
            "layers as patches",
            "changed layers",
            "bundle",
            "ratio",
            "making, MB/s",
            "RSS MiB",
            "at the site, MB/s",
            "RSS MiB",
        ];
        let note = "MB/s are bytes of the changed layers (gzip) a second, with fetching, without recipes of earlier runs; at the \
                    site into a registry that has the images before the update, with reading the base back and pushing."
            .to_owned();
        Ok(Table { title: "Updates, with patches in place of layers".to_owned(), note, head, rows })
    }

    fn first_bundles(&self, results: &mut Vec<GoalResult>) -> Result<Table> {
        let mut rows = Vec::new();
        let images = self.of("patch-day", "1")?;
        let plain = fs::metadata(self.plain(&images)?)?.len();
        // Never larger than without patches.
        for (mode, most) in [("fast", 1.01), ("small", 0.66), ("max", 0.58)] {
            let made = self.compact(&images, mode, None)?;
            let ratio = float(made.bytes) / float(plain);
            let speed = rate(plain, &made.cost);
            rows.push(vec![
                mode.to_owned(),
                megabytes(plain),
                megabytes(made.bytes),
                format!("{ratio:.3}"),
                speed,
                mebibytes(&made.cost),
            ]);
            let what = format!("a first bundle with --compact={mode}");
            results.push(GoalResult::new(&what, Goal::Bytes(most), Some(ratio), None));
        }
        let head = vec!["--compact", "plain", "bundle", "ratio", "making, MB/s", "RSS MiB"];
        let note = "The images of the patch day before it; nothing is at the site.".to_owned();
        Ok(Table { title: "A first bundle, with patches in place of layers".to_owned(), note, head, rows })
    }

    /// All layers of the corpus of the other benchmarks in a first bundle, by who compressed them.
    fn writers(&self, results: &mut Vec<GoalResult>) -> Result<Table> {
        let writers = corpus::writers(&self.bench.corpus)?;
        let archive = self.bench.new_path("writers").with_extension("krs.tar");
        let source = self.bench.source.address().to_string();
        let mut krs = self.bench.bundle(&self.bench.inventory, &source, &archive)?;
        let report: Value =
            serde_json::from_str(&run::output(krs.args(["--compact=fast", "--format", "json"]))?)?;
        fs::remove_file(archive)?;
        let mut counts = BTreeMap::<&str, (u64, u64, Vec<&str>)>::new();
        for layer in report["compactLayers"].as_array().into_iter().flatten() {
            let writer = layer["digest"].as_str().and_then(|digest| writers.get(digest));
            let (layers, restored, reasons) =
                counts.entry(writer.ok_or("a layer is not in the corpus")?).or_default();
            *layers += 1;
            match layer["reason"].as_str() {
                None => *restored += 1,
                Some(reason) if !reasons.contains(&reason) => reasons.push(reason),
                Some(_) => {}
            }
        }
        let mut rows = Vec::new();
        for (writer, (layers, restored, reasons)) in counts {
            rows.push(vec![writer.to_owned(), layers.to_string(), restored.to_string(), reasons.join("; ")]);
            if writer != "zstd" {
                let missing = (restored != layers).then(|| format!("{restored} of {layers} layers"));
                let what = format!("layers compressed by {writer} that patches restore");
                results.push(GoalResult::new(&what, Goal::Completes, Some(0.0), missing.as_deref()));
            }
        }
        let head = vec!["compressed by", "layers", "as patches", "why not"];
        let note = "A first bundle of all images with --compact=fast. Layers below 4 KiB travel as they are. Encoders at all their \
                    levels are compared in the tests of the crate krs-compact, with the real programs."
            .to_owned();
        Ok(Table { title: "Layers by the program that compressed them".to_owned(), note, head, rows })
    }

    /// The changed layers of the patch day without compression, each with the layer that it replaces.
    fn others(&self) -> Result<Table> {
        let mut pairs = Vec::new();
        let (before, after) = (self.layers("1")?, self.layers("2")?);
        for (place, new) in &after {
            if let Some(old) = before.get(place).filter(|old| old.digest != new.digest) {
                pairs.push((self.expand(old)?, self.expand(new)?, new.size));
            }
        }
        let bytes_of = |path: &Path| fs::metadata(path).map(|facts| facts.len());
        let mut rows = Vec::new();
        for (program, arguments) in OTHERS {
            let (mut patches, mut layers, mut seconds, mut left_out) = (0, 0, 0.0, 0);
            for (old, new, compressed) in &pairs {
                if program == "bsdiff" && bytes_of(new)? > BSDIFF_LIMIT {
                    left_out += 1;
                    continue;
                }
                let out = self.bench.new_path("other");
                let mut command = Command::new(program);
                for argument in arguments {
                    match argument {
                        &"OLD" => command.arg(old),
                        &"NEW" => command.arg(new),
                        &"OUT" => command.arg(&out),
                        &"--patch-from" => command.arg(format!("--patch-from={}", old.display())),
                        other => command.arg(other),
                    };
                }
                let cost = measure::measure(vec![command], self.bench.work.path(), LIMIT)?;
                patches += bytes_of(&out)?;
                layers += compressed;
                seconds += cost.wall.as_secs_f64();
                fs::remove_file(out)?;
            }
            let left_out =
                if left_out > 0 { format!("{left_out} larger layers left out") } else { String::new() };
            rows.push(vec![
                program.to_owned(),
                megabytes(layers),
                megabytes(patches),
                format!("{:.4}", float(patches) / float(layers.max(1))),
                format!("{seconds:.1}"),
                left_out,
            ]);
        }
        let head = vec!["program", "changed layers", "patches", "ratio", "seconds", ""];
        let note = "The changed layers of the patch day without compression, each with the layer that it replaces. None of these \
                    programs restores the gzip stream, and with it the digest."
            .to_owned();
        Ok(Table { title: "Other programs on the same layers".to_owned(), note, head, rows })
    }

    /// The layers of the patch day, by image and position.
    fn layers(&self, tag: &str) -> Result<BTreeMap<(String, usize), Blob>> {
        let images = self.of("patch-day", tag)?;
        let mut layers = BTreeMap::new();
        for image in &images.images {
            let manifest: Value = serde_json::from_slice(&fs::read(images.file(&image.digest))?)?;
            for (number, layer) in manifest["layers"].as_array().into_iter().flatten().enumerate() {
                let blob = images.blobs.iter().find(|blob| layer["digest"] == blob.digest.as_str());
                let is_new = !layers.values().any(|known: &Blob| layer["digest"] == known.digest.as_str());
                if let Some(blob) = blob.filter(|_| is_new) {
                    layers.insert((image.name.clone(), number), blob.clone());
                }
            }
        }
        Ok(layers)
    }

    fn expand(&self, layer: &Blob) -> Result<PathBuf> {
        let path = self.bench.work.path().join(format!("{}.tar", layer.digest.trim_start_matches("sha256:")));
        if !path.exists() {
            let mut gzip = Command::new("gzip");
            gzip.arg("-dc").stdin(File::open(self.all.file(&layer.digest))?).stdout(File::create(&path)?);
            run::run(gzip.stderr(Stdio::inherit()))?;
        }
        Ok(path)
    }
}

/// Other programs, and their arguments.
const OTHERS: [(&str, &[&str]); 3] = [
    ("zstd", &["-q", "-19", "--long=27", "--patch-from", "NEW", "-o", "OUT"]),
    ("xdelta3", &["-q", "-e", "-9", "-s", "OLD", "NEW", "OUT"]),
    ("bsdiff", &["OLD", "NEW", "OUT"]),
];

fn kind(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// Megabytes a second.
fn speed_of(bytes: u64, cost: &Cost) -> f64 {
    float(bytes) / 1e6 / cost.wall.as_secs_f64().max(0.001)
}

fn rate(bytes: u64, cost: &Cost) -> String {
    format!("{:.1}", speed_of(bytes, cost))
}

fn mebibytes(cost: &Cost) -> String {
    format!("{:.0}", float(cost.rss) / 1_048_576.0)
}
