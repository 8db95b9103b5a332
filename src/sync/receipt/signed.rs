// SPDX-License-Identifier: Apache-2.0
//! Who made a receipt.

use super::error::ReceiptError;
use super::short::ShortReceipt;
use super::site_name::SiteName;
use crate::bundle::sign::{KeyId, PublicKey, SecretKey, SignError, Signatures, Trust};

/// The key of a site.
#[derive(Debug, Clone)]
pub struct SiteKey {
    /// The only site that it signs for; `None`: any.
    pub site: Option<SiteName>,
    /// The key.
    pub key: PublicKey,
}

/// The keys of sites that are known.
#[derive(Debug, Clone, Default)]
pub struct SiteKeys(pub Vec<SiteKey>);

/// What is known about who made a receipt that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A known key signed it.
    Verified(KeyId),
    /// It is signed by keys that are not known.
    UnknownKey(Vec<KeyId>),
    /// It has no signature.
    NotSigned,
}

/// The detached signature of a receipt, as minisign writes it.
///
/// # Errors
/// [`SignError::Failed`].
pub fn sign_receipt(receipt: &[u8], site: &SiteName, key: &SecretKey) -> Result<String, SignError> {
    let mut signatures = Signatures::default();
    signatures.sign(receipt, key, &format!("krs receipt of site {site}"))?;
    signatures.text()
}

impl SiteKeys {
    /// Checks the detached signature of a receipt that says that it is of `site`.
    ///
    /// # Errors
    /// [`ReceiptError::Forged`] if a known key's signature does not fit, [`ReceiptError::NotOfSite`] if the site has a key
    /// of its own and another one signed, [`ReceiptError::Sign`] for what is no signature.
    pub fn check_file(
        &self,
        receipt: &[u8],
        site: &SiteName,
        signature: Option<&[u8]>,
    ) -> Result<Origin, ReceiptError> {
        let signatures = signature.map(Signatures::parse).transpose()?.unwrap_or_default();
        let ids = signatures.key_ids();
        let is_valid = |key: &PublicKey| {
            let trust = Trust::Keys(vec![key.clone()]);
            signatures.check(receipt, &trust).is_ok()
        };
        self.check(site, &ids, is_valid)
    }

    /// Checks the signature of a short receipt.
    ///
    /// # Errors
    /// As for [`SiteKeys::check_file`].
    pub fn check_short(&self, receipt: &ShortReceipt) -> Result<Origin, ReceiptError> {
        let (message, signature) = (receipt.message(), receipt.signature());
        let is_valid = |key: &PublicKey| signature.is_valid(message.as_bytes(), key);
        self.check(&receipt.content().site, &[signature.key()], is_valid)
    }

    /// `ids`: the keys that the signatures name.
    fn check(
        &self,
        site: &SiteName,
        ids: &[KeyId],
        is_valid: impl Fn(&PublicKey) -> bool,
    ) -> Result<Origin, ReceiptError> {
        let named = || self.0.iter().filter(|known| ids.contains(&known.key.id()));
        if let Some(forged) = named().find(|known| !is_valid(&known.key)) {
            return Err(ReceiptError::Forged(forged.key.id()));
        }
        let own = self.0.iter().filter(|known| known.site.as_ref() == Some(site)).collect::<Vec<_>>();
        let signer = named().find(|known| known.site.as_ref().is_none_or(|of| of == site));
        let foreign = named().next();
        match signer {
            Some(known) if own.is_empty() || known.site.is_some() => Ok(Origin::Verified(known.key.id())),
            _ if own.is_empty() && foreign.is_none() && ids.is_empty() => Ok(Origin::NotSigned),
            _ if own.is_empty() && foreign.is_none() => Ok(Origin::UnknownKey(ids.to_vec())),
            _ => Err(ReceiptError::NotOfSite {
                site: site.clone(),
                signed: match (foreign, ids) {
                    (Some(SiteKey { site: Some(other), key }), _) => {
                        format!("key {} of site {other} signed it", key.id())
                    }
                    (_, []) => "it is not signed".to_owned(),
                    (_, [first, ..]) => format!("key {first} signed it"),
                },
                expected: match own.first() {
                    Some(known) => format!("key {}", known.key.id()),
                    None => format!("a key of site {site}"),
                },
            }),
        }
    }
}
