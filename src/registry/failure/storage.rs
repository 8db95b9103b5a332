// SPDX-License-Identifier: Apache-2.0
//! Detects that the storage of a registry has no space left. Only status 507 says so; most registries answer with 500 and
//! "unknown error", and add the message of the storage. (T-208)
//!
//! For the quota of a project see [`crate::registry::failure::denial::Denial`].

/// Words of file systems and object stores: Go's and C's texts of ENOSPC and EDQUOT, MinIO, Ceph, HTTP 507.
const WORDS: [&str; 8] = [
    "no space left",
    "disk quota exceeded",
    "insufficient storage",
    "not enough space",
    "disk is full",
    "xminiostoragefull",
    "minimum free drive threshold",
    "<code>quotaexceeded</code>",
];
/// ENOSPC and EDQUOT on Linux, as Distribution 2 writes them into the details of an `UNKNOWN` error.
const NUMBERS: [(&str, &str); 2] =
    [("\"err\":28", "no space left on device"), ("\"err\":122", "disk quota exceeded")];

/// The words in an error's `body` that mean that the storage has no space.
pub(in crate::registry) fn find_shortage(body: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    if let Some(words) = WORDS.into_iter().find(|words| text.contains(words)) {
        return Some(words);
    }
    let compact = text.split_whitespace().collect::<String>();
    let is_in = |number: &str| {
        let mut after = compact.split(number).skip(1);
        after.any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    NUMBERS.into_iter().find(|(number, _)| is_in(number)).map(|(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t208_the_words_of_storage_without_space_are_known() {
        let distribution = |detail: &str| {
            format!(r#"{{"errors":[{{"code":"UNKNOWN","message":"unknown error","detail":{detail}}}]}}"#)
        };
        let numbered = |number: u32| {
            distribution(&format!(
                r#"{{"DriverName":"filesystem","Enclosed":{{"Op":"mkdir","Path":"/x","Err": {number}}}}}"#
            ))
        };
        for (body, words) in [
            (numbered(28), "no space left on device"),
            (numbered(122), "disk quota exceeded"),
            (distribution(r#""filesystem: write /x: no space left on device""#), "no space left"),
            ("<Error><Code>XMinioStorageFull</Code></Error>".to_owned(), "xminiostoragefull"),
            ("<Error><Code>QuotaExceeded</Code></Error>".to_owned(), "<code>quotaexceeded</code>"),
        ] {
            assert_eq!(find_shortage(body.as_bytes()), Some(words), "{body}");
        }
        for body in [
            String::new(),
            numbered(280),
            // A file system that is read-only.
            numbered(30),
            "download quota exceeded".to_owned(),
        ] {
            assert_eq!(find_shortage(body.as_bytes()), None, "{body}");
        }
    }
}
