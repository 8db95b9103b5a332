// SPDX-License-Identifier: Apache-2.0
//! The status of a fleet: tables with the commands that make the next bundles, a document, and lines of values.

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use krs_core::redact::printable;
use krs_core::sync::fleet::{FleetStatus, GroupStatus, SiteStatus, SiteStream, StreamStatus};
use serde::Serialize;

use super::human::{count, size};
use super::table::{Align, Table, sentence};
use super::{SCHEMA_VERSION, csv};

/// Most refused bundles that the tables list.
const MAX_REFUSED: usize = 20;
/// Sites of a group that its line names.
const MAX_NAMES: usize = 4;

/// What `krs fleet status` shows.
#[derive(Debug)]
pub(crate) struct FleetReport {
    pub(crate) status: FleetStatus,
    /// Receipts that cannot be read or verified.
    pub(crate) unused: Vec<UnusedReceipt>,
    /// Lines of the catalog that cannot be read.
    pub(crate) damaged: Vec<String>,
    pub(crate) catalog: Option<Utf8PathBuf>,
    /// The values of `--site-key` of the call.
    pub(crate) site_keys: Vec<String>,
}

/// A receipt that is not used, and why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnusedReceipt {
    pub(crate) source: String,
    /// The class of the failure.
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FleetDocument<'a> {
    schema_version: u32,
    sites: &'a [SiteStatus],
    streams: Vec<StreamDocument<'a>>,
    unused_receipts: &'a [UnusedReceipt],
    /// Lines of the catalog that cannot be read.
    damaged: &'a [String],
}

#[derive(Debug, Serialize)]
struct StreamDocument<'a> {
    #[serde(flatten)]
    status: &'a StreamStatus,
    /// The command for each group, in their order.
    commands: Vec<String>,
}

impl FleetReport {
    /// The result for programs.
    pub(crate) fn json(&self) -> FleetDocument<'_> {
        let streams = self.status.streams.iter().map(|status| StreamDocument {
            status,
            commands: status.groups.iter().map(|group| self.command(status, group)).collect(),
        });
        FleetDocument {
            schema_version: SCHEMA_VERSION,
            sites: &self.status.sites,
            streams: streams.collect(),
            unused_receipts: &self.unused,
            damaged: &self.damaged,
        }
    }

    /// What `-v` shows besides: names that are counted in the table.
    pub(crate) fn details(&self) -> Vec<String> {
        let mut details = Vec::new();
        for site in &self.status.sites {
            let name = printable(&site.site, 100);
            let awaited = site.awaited.iter().flat_map(|awaited| &awaited.images);
            details.extend(awaited.map(|image| format!("{name} awaits {}", printable(image, 400))));
            for stream in &site.streams {
                details.extend(stream.unconfirmed.bundles.iter().map(|bundle| {
                    let file = printable(&bundle.file, 200);
                    let (number, sent) = (bundle.sequence, bundle.sent_at);
                    format!(
                        "{name} did not confirm sequence {number} of stream {}: {file}, sent {sent}",
                        stream.stream
                    )
                }));
            }
        }
        details
    }

    /// The result for people.
    pub(crate) fn text(&self) -> String {
        let remarks = self.status.sites.iter().flat_map(|site| {
            site.remarks.iter().map(|remark| sentence(&format!("{}: {remark}", printable(&site.site, 100))))
        });
        let streams = self.status.streams.iter().map(|stream| self.stream_text(stream));
        let parts = [sites(&self.status.sites), self.unused_table(), self.refused_table(), remarks.collect()];
        let parts = parts.into_iter().chain(streams).chain([self.totals()]);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn totals(&self) -> String {
        let mut text = count(self.status.sites.len() as u64, "site");
        let older = self.status.sites.iter().map(|site| site.older_receipts).sum::<usize>();
        if older > 0 {
            let _ = write!(text, ", {} not used", count(older as u64, "older receipt"));
        }
        if !self.unused.is_empty() {
            let _ = write!(text, ", {} refused or damaged", count(self.unused.len() as u64, "receipt"));
        }
        text + "\n"
    }

    fn unused_table(&self) -> String {
        let mut table = Table::new(&[("RECEIPT NOT USED", Align::Left), ("REASON", Align::Left)]);
        for receipt in &self.unused {
            table.row([receipt.source.clone(), receipt.reason.clone()]);
        }
        table.render()
    }

    fn refused_table(&self) -> String {
        let mut table = Table::new(&[
            ("REFUSED AT", Align::Left),
            ("BUNDLE", Align::Left),
            ("REASON", Align::Left),
            ("MESSAGE", Align::Left),
        ]);
        let refused = self.status.sites.iter().flat_map(|site| site.refused.iter().map(move |of| (site, of)));
        let total = refused.clone().map(|(_, of)| of.count).sum::<usize>();
        let bundles = refused.flat_map(|(site, of)| of.bundles.iter().map(move |bundle| (site, bundle)));
        for (site, bundle) in bundles.take(MAX_REFUSED) {
            let (file, reason, message) = (&bundle.file, &bundle.reason, &bundle.message);
            table.row([site.site.clone(), file.clone(), reason.clone(), message.clone()]);
        }
        let rest = total.saturating_sub(MAX_REFUSED);
        let more = if rest > 0 {
            format!("and {rest} more; --format json lists more of them\n")
        } else {
            String::new()
        };
        table.render() + &more
    }

    fn stream_text(&self, stream: &StreamStatus) -> String {
        let StreamStatus { stream: name, sequence, full_bytes, current_sites, groups } = stream;
        let sites = groups.iter().map(|group| group.sites.len()).sum::<usize>();
        let have = count(*current_sites as u64, "site");
        let mut text = format!(
            "Stream {name}: {have} confirmed its newest bundle, sequence {sequence}, {} in full",
            size(*full_bytes)
        );
        if groups.is_empty() {
            return sentence(&(text + "."));
        }
        let bytes = |of: fn(&GroupStatus) -> u64| groups.iter().map(of).fold(0, u64::saturating_add);
        let _ = write!(
            text,
            ". {} for the other {}: {} instead of {} one by one.",
            count(groups.len() as u64, "bundle"),
            count(sites as u64, "site"),
            size(bytes(|group| group.bytes)),
            size(bytes(|group| group.separate_bytes)),
        );
        let mut table = Table::new(&[
            ("GROUP", Align::Right),
            ("SITES", Align::Right),
            ("SHARED BUNDLE", Align::Right),
            ("ONE BY ONE", Align::Right),
            ("NAMES", Align::Left),
        ]);
        for group in groups {
            let names = match group.sites.split_at_checked(MAX_NAMES) {
                Some((first, rest)) if !rest.is_empty() => {
                    format!("{} and {} more", first.join(", "), rest.len())
                }
                _ => group.sites.join(", "),
            };
            table.row([
                group.group.to_string(),
                group.sites.len().to_string(),
                size(group.bytes),
                size(group.separate_bytes),
                names,
            ]);
        }
        let commands = groups.iter().map(|group| format!("{}\n", self.command(stream, group)));
        format!("{}{}\n{}", sentence(&text), table.render(), commands.collect::<String>())
    }

    /// The command that makes the bundle of a group, to be run in the checkout.
    fn command(&self, stream: &StreamStatus, group: &GroupStatus) -> String {
        let name = &stream.stream;
        let mut words = ["krs", "bundle", ".", "-o"].map(str::to_owned).to_vec();
        words.push(format!("{name}-group-{}.krs.tar", group.group));
        words.extend(["--stream".to_owned(), name.to_string()]);
        if let Some(catalog) = &self.catalog {
            words.extend(["--catalog".to_owned(), shell_word(catalog.as_str())]);
        }
        words.extend(["--audience".to_owned(), shell_word(&group.sites.join(","))]);
        let has_files = group.against.iter().any(|value| !value.starts_with("catalog:"));
        for key in self.site_keys.iter().filter(|_| has_files) {
            words.extend(["--site-key".to_owned(), shell_word(key)]);
        }
        for value in &group.against {
            words.extend(["--against".to_owned(), shell_word(value)]);
        }
        words.join(" ")
    }

    /// One line per site and stream, and one per receipt that is not used.
    pub(crate) fn csv(&self) -> String {
        const HEAD: [&str; 15] = [
            "site",
            "stream",
            "sequence",
            "confirmedAt",
            "ageSeconds",
            "verified",
            "awaited",
            "refused",
            "unconfirmed",
            "oldestUnconfirmed",
            "current",
            "nextBytes",
            "group",
            "source",
            "problem",
        ];
        let mut text = csv::line(&HEAD.map(str::to_owned));
        for site in &self.status.sites {
            let number = |number: Option<usize>| number.map(|number| number.to_string()).unwrap_or_default();
            let row = |of: Option<&SiteStream>| {
                let confirmed = of.and_then(|of| of.confirmed.as_ref());
                let next = of.and_then(|of| of.next.as_ref());
                let oldest = of.and_then(|of| of.unconfirmed.bundles.last());
                let text = |value: Option<String>| value.unwrap_or_default();
                csv::line(&[
                    site.site.clone(),
                    text(of.map(|of| of.stream.to_string())),
                    text(confirmed.map(|one| one.sequence.to_string())),
                    text(confirmed.map(|one| one.created_at.to_string())),
                    text(site.age_seconds.map(|age| age.to_string())),
                    site.verified.to_string(),
                    number(site.awaited.as_ref().map(|of| of.count)),
                    number(site.refused.as_ref().map(|of| of.count)),
                    number(of.map(|of| of.unconfirmed.count)),
                    text(oldest.map(|bundle| bundle.sequence.to_string())),
                    text(of.and_then(|of| of.current).map(|current| current.to_string())),
                    text(next.map(|next| next.bytes.to_string())),
                    number(next.map(|next| next.group)),
                    site.against.join(" "),
                    site.remarks.join("; "),
                ])
            };
            if site.streams.is_empty() {
                text.push_str(&row(None));
            }
            text.extend(site.streams.iter().map(|of| row(Some(of))));
        }
        for receipt in &self.unused {
            let mut cells = HEAD.map(|_| String::new());
            let [.., source, problem] = &mut cells;
            (*source, *problem) = (receipt.source.clone(), receipt.reason.clone());
            text.push_str(&csv::line(&cells));
        }
        text
    }
}

fn sites(sites: &[SiteStatus]) -> String {
    let mut table = Table::new(&[
        ("SITE", Align::Left),
        ("STREAM", Align::Left),
        ("SEQUENCE", Align::Right),
        ("LAST RECEIPT", Align::Left),
        ("AGE", Align::Right),
        ("VERIFIED", Align::Left),
        ("AWAITED", Align::Right),
        ("REFUSED", Align::Right),
        ("NOT CONFIRMED", Align::Left),
        ("NEXT", Align::Right),
        ("GROUP", Align::Right),
    ]);
    let none = || "-".to_owned();
    for site in sites {
        let row = |of: Option<&SiteStream>| {
            let confirmed = of.and_then(|of| of.confirmed.as_ref());
            let next = match of {
                Some(SiteStream { next: Some(next), .. }) => size(next.bytes),
                Some(SiteStream { current: Some(true), .. }) => "none".to_owned(),
                _ => none(),
            };
            [
                site.site.clone(),
                of.map_or_else(none, |of| of.stream.to_string()),
                confirmed.map_or_else(none, |one| one.sequence.to_string()),
                site.created_at.map_or_else(|| "none".to_owned(), |time| time.to_string()),
                site.age_seconds.map_or_else(none, age),
                site.created_at.map_or_else(none, |_| if site.verified { "yes" } else { "no" }.to_owned()),
                site.awaited.as_ref().map_or_else(none, |of| of.count.to_string()),
                site.refused.as_ref().map_or_else(none, |of| of.count.to_string()),
                of.map_or_else(none, unconfirmed),
                next,
                of.and_then(|of| of.next.as_ref()).map_or_else(none, |next| next.group.to_string()),
            ]
        };
        if site.streams.is_empty() {
            table.row(row(None));
        }
        site.streams.iter().for_each(|of| table.row(row(Some(of))));
    }
    table.render()
}

/// How many bundles, with the first and the last sequence.
fn unconfirmed(of: &SiteStream) -> String {
    let bundles = &of.unconfirmed.bundles;
    match (of.unconfirmed.count, bundles.first(), bundles.last()) {
        (1, Some(one), _) => format!("1 ({})", one.sequence),
        (number, Some(last), Some(first)) if number == bundles.len() => {
            format!("{number} ({} to {})", first.sequence, last.sequence)
        }
        (number, Some(last), _) => format!("{number} (up to {})", last.sequence),
        _ => "0".to_owned(),
    }
}

fn age(seconds: i64) -> String {
    match seconds {
        ..0 => "in the future".to_owned(),
        0..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// A word of a command line, in quotes where a shell would read it otherwise.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@+%".contains(c);
    let text = printable(text, usize::MAX);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_commands_are_quoted_for_the_shell() {
        for (text, word) in [
            ("catalog:berlin", "catalog:berlin"),
            ("a b.receipt.json", "'a b.receipt.json'"),
            ("it's", "'it'\\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
        assert!(!shell_word("a\u{1b}[31m\n").contains(['\u{1b}', '\n']));
    }

    #[test]
    fn ages_are_short() {
        let ages = [-1, 59, 7200, 172_799, 172_800, 86_400 * 45].map(age);
        assert_eq!(ages, ["in the future", "0 min", "2 h", "47 h", "2 days", "45 days"]);
    }
}
