// SPDX-License-Identifier: Apache-2.0
//! A read-only registry straight from a bundle: manifests and blobs by digest and tag, ranges, lists of tags, and
//! the referrers API, over plain HTTP or TLS. No byte is unpacked.
//!
//! [`Server`] is the whole of it, for one bundle. Its parts serve other registries too: [`Listener`] answers requests with
//! any function, [`route`] reads them, and a [`BundleContent`] answers them from a bundle.

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
