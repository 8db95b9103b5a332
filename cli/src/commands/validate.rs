// SPDX-License-Identifier: Apache-2.0
use camino::{Utf8Component, Utf8Path};
use krs_core::set::{self, LoadedSets, MergedImages, SetErrors, Settings};

use super::settings::{self, values};
use super::{files, sets};
use crate::args::{ReportFormat, ReportTarget, ValidateArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{Findings, SetsReport, SettingsFacts};

/// Sets and settings without errors.
struct Valid {
    loaded: LoadedSets,
    merged: MergedImages,
    settings: Option<Settings>,
}

/// `krs validate`
pub(super) fn validate(args: &ValidateArgs, console: &Console) -> Result<(), Failure> {
    check_targets(&args.report, console)?;
    let outcome = read(args);
    let printed = write_reports(&args.report, &outcome, console)?;
    match outcome {
        Ok(Valid { loaded, merged, settings }) => {
            sets::warnings(&loaded, console);
            let facts = settings.as_ref().map(|settings| SettingsFacts::new(settings, values(settings)));
            let report = SetsReport::new(&loaded, &merged).with_settings(facts);
            if printed { Ok(()) } else { console.result(&report, || report.text()) }
        }
        Err(errors) => {
            if console.json() {
                // What is wrong is the result of this command.
                console.result(&SetsReport::of_errors(&errors), String::new)?;
            }
            Err(errors.into())
        }
    }
}

/// Reads the sets and the settings. The errors of both are shown together.
fn read(args: &ValidateArgs) -> Result<Valid, SetErrors> {
    let settings = set::settings(&args.paths);
    let (settings, mut errors) = match settings {
        Ok(settings) => (settings, Vec::new()),
        Err(errors) => (None, errors.0),
    };
    errors.extend(settings.iter().flat_map(settings::faults));
    let sets = sets::load(&args.paths).and_then(|loaded| {
        let unmet = settings.as_ref().map(|settings| settings.check(&loaded.sets)).unwrap_or_default();
        match set::merge(&loaded.sets) {
            Ok(merged) if unmet.is_empty() => Ok((loaded, merged)),
            Ok(_) => Err(SetErrors(unmet)),
            Err(collisions) => Err(SetErrors([unmet, collisions.0].concat())),
        }
    });
    match sets {
        Ok((loaded, merged)) if errors.is_empty() => Ok(Valid { loaded, merged, settings }),
        Ok(_) => Err(SetErrors(errors)),
        Err(others) => Err(SetErrors([errors, others.0].concat())),
    }
}

/// Whether each report has a place of its own.
fn check_targets(targets: &[ReportTarget], console: &Console) -> Result<(), Failure> {
    for (n, target) in targets.iter().enumerate() {
        let same = targets.iter().skip(n + 1).any(|other| other.file == target.file);
        match &target.file {
            Some(file) if same => {
                return Err(Failure::usage(format!("two reports would be written to {file}")));
            }
            None if same || console.json() => {
                let other = if same { "another report" } else { "the result as JSON" };
                return Err(Failure::usage(format!("a report and {other} would both go to standard output"))
                    .help("write the report to a file: --report FORMAT=FILE"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes the reports. Answers whether one of them was printed.
fn write_reports(
    targets: &[ReportTarget],
    outcome: &Result<Valid, SetErrors>,
    console: &Console,
) -> Result<bool, Failure> {
    if targets.is_empty() {
        return Ok(false);
    }
    let mut findings = Findings::default();
    match outcome {
        Ok(Valid { loaded, .. }) => {
            findings.add_sets(&loaded.sets, &name_in_checkout);
            findings.add_warnings(&loaded.warnings, &name_in_checkout);
            findings.add_skipped(&loaded.skipped, &name_in_checkout);
        }
        Err(errors) => findings.add_errors(&errors.0, &name_in_checkout),
    }
    let findings = findings.finished();
    let mut printed = false;
    for ReportTarget { format, file } in targets {
        let text = match format {
            ReportFormat::Junit => findings.junit(),
            ReportFormat::Sarif => findings.sarif(env!("CARGO_PKG_VERSION")),
            ReportFormat::Github => findings.github(),
            ReportFormat::Gitlab => findings.gitlab(),
            ReportFormat::Markdown => findings.markdown(),
        };
        match file {
            Some(file) => files::replace(file, text.as_bytes())?,
            None => {
                console.print(&text)?;
                printed = true;
            }
        }
    }
    Ok(printed)
}

/// A file as CI systems know it: relative to the root of its checkout, else to the current folder.
fn name_in_checkout(file: &str) -> String {
    if file == "-" {
        return "standard-input".to_owned();
    }
    let path = Utf8Path::new(file);
    set::path_in_checkout(path).unwrap_or_else(|| {
        let part = |part: Utf8Component<'_>| match part {
            Utf8Component::Normal(part) => Some(part.to_owned()),
            _ => None,
        };
        let is_below = path.is_relative() && !path.components().any(|part| part == Utf8Component::ParentDir);
        let parts = if is_below {
            path.components().filter_map(part).collect::<Vec<_>>()
        } else {
            path.file_name().map(str::to_owned).into_iter().collect()
        };
        if parts.is_empty() { file.to_owned() } else { parts.join("/") }
    })
}
