// SPDX-License-Identifier: Apache-2.0
//! Tables of results, for the terminal and for a page. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use super::measure::Cost;
use super::runner::{Contender, Lane, Runs};
use super::scenario::{DISK, MEMORY, Scenario, Work};
use super::stats::{Goal, ratio, summary};

/// A table under a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// What it needs to be understood.
    pub(crate) note: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A goal, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GoalResult {
    pub(crate) what: String,
    pub(crate) goal: String,
    pub(crate) got: String,
    pub(crate) is_met: bool,
    /// Why it is not met, and what would get there.
    pub(crate) why: &'static str,
    /// How much, where of many such goals only the worst is shown.
    pub(crate) worst_of: Option<f64>,
}

impl GoalResult {
    /// The result of a value, or on a failure.
    pub(crate) fn new(what: &str, goal: Goal, value: Option<f64>, failed: Option<&str>) -> Self {
        let got = match (failed, value, goal) {
            (Some(why), ..) => first_line(why),
            (None, Some(value), Goal::Times(_)) => format!("{value:.2} ×"),
            (None, Some(value), Goal::Speed(_)) => format!("{:.2} × its speed", 1.0 / value),
            (None, Some(value), Goal::Seconds(_)) => format!("{value:.2} s"),
            (None, Some(value), Goal::Bytes(_)) => format!("{:.1} %", value * 100.0),
            (None, Some(value), Goal::Memory(_)) => format!("{:.0} MiB", value / 1_048_576.0),
            (None, Some(value), Goal::Rate(_)) => format!("{value:.1} MB/s"),
            (None, Some(value), Goal::Requests(_)) => format!("{value:.0} requests"),
            (None, Some(_), Goal::Completes) => "completes".to_owned(),
            (None, None, _) => "not measured".to_owned(),
        };
        let is_met = failed.is_none() && value.is_some_and(|value| goal.is_met(value));
        Self { what: what.to_owned(), goal: goal.text(), got, is_met, why: "", worst_of: None }
    }
}

/// What rows are compared with.
pub(crate) struct Against {
    /// Bytes of all content.
    pub(crate) bytes: u64,
    /// What the link takes for it, if it is the floor.
    pub(crate) link: Option<Duration>,
}

/// The table of a scenario, or of its repetition.
pub(crate) fn table(
    scenario: &Scenario,
    lanes: &[Lane],
    again: bool,
    against: &Against,
) -> (Table, Vec<GoalResult>) {
    let floor = floor(lanes, again, against);
    let (title, goal) = match (again, scenario.again) {
        (true, Some((title, goal))) => (title, goal),
        _ => (scenario.title, scenario.goal),
    };
    let mut rows = Vec::new();
    let mut results = Vec::new();
    if let Some(link) = against.link.filter(|_| !again) {
        let mut row = vec![String::new(); HEAD.len()];
        set(&mut row, 0, "floor: what the link can carry");
        set(&mut row, 1, &format!("{:.2}", link.as_secs_f64()));
        rows.push(row);
    }
    for lane in lanes.iter().filter(|lane| !again || !lane.again.is_empty()) {
        let (runs, is_krs) = (pick(lane, again), matches!(lane.contender, Contender::Krs));
        let times = ratio(&walls(runs), &floor);
        let goal = goal.filter(|_| is_krs);
        rows.push(row(scenario.work, &lane.contender.name(scenario.work), runs, times, goal, against.bytes));
        if let Some(goal) = goal {
            let value = match goal {
                Goal::Seconds(_) => summary(walls(runs).iter().map(Duration::as_secs_f64)).map(|s| s.median),
                Goal::Completes => Some(0.0),
                _ => times,
            };
            let result = GoalResult::new(title, goal, value, runs.failed.as_deref());
            results.push(GoalResult { why: scenario.why, ..result });
        }
        if is_krs && !runs.costs.is_empty() {
            results.extend(limits(title, scenario, runs));
        }
    }
    let note = match scenario.work {
        Work::Verify => String::new(),
        _ => format!("{} of content, each blob counted once.", megabytes(against.bytes)),
    };
    (Table { title: title.to_owned(), note, head: HEAD.to_vec(), rows }, results)
}

const HEAD: [&str; 8] =
    ["who", "seconds (min–max)", "CPU s", "RSS MiB", "peak disk MB", "on the wire MB", "× floor", "goal"];

fn pick(lane: &Lane, again: bool) -> &Runs {
    if again { &lane.again } else { &lane.first }
}

fn walls(runs: &Runs) -> Vec<Duration> {
    runs.costs.iter().map(|cost| cost.wall).collect()
}

/// How long the floor took in each round.
fn floor(lanes: &[Lane], again: bool, against: &Against) -> Vec<Duration> {
    match against.link {
        Some(_) if again => Vec::new(),
        Some(link) => vec![link; lanes.iter().map(|lane| lane.first.costs.len()).max().unwrap_or_default()],
        None => {
            let floor = lanes.iter().find(|lane| matches!(lane.contender, Contender::Floor));
            floor.map(|lane| walls(pick(lane, again))).unwrap_or_default()
        }
    }
}

fn row(
    work: Work,
    contender: &str,
    runs: &Runs,
    times: Option<f64>,
    goal: Option<Goal>,
    bytes: u64,
) -> Vec<String> {
    let mut row = vec![String::new(); HEAD.len()];
    set(&mut row, 0, contender);
    set(&mut row, 7, &goal.map(Goal::text).unwrap_or_default());
    if let Some(why) = &runs.failed {
        set(&mut row, 1, &format!("failed: {}", first_line(why)));
        return row;
    }
    let of = |value: fn(&Cost) -> f64| summary(runs.costs.iter().map(value));
    if let Some(wall) = of(|cost| cost.wall.as_secs_f64()) {
        let spread = if runs.costs.len() > 1 {
            format!(" ({:.2}–{:.2})", wall.least, wall.most)
        } else {
            String::new()
        };
        set(&mut row, 1, &format!("{:.2}{spread}", wall.median));
    }
    set(
        &mut row,
        2,
        &of(|cost| cost.cpu.as_secs_f64()).map_or_else(String::new, |cpu| format!("{:.2}", cpu.median)),
    );
    set(
        &mut row,
        3,
        &of(|cost| float(cost.rss) / 1_048_576.0).map_or_else(String::new, |rss| format!("{:.0}", rss.most)),
    );
    // Of a push this is what it unpacks beside what it pushes from.
    if let Some(disk) = of(|cost| float(cost.disk)).map(|disk| disk.most).filter(|disk| *disk > 1e6) {
        let times =
            if work == Work::Fetch { format!(" ({:.2} ×)", disk / float(bytes)) } else { String::new() };
        set(&mut row, 4, &format!("{:.1}{times}", disk / 1e6));
    }
    set(&mut row, 5, &runs.wire.map_or_else(String::new, |wire| format!("{:.1}", float(wire) / 1e6)));
    set(&mut row, 6, &times.map_or_else(String::new, |times| format!("{times:.2}")));
    row
}

/// What krs may use, whatever it does.
fn limits(title: &str, scenario: &Scenario, runs: &Runs) -> Vec<GoalResult> {
    let most = |value: fn(&Cost) -> f64| summary(runs.costs.iter().map(value)).map(|summary| summary.most);
    // Whole blocks of the file system make an archive a little larger.
    let disk = |cost: &Cost| (float(cost.disk) / float(cost.left) * 100.0).round() / 100.0;
    let disk = (scenario.work == Work::Fetch).then(|| most(disk)).flatten();
    let all = [("most memory", MEMORY, most(|cost| float(cost.rss))), ("most disk", Goal::Times(DISK), disk)];
    let judged = all.into_iter().filter(|(.., value)| value.is_some()).map(|(what, goal, value)| {
        let worst_of = value;
        let mut result = GoalResult { worst_of, ..GoalResult::new(what, goal, value, None) };
        result.got = format!("{} ({title})", result.got);
        result
    });
    judged.collect()
}

/// Of goals of which only the worst is shown, that one, at the end.
pub(crate) fn worst(results: Vec<GoalResult>) -> Vec<GoalResult> {
    let (mut kept, many): (Vec<_>, Vec<_>) = results.into_iter().partition(|v| v.worst_of.is_none());
    let mut worst: Vec<GoalResult> = Vec::new();
    for result in many {
        match worst.iter_mut().find(|other| other.what == result.what) {
            Some(other) if other.worst_of < result.worst_of => *other = result,
            Some(_) => {}
            None => worst.push(result),
        }
    }
    kept.append(&mut worst);
    kept
}

fn set(row: &mut [String], at: usize, text: &str) {
    if let Some(cell) = row.get_mut(at) {
        text.clone_into(cell);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}

pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", float(bytes) / 1e6)
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(90).collect();
    if short.len() < line.len() { format!("{short} …") } else { short }
}

/// The goals as a table.
pub(crate) fn goals(results: &[GoalResult]) -> Table {
    let row = |v: &GoalResult| {
        let met = if v.is_met { "met" } else { "**not met**" };
        vec![v.what.clone(), v.goal.clone(), v.got.clone(), met.to_owned()]
    };
    Table {
        title: "Goals".to_owned(),
        note: String::new(),
        head: vec!["what", "goal", "got", ""],
        rows: results.iter().map(row).collect(),
    }
}

/// For a terminal.
pub(crate) fn text(table: &Table) -> String {
    let mut widths: Vec<usize> = table.head.iter().map(|cell| cell.chars().count()).collect();
    for row in &table.rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = table.head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut out = format!("\n{}\n", table.title);
    for row in std::iter::once(&head).chain(&table.rows) {
        out.push_str(&line(row));
        out.push('\n');
    }
    out
}

/// For a page.
pub(crate) fn markdown(table: &Table) -> String {
    let mut out = format!("### {}\n\n", table.title);
    if !table.note.is_empty() {
        let _ = writeln!(out, "{}\n", table.note);
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out += &line(table.head.iter().map(|cell| (*cell).to_owned()).collect());
    out += &line(table.head.iter().map(|_| "---".to_owned()).collect());
    for row in &table.rows {
        out += &line(row.iter().map(|cell| cell.replace('|', "\\|")).collect());
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::super::measure::Cost;
    use super::super::scenario::SCENARIOS;
    use super::*;

    fn lane(contender: Contender, seconds: &[u64]) -> Lane {
        let cost = |n: &u64| Cost {
            wall: Duration::from_secs(*n),
            rss: 10 << 20,
            disk: 1000,
            left: 1000,
            ..Cost::default()
        };
        let first = Runs { costs: seconds.iter().map(cost).collect(), ..Runs::default() };
        Lane { contender, first, again: Runs::default() }
    }

    #[test]
    fn a_table_shows_ratios_to_the_floor_and_judges_krs_alone() {
        let bundle = &SCENARIOS[0];
        let lanes = [lane(Contender::Floor, &[10, 10]), lane(Contender::Krs, &[11, 13])];
        let (table, results) = table(bundle, &lanes, false, &Against { bytes: 1000, link: None });
        assert_eq!(table.rows[1][6], "1.20");
        assert_eq!(table.rows[0][7], "");
        assert_eq!(results.iter().map(|v| v.is_met).collect::<Vec<_>>(), [true, true, true]);
        assert!(markdown(&table).contains("| krs bundle | 12.00 (11.00–13.00) |"));
    }

    #[test]
    fn of_many_such_goals_the_worst_is_shown() {
        let result = |what: &str, worst_of| GoalResult {
            worst_of,
            ..GoalResult::new(what, Goal::Completes, worst_of, None)
        };
        let all =
            vec![result("m", Some(1.0)), result("a", None), result("m", Some(3.0)), result("m", Some(2.0))];
        let kept = worst(all).into_iter().map(|v| (v.what, v.worst_of)).collect::<Vec<_>>();
        assert_eq!(kept, [("a".to_owned(), None), ("m".to_owned(), Some(3.0))]);
    }

    #[test]
    fn a_failure_is_a_goal_that_is_not_met() {
        let bundle = &SCENARIOS[0];
        let mut krs = lane(Contender::Krs, &[]);
        krs.first.failed = Some("krs failed: no such image\nmore".to_owned());
        let (table, results) = table(bundle, &[krs], false, &Against { bytes: 1000, link: None });
        assert_eq!(table.rows[0][1], "failed: krs failed: no such image");
        assert_eq!(results.iter().map(|v| v.is_met).collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn the_link_itself_can_be_the_floor() {
        let slow = &SCENARIOS[4];
        let against = Against { bytes: 1000, link: Some(Duration::from_secs(10)) };
        let (table, results) = table(slow, &[lane(Contender::Krs, &[11])], false, &against);
        assert_eq!(table.rows[0][1], "10.00");
        assert_eq!(table.rows[1][6], "1.10");
        assert!(!results[0].is_met);
    }
}
