// SPDX-License-Identifier: Apache-2.0
//! A read-only registry that serves a bundle without unpacking it: manifests and blobs by digest and tag, ranges, lists of
//! tags, and the referrers API, over plain HTTP or TLS.
//!
//! [`Server`] serves one bundle. Its parts can be used for other registries: [`Listener`] accepts requests, [`route`] parses
//! them, and a [`BundleContent`] responds from a bundle.

mod bundle_content;
mod catalog;
mod listen;
mod options;
mod peers;
mod request;
mod response;
mod server;
mod stall_timeout;

pub use bundle_content::{BundleContent, Fault};
pub use catalog::Repository;
pub use listen::{Caller, Certificate, Listener, Peer};
pub use options::{ServeError, ServeOptions, Tls};
pub use request::{Route, route};
pub use response::{error, finish, json, read_only, unknown_name};
pub use server::Server;
