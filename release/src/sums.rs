// SPDX-License-Identifier: Apache-2.0
//! `SHA256SUMS` as `sha256sum -c` reads it, and its signature as `minisign -V` reads it.

use std::path::Path;

use krs_core::bundle::sign::{MAX_KEY_FILE, SecretKey, Signatures};
use krs_core::files;
use krs_core::redact::Secret;

use crate::VERSION;
use crate::folder::{OutputFolder, Row};
use xtask::run::Result;
use xtask::source::Commit;

/// The name of the list of checksums.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The name of its signature.
pub(crate) const SIGNATURE: &str = "SHA256SUMS.minisig";

/// The key that signs a release.
#[derive(Debug)]
pub(crate) struct SigningKey(SecretKey);

impl SigningKey {
    /// Reads the key, and its passphrase where it has one.
    pub(crate) fn read(file: &Path, passphrase: Option<&Path>) -> Result<Self> {
        let text = Secret::new(read(file)?);
        let passphrase = match passphrase {
            _ if !SecretKey::needs_passphrase(text.expose()) => None,
            Some(file) => Some(Secret::new(read(file)?.lines().next().unwrap_or_default())),
            None => {
                return Err(format!(
                    "{} is encrypted\nhelp: name a file that contains its passphrase with --passphrase-file",
                    file.display()
                )
                .into());
            }
        };
        Ok(Self(SecretKey::parse(text.expose(), passphrase.as_ref(), &file.to_string_lossy())?))
    }
}

fn read(file: &Path) -> Result<String> {
    let bytes = files::read_file(file, MAX_KEY_FILE)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", file.display()).into())
}

/// Adds the list of all files so far, and its signature.
pub(crate) fn add(folder: &mut OutputFolder, key: Option<&SigningKey>, commit: &Commit) -> Result<()> {
    let sums = list(folder.rows());
    folder.add(SUMS, sums.as_bytes())?;
    if let Some(SigningKey(key)) = key {
        let mut signatures = Signatures::default();
        let comment = format!("krs {VERSION} commit {}", commit.revision);
        signatures.sign(sums.as_bytes(), key, &comment)?;
        folder.add(SIGNATURE, signatures.text()?.as_bytes())?;
    }
    Ok(())
}

fn list(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{}  {}\n", row.digest.hex(), row.name)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::fs;
    use std::process::Command;

    use krs_core::bundle::sign::{PublicKey, Trust, generate};

    use super::*;

    fn commit() -> Commit {
        Commit { revision: "1".to_owned(), time: String::new(), seconds: 1 }
    }

    #[test]
    fn stock_tools_accept_the_list_and_the_key_its_signature() {
        let parent = tempfile::tempdir().unwrap();
        let pass = Secret::new("correct horse");
        let pair = generate(Some(&pass)).unwrap();
        let [key, passphrase, out] = ["k.key", "pass", "out"].map(|name| parent.path().join(name));
        fs::write(&key, pair.secret.expose()).unwrap();
        fs::write(&passphrase, "correct horse\n").unwrap();
        let error = SigningKey::read(&key, None).unwrap_err().to_string();
        assert!(error.contains("--passphrase-file"), "{error}");
        let key = SigningKey::read(&key, Some(&passphrase)).unwrap();

        let mut folder = OutputFolder::create(&out).unwrap();
        folder.add("b", b"2").unwrap();
        folder.add("a", b"1").unwrap();
        add(&mut folder, Some(&key), &commit()).unwrap();
        folder.finish().unwrap();

        let sums = fs::read(out.join(SUMS)).unwrap();
        let signatures = Signatures::parse(&fs::read(out.join(SIGNATURE)).unwrap()).unwrap();
        let trust = Trust::Keys(vec![PublicKey::parse(&pair.public, "k.pub").unwrap()]);
        assert_eq!(signatures.check(&sums, &trust).unwrap().len(), 1);
        assert!(signatures.check(b"other", &trust).is_err());

        let check = || Command::new("sha256sum").args(["-c", SUMS]).current_dir(&out).output().unwrap();
        let output = check();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a: OK\nb: OK\n");
        fs::write(out.join("a"), "2").unwrap();
        assert!(!check().status.success());
    }

    #[test]
    fn without_a_key_there_is_no_signature() {
        let parent = tempfile::tempdir().unwrap();
        let mut folder = OutputFolder::create(&parent.path().join("out")).unwrap();
        add(&mut folder, None, &commit()).unwrap();
        let rows = folder.finish().unwrap();
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), [SUMS]);
    }
}
