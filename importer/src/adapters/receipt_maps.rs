// SPDX-License-Identifier: Apache-2.0
//! The receipt of the site in the cluster: ConfigMaps with its parts, and `krs-receipt`, which names them. The parts are written
//! first and old ones deleted last, so that `krs-receipt` names a complete receipt at any time.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use krs_core::oci::digest::Digest;
use krs_core::sync::receipt::{RECEIPT_MAP, RECEIPT_PART_KEY, ReceiptIndex, SiteName, part_name};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::adapters::writes::FIELD_MANAGER;
use crate::engine::receipt_parts::split;

/// Marks the parts.
const LABEL: &str = "kuberegistrysync.io/receipt-part";
/// Parts in one page of a list.
const PAGE: u32 = 100;

/// A receipt and what comes with it.
#[derive(Debug)]
pub struct SignedReceipt {
    /// The site.
    pub site: SiteName,
    /// When it was made.
    pub created_at: Timestamp,
    /// The receipt.
    pub json: String,
    /// SHA-256 of it.
    pub digest: Digest,
    /// Its detached signature.
    pub signature: String,
    /// What that is checked with.
    pub public_key: String,
    /// Short receipts, one in a line.
    pub short: String,
}

/// The ConfigMaps.
#[derive(Debug, Clone)]
pub struct ReceiptMaps(Api<ConfigMap>);

impl ReceiptMaps {
    /// Those in the importer's own namespace.
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        Self(Api::namespaced(client, namespace))
    }

    /// What is written. `None`: nothing, or nothing that is complete and can be read.
    ///
    /// # Errors
    /// The API server.
    pub async fn index(&self) -> Result<Option<ReceiptIndex>, kube::Error> {
        let Some(index) = self.0.get_opt(RECEIPT_MAP).await?.as_ref().and_then(parse) else {
            return Ok(None);
        };
        let parts = self.parts().await?;
        let is_complete = index.part_names().all(|name| parts.contains(&name));
        Ok(Some(index).filter(|_| is_complete))
    }

    /// The receipt that the index names. `None`: it is not there any more, or was changed.
    ///
    /// # Errors
    /// The API server.
    pub async fn read(&self, index: &ReceiptIndex) -> Result<Option<String>, kube::Error> {
        let mut json = String::new();
        for name in index.part_names() {
            let part = self.0.get_opt(&name).await?;
            let part = part.and_then(|map| map.data?.remove(RECEIPT_PART_KEY));
            let Some(part) = part else { return Ok(None) };
            json.push_str(&part);
        }
        Ok(Some(json).filter(|json| Digest::of(json.as_bytes()) == index.digest))
    }

    /// Writes a receipt in place of the last one.
    ///
    /// # Guarantees
    /// A reader of the index and then of its parts gets the old receipt or the new one, also where this does not come to its end.
    /// A reader whose parts are deleted meanwhile reads the index again.
    ///
    /// # Errors
    /// The API server; what was written stays until the next receipt is complete.
    pub async fn write(&self, receipt: &SignedReceipt) -> Result<(), kube::Error> {
        let parts = split(&receipt.json);
        let mut names = BTreeSet::new();
        for (number, part) in parts.iter().enumerate() {
            let name = part_name(&receipt.digest, number);
            self.apply(&name, &json!({LABEL: "true"}), &json!({RECEIPT_PART_KEY: part})).await?;
            names.insert(name);
        }
        let index = ReceiptIndex {
            created_at: receipt.created_at,
            digest: receipt.digest,
            parts: parts.len(),
            public_key: receipt.public_key.clone(),
            short: receipt.short.clone(),
            signature: receipt.signature.clone(),
            site: receipt.site.clone(),
        };
        let data = serde_json::to_value(index).map_err(kube::Error::SerdeError)?;
        self.apply(RECEIPT_MAP, &json!({}), &data).await?;
        for old in self.parts().await?.difference(&names) {
            match self.0.delete(old, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted?),
            }
        }
        Ok(())
    }

    async fn apply(
        &self,
        name: &str,
        labels: &serde_json::Value,
        data: &serde_json::Value,
    ) -> Result<(), kube::Error> {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": labels},
            "data": data,
        });
        let how = PatchParams::apply(FIELD_MANAGER).force();
        self.0.patch(name, &how, &Patch::Apply(map)).await.map(drop)
    }

    /// The names of all parts, of whichever receipt.
    async fn parts(&self) -> Result<BTreeSet<String>, kube::Error> {
        let mut params = ListParams::default().labels(&format!("{LABEL}=true")).limit(PAGE);
        let mut names = BTreeSet::new();
        loop {
            let page = self.0.list_metadata(&params).await?;
            names.extend(page.items.into_iter().filter_map(|map| map.metadata.name));
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => return Ok(names),
            }
        }
    }
}

fn parse(map: &ConfigMap) -> Option<ReceiptIndex> {
    serde_json::from_value(serde_json::to_value(map.data.as_ref()?).ok()?).ok()
}
