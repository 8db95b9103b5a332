// SPDX-License-Identifier: Apache-2.0
//! What happens on which day, and what must be so at its end.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use krs_testing::registry::{Matcher, What};

use crate::api::Trouble;
use crate::bounds::{self, Events};
use crate::figures::{Figures, heading};
use crate::sender::Set;
use crate::site::{SETS, Site};

const HOUR: usize = 60;
const DAY: usize = 24 * HOUR;
/// Day from which the importer is not started again.
const LAST_START: usize = 12;
/// Days of one line of the table.
const LINE: usize = 5;

/// How much more memory may be used at the end than half-way, when the importer was started last: a tenth.
const GROWTH: u64 = 10;

/// A USB drive with a bundle.
struct Drive {
    name: String,
    file: Utf8PathBuf,
    is_in: bool,
    /// Somebody pulls it without waiting, and puts it back.
    hasty: bool,
    inserted: usize,
}

/// The day as it is planned.
struct Today<'a> {
    day: usize,
    /// Namespace whose images change today.
    changing: usize,
    drives: Vec<Drive>,
    /// The newest bundle of each namespace.
    newest: &'a mut BTreeMap<usize, Utf8PathBuf>,
    events: Events,
}

/// Lets all days pass.
pub(crate) async fn run(mut site: Site) {
    let begun = std::time::Instant::now();
    site.start();
    let mut newest = BTreeMap::new();
    let (mut table, mut lines, mut before) = (Vec::<Figures>::new(), Vec::<Figures>::new(), 0);
    let mut exceeded = Vec::new();
    eprintln!("{}", heading());
    for day in 0..site.size.days {
        let (mut figures, events) = one(&mut site, day, &mut newest).await;
        (figures.reconciles, before) = (figures.reconciles - before, figures.reconciles);
        exceeded.extend(bounds::exceeded(site.size, site.max_jobs(), day, events, &figures));
        table.push(figures);
        if (day + 1).is_multiple_of(LINE) || day + 1 == site.size.days {
            let mut line = Figures::default();
            let first = lines.iter().map(|line| line.days).sum::<usize>();
            table[first..].iter().for_each(|day| line.add(day));
            eprintln!("{:>5} {line}", day + 1);
            lines.push(line);
        }
    }
    let mut all = Figures::default();
    table.iter().for_each(|day| all.add(day));
    eprintln!(
        "most in a minute: {:?} of the API server, {:?} of the edge registry",
        all.api_peak, all.edge_peak
    );
    eprintln!(
        "{:?}: {} Jobs ended well, {} failed; {} s",
        site.size,
        site.kubelet.completed,
        site.kubelet.failed,
        begun.elapsed().as_secs()
    );
    assert!(exceeded.is_empty(), "{exceeded:#?}");
    if site.size.days > 2 * LAST_START {
        let (half, end) = (table[table.len() / 2].memory, table[table.len() - 1].memory);
        assert!(
            end <= half + half / GROWTH,
            "{} MiB after half of the time, {} MiB at the end",
            half >> 20,
            end >> 20
        );
    }
}

async fn one(site: &mut Site, day: usize, newest: &mut BTreeMap<usize, Utf8PathBuf>) -> (Figures, Events) {
    let events = Events { changed: 0, lost: 0, drives: 0, starts: usize::from(day == 0) };
    let mut today = Today { day, changing: day % site.size.namespaces, drives: Vec::new(), newest, events };
    for minute in 0..DAY {
        today.begin(site, minute);
        today.trouble(site, minute).await;
        today.pull(site, minute);
        site.minute().await;
    }
    let wrong = site.all().filter_map(|set| site.wrong(set)).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "day {day}: {} sets: {:#?}", wrong.len(), &wrong[..wrong.len().min(3)]);
    for drive in &today.drives {
        assert!(
            !drive.is_in,
            "day {day}: {} is not safe to remove: {:#?}",
            drive.name,
            site.bundle(&drive.file)
        );
    }
    (site.end_of_day(), today.events)
}

impl Today<'_> {
    fn sequence(&self) -> u64 {
        self.day as u64 + 1
    }

    /// Sets whose images change today: each fifth.
    fn change(&self, site: &Site) -> Vec<Set> {
        let (changing, day) = (self.changing, self.day);
        site.all().filter(|set| set.0 == changing && (set.1 + day).is_multiple_of(5)).collect()
    }

    /// What people do.
    fn begin(&mut self, site: &mut Site, minute: usize) {
        if self.day == 0 {
            if minute == HOUR {
                // The first media, and all sets.
                let all = site.all().collect::<Vec<_>>();
                all.iter().for_each(|set| site.sender.change(*set));
                all.iter().for_each(|set| site.apply(*set));
                self.events.changed = all.len();
                (0..site.size.namespaces).for_each(|namespace| self.insert(site, namespace, minute));
            }
            return;
        }
        // On even days Git is ahead of the media, else behind them.
        let (change, even) = (self.change(site), self.day.is_multiple_of(2));
        match minute {
            420 => {
                self.events.changed += change.len();
                change.iter().for_each(|set| site.sender.change(*set));
                if even {
                    change.iter().for_each(|set| site.apply(*set));
                }
            }
            480 => self.insert(site, self.changing, minute),
            // Media of earlier days are put in again.
            1200 => {
                let file = self.newest[&self.changing].clone();
                self.put_in(site, file, false, minute);
            }
            540 if !even => change.iter().for_each(|set| site.apply(*set)),
            // Somebody deletes a set, and makes it again.
            1000 if self.day % 3 == 1 => site.delete((self.changing, 1)),
            1100 if self.day % 3 == 1 => {
                self.events.changed += 1;
                site.apply((self.changing, 1));
            }
            // The media that are put in next have all that is lost.
            1150 if self.day % 5 == 2 => {
                self.events.lost = site.size.sets;
                site.lose(self.changing);
            }
            _ => {}
        }
    }

    fn insert(&mut self, site: &Site, namespace: usize, minute: usize) {
        let file = site.sender.bundle(namespace, self.sequence(), site.now());
        self.newest.insert(namespace, file.clone());
        self.put_in(site, file, self.day % 4 == 1, minute);
    }

    fn put_in(&mut self, site: &Site, file: Utf8PathBuf, hasty: bool, inserted: usize) {
        let name = format!("usb-{}", self.drives.len());
        site.insert(&name, &file);
        self.events.drives += 1;
        self.drives.push(Drive { name, file, is_in: true, hasty, inserted });
    }

    /// Pulls what may be pulled, and sometimes what may not.
    fn pull(&mut self, site: &Site, minute: usize) {
        for drive in &mut self.drives {
            let since = minute - drive.inserted;
            if drive.is_in && drive.hasty && since == 4 {
                site.pull(&drive.name);
                drive.is_in = false;
            } else if drive.hasty && since == 100 {
                site.insert(&drive.name, &drive.file);
                self.events.drives += 1;
                (drive.is_in, drive.hasty) = (true, false);
            } else if drive.is_in && since >= 90 && site.is_safe_to_remove(&drive.file) {
                site.pull(&drive.name);
                drive.is_in = false;
            }
        }
    }

    /// What fails.
    async fn trouble(&mut self, site: &mut Site, minute: usize) {
        match (self.day % 10, minute) {
            // The edge registry is away, says that it is, or hangs.
            // On one day from the night on, so that all images are due to be verified when it is there again.
            (1 | 4, 485) | (7, 10) => {
                site.edge_works = false;
                let what = match self.day % 3 {
                    0 => What::CutRequestAfter(0),
                    1 => What::Status(503, Vec::new(), String::new()),
                    _ => What::Delay(std::time::Duration::from_secs(600)),
                };
                site.edge.fail(Matcher::any(), what);
            }
            (1 | 4 | 7, 600) => {
                site.edge.clear_faults();
                site.edge_works = true;
            }
            // The importer is killed while media are copied.
            (1 | 5, 482) | (3, 720) if self.day < LAST_START => {
                site.kill().await;
                site.start();
                self.events.starts += 1;
            }
            (9, 720) if self.day < LAST_START => {
                site.stop().await;
                site.start();
                self.events.starts += 1;
            }
            // The API server restarts, forgets and refuses.
            (1 | 6, 700) => site.api.disconnect(),
            (2 | 6, 720) => site.api.expire(),
            (1 | 8, 800) => {
                site.api.trouble("", SETS, Trouble::Status(500, "InternalError", "etcd is away"), None);
            }
            (1 | 8, 815) => site.api.mend(),
            _ => {}
        }
    }
}
