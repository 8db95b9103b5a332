// SPDX-License-Identifier: Apache-2.0
use krs_core::progress::{Activity, Progress};
use serde::Serialize;

use super::{Meter, State};
use crate::report::SCHEMA_VERSION;
use crate::standard_error;

/// Lines of JSON for programs: when an activity begins and ends, and every few seconds between.
#[derive(Debug, Default)]
pub(crate) struct JsonLines(Meter);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    schema_version: u32,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

fn write(event: &Event<'_>) {
    if let Ok(json) = serde_json::to_string(event) {
        standard_error::write(&(json + "\n"));
    }
}

fn write_state(activity: Activity, done: u64, total: u64) {
    let name = match activity {
        Activity::Resolve => "resolve",
        Activity::Survey => "survey",
        Activity::Render => "render",
        Activity::Export => "export",
        Activity::Pull => "pull",
        Activity::Verify => "verify",
        Activity::Push => "push",
        Activity::Copy => "copy",
        Activity::Compact => "compact",
        Activity::Rebuild => "rebuild",
        Activity::ReadBack => "readBack",
    };
    write(&Event {
        schema_version: SCHEMA_VERSION,
        event: "progress",
        activity: Some(name),
        unit: Some(match activity {
            Activity::Render => "sources",
            Activity::Survey => "repositories",
            _ if activity.in_bytes() => "bytes",
            _ => "images",
        }),
        done: Some(done),
        total: Some(total),
        message: None,
    });
}

impl Progress for JsonLines {
    fn begin(&self, activity: Activity, total: u64) {
        self.0.begin(activity, total);
        write_state(activity, 0, total);
    }

    fn advance(&self, activity: Activity, amount: u64) {
        if let Some(State { done, total, .. }) = self.0.advance(activity, amount) {
            write_state(activity, done, total);
        }
    }

    fn end(&self, activity: Activity) {
        if let Some(State { done, total, .. }) = self.0.end(activity) {
            write_state(activity, done, total);
        }
    }

    fn message(&self, text: &str) {
        write(&Event {
            schema_version: SCHEMA_VERSION,
            event: "message",
            activity: None,
            unit: None,
            done: None,
            total: None,
            message: Some(text),
        });
    }
}
