// SPDX-License-Identifier: Apache-2.0
//! What the importer talks to: the API server, the drop folder, Prometheus, and the credentials of registries.

pub mod api_client;
pub mod bundle_store;
pub mod credentials;
pub mod events;
pub mod follow;
pub mod heartbeat;
pub mod high_water_marks;
pub mod lease;
pub mod media_receipts;
pub mod metrics;
pub mod own_secret;
pub mod receipt_maps;
pub mod site_key;
pub mod stored;
pub(crate) mod watch_source;
pub(crate) mod writes;
