// SPDX-License-Identifier: Apache-2.0
//! What a request is about.

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Token,
    Catalog,
    Tags(String),
    Manifest(String, String),
    Blob(String, String),
    Uploads(String),
    Upload(String, String),
    Referrers(String, String),
    Unknown,
}

impl Route {
    pub(crate) fn of(path: &str) -> Self {
        let own = |text: &str| text.to_owned();
        let Some(path) = path.strip_prefix("/v2") else {
            return if path == "/token" { Self::Token } else { Self::Unknown };
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        if path.is_empty() {
            return Self::Ping;
        }
        if path == "_catalog" {
            return Self::Catalog;
        }
        let parts = path.split('/').collect::<Vec<_>>();
        let name = |count: usize| parts[..parts.len() - count].join("/");
        match parts.as_slice() {
            [_, .., "tags", "list"] => Self::Tags(name(2)),
            [_, .., "manifests", reference] => Self::Manifest(name(2), own(reference)),
            [_, .., "blobs", "uploads"] => Self::Uploads(name(2)),
            [_, .., "blobs", "uploads", ""] => Self::Uploads(name(3)),
            [_, .., "blobs", "uploads", id] => Self::Upload(name(3), own(id)),
            [_, .., "blobs", digest] => Self::Blob(name(2), own(digest)),
            [_, .., "referrers", digest] => Self::Referrers(name(2), own(digest)),
            _ => Self::Unknown,
        }
    }

    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
            Self::Ping | Self::Token | Self::Catalog | Self::Unknown => None,
        }
    }
}

/// The fields of a query or a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            let hex =
                tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            let (byte, skip) = match (first, hex) {
                (b'%', Some(byte)) => (byte, 2),
                _ => (*first, 0),
            };
            bytes.push(byte);
            rest = &tail[skip..];
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let fields = text.split('&').filter(|field| !field.is_empty());
    fields
        .map(|field| field.split_once('=').unwrap_or((field, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}
