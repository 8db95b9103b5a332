// SPDX-License-Identifier: Apache-2.0
//! The text of `krs.yaml`.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::model::{Requirements, Setting, Settings};
use crate::crd::{MAX_PLATFORMS, Naming};
use crate::oci::platform::Platform;
use crate::redact::printable;
use crate::set::error::{SetError, SetErrors};
use crate::set::rules::document::{parse as parse_yaml, position};
use crate::set::rules::rule::SETTINGS;
use crate::set::rules::scalar::{NO_FLAG, Scalar};
use crate::set::yaml::text::{Piece, split};

/// Most sites, and most characters of one.
const MAX_SITES: usize = 100;
const MAX_SITE: usize = 253;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    stream: Option<Spanned<String>>,
    audience: Option<Vec<Spanned<String>>>,
    platforms: Option<Vec<Spanned<String>>>,
    naming: Option<Spanned<Naming>>,
    require: Option<Require>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Require {
    digests: Option<Spanned<Scalar>>,
    signature: Option<Spanned<Scalar>>,
    clean: Option<Spanned<Scalar>>,
    platforms: Option<Spanned<Scalar>>,
    referrers: Option<Spanned<Scalar>>,
}

/// What a field that does not belong here is answered with.
const HELP: &str = "krs.yaml can only make more strict what is accepted: keys, CA certificates, credentials, registries without TLS and paths are options of the command";

/// The same, for a resource.
const HELP_RESOURCE: &str =
    "this is the file of the settings of krs: give a file with a set, or with another resource, another name";

/// Reads a text. `file` is what messages call it.
///
/// # Errors
/// Everything that is wrong, with its place.
pub(super) fn parse(text: &str, file: &str) -> Result<Settings, SetErrors> {
    let pieces = split(text);
    let (document, piece) = match pieces.as_slice() {
        [] => (File::default(), None),
        [piece] => {
            let error = |(position, message): (_, String)| {
                let help = match message.strip_prefix("unknown field `") {
                    Some(rest) if rest.starts_with("apiVersion`") => Some(HELP_RESOURCE),
                    Some(_) => Some(HELP),
                    None => None,
                };
                let error = piece.error(file, position, message).rule(SETTINGS);
                match help {
                    Some(help) => error.help(help),
                    None => error,
                }
            };
            (parse_yaml::<File>(&piece.text).map_err(error)?, Some(piece))
        }
        [_, second, ..] => {
            let place = SetError::file(file, "has several documents; one is allowed").rule(SETTINGS);
            return Err(SetError { line: second.first_line(), ..place }.into());
        }
    };
    let mut reader = Reader { file, piece, errors: Vec::new() };
    let File { stream, audience, platforms, naming, require } = document;
    let Require { digests, signature, clean, platforms: all_platforms, referrers } =
        require.unwrap_or_default();
    let require = Requirements {
        digests: reader.required(digests),
        signature: reader.required(signature),
        clean: reader.required(clean),
        platforms: reader.required(all_platforms),
        referrers: reader.required(referrers),
    };
    let settings = Settings {
        file: file.to_owned(),
        text: text.to_owned(),
        stream: stream.map(|stream| setting(piece, &stream, stream.value.clone())),
        audience: reader.audience(audience.unwrap_or_default()),
        platforms: reader.platforms(platforms.unwrap_or_default()),
        naming: naming.map(|naming| setting(piece, &naming, naming.value)),
        require,
    };
    if reader.errors.is_empty() { Ok(settings) } else { Err(SetErrors(reader.errors)) }
}

/// A value with its place in the file.
fn setting<T, U>(piece: Option<&Piece<'_>>, written: &Spanned<T>, value: U) -> Setting<U> {
    let mut position = position(written.referenced);
    if let Some(piece) = piece {
        (position.column, position.line) =
            (piece.column(position.line, position.column), piece.line(position.line));
    }
    Setting { value, position }
}

struct Reader<'a> {
    file: &'a str,
    piece: Option<&'a Piece<'a>>,
    errors: Vec<SetError>,
}

impl Reader<'_> {
    fn refuse<T>(&mut self, written: &Spanned<T>, message: String) {
        let error = match self.piece {
            Some(piece) => piece.error(self.file, position(written.referenced), message),
            None => SetError::file(self.file, message),
        };
        self.errors.push(error.rule(SETTINGS));
    }

    /// A requirement, if the file has it and it is `true`.
    fn required(&mut self, flag: Option<Spanned<Scalar>>) -> Option<Setting<bool>> {
        let flag = flag?;
        match flag.value.flag() {
            Some(required) => required.then(|| setting(self.piece, &flag, true)),
            None => {
                self.refuse(&flag, NO_FLAG.to_owned());
                None
            }
        }
    }

    fn audience(&mut self, sites: Vec<Spanned<String>>) -> Vec<Setting<String>> {
        let mut kept = Vec::<Setting<String>>::new();
        for site in sites {
            let text = site.value.clone();
            let length = text.chars().count();
            if kept.len() == MAX_SITES {
                self.refuse(&site, format!("more than {MAX_SITES} sites"));
                break;
            } else if !(1..=MAX_SITE).contains(&length) || printable(&text, MAX_SITE) != text {
                self.refuse(&site, format!("a site must have 1 to {MAX_SITE} characters that can be shown"));
            } else if kept.iter().any(|known| known.value == text) {
                self.refuse(&site, "site is listed twice".to_owned());
            } else {
                kept.push(setting(self.piece, &site, text));
            }
        }
        kept
    }

    fn platforms(&mut self, platforms: Vec<Spanned<String>>) -> Vec<Setting<Platform>> {
        use crate::crd::message;
        let mut kept = Vec::<Setting<Platform>>::new();
        for written in platforms {
            match written.value.parse::<Platform>() {
                _ if kept.len() == MAX_PLATFORMS => {
                    self.refuse(&written, format!("at most {MAX_PLATFORMS} platforms can be chosen"));
                    break;
                }
                Ok(platform) if kept.iter().any(|known| known.value == platform) => {
                    self.refuse(&written, message::PLATFORM_DUPLICATE.to_owned());
                }
                Ok(platform) => kept.push(setting(self.piece, &written, platform)),
                Err(_) => self.refuse(&written, message::PLATFORM.to_owned()),
            }
        }
        kept
    }
}
