// SPDX-License-Identifier: Apache-2.0
//! Parses one YAML document into a valid set.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use super::scalar::{NO_FLAG, NO_INTEGER, Scalar};
use super::spec::{SpecField, is_object_name};
use crate::crd::{API_VERSION, DestinationTls, EdgeImage, EdgeImageSetSpec, KIND, Naming, Source};
use crate::set::error::SetError;
use crate::set::model::CheckedSet;
use crate::set::rules::rule::{IMAGE_NAME, INVALID_SET, rule_of_message};
use crate::set::rules::spec::{Problem, check_spec};
use crate::set::yaml::characters::unseen;
use crate::set::yaml::expand::Expander;
use crate::set::yaml::kind::{DocumentKind, classify, is_near};
use crate::set::yaml::outline::{Outline, odd_indent, outline};
use crate::set::yaml::position::{MAX_DOCUMENT, Position};
use crate::set::yaml::text::Piece;

/// Parses one YAML document as a set. It may come from an archive, so that nothing in it is trusted.
///
/// # Errors
/// The first error, with its location in the document.
pub fn check(document: &[u8], file: &str) -> Result<CheckedSet, SetError> {
    if document.len() > MAX_DOCUMENT {
        return Err(too_large(file, document.len()));
    }
    let text = std::str::from_utf8(document).map_err(|_| SetError::file(file, "is not UTF-8"))?;
    let piece = Piece::full(text);
    let outline = outline(text).map_err(|(position, message)| piece.error(file, position, message))?;
    match classify(&outline.header) {
        DocumentKind::Set => {}
        DocumentKind::Wrong(position, message) => return Err(piece.error(file, position, message)),
        DocumentKind::Foreign(_) | DocumentKind::List | DocumentKind::Other => {
            return Err(SetError::file(file, format!("is not an {KIND} of {API_VERSION}")));
        }
    }
    read(&piece, file).map_err(|errors| {
        errors.into_iter().next().unwrap_or_else(|| SetError::file(file, "does not read as a set"))
    })
}

pub(in crate::set) fn too_large(file: &str, bytes: usize) -> SetError {
    SetError::file(
        file,
        format!("has a document of {bytes} bytes, more than the {MAX_DOCUMENT} that are allowed"),
    )
    .help("divide it into several sets")
}

/// Reads a document that [`classify`] takes for a set.
pub(in crate::set) fn read(piece: &Piece<'_>, file: &str) -> Result<CheckedSet, Vec<SetError>> {
    let at = |location: Location, message: String| piece.error(file, position(location), message);
    let document = parse::<Document>(&piece.text)
        .map_err(|(position, message)| vec![piece.error(file, position, message)])?;
    let mut errors = Vec::new();
    let Metadata { name, namespace } = document.metadata;
    if !is_object_name(&name.value) {
        errors.push(at(
            name.referenced,
            unseen(&name.value).unwrap_or_else(|| {
                "metadata.name must be lower-case letters, digits, `-` and `.`, at most 253".to_owned()
            }),
        ));
    }
    if let Some(namespace) = &namespace
        && (!is_object_name(&namespace.value) || namespace.value.len() > 63 || namespace.value.contains('.'))
    {
        errors.push(at(
            namespace.referenced,
            unseen(&namespace.value).unwrap_or_else(|| {
                "metadata.namespace must be lower-case letters, digits and `-`, at most 63".to_owned()
            }),
        ));
    }
    let wrong_types = document.spec.wrong_types().into_iter();
    errors.extend(wrong_types.map(|(location, message)| at(location, message.to_owned())));
    let spec = document.spec.plain();
    let mut checked = check_spec(&spec);
    match &mut checked {
        Ok(images) => {
            for (image, written) in images.iter_mut().zip(&document.spec.images.value) {
                let location = written.image.referenced;
                image.line = piece.line(location.line());
                image.column = piece.column(location.line(), location.column());
            }
        }
        Err(problems) => errors.extend(problems.iter().map(|problem| {
            at(document.spec.location(problem.field), problem.message.clone()).rule(rule_of(problem))
        })),
    }
    match checked {
        Ok(images) if errors.is_empty() => Ok(CheckedSet {
            namespace: namespace.map(|namespace| namespace.value),
            name: name.value,
            spec,
            images,
        }),
        _ => Err(errors),
    }
}

/// Reads strict YAML within limits.
///
/// # Errors
/// What is wrong, in the words of its author, and where.
pub(in crate::set) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, (Position, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_events: 500_000,
            max_nodes: 200_000,
            max_anchors: 1_000,
            max_aliases: 20_000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: MAX_DOCUMENT,
            max_total_scalar_bytes: 4 * MAX_DOCUMENT,
            enforce_alias_anchor_ratio: false,
        },
        no_schema: true,
        emit_comments: false,
        with_snippet: false,
    };
    let mut options = options;
    options.alias_limits.max_total_replayed_events = 200_000;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let position = error.location().map_or(Position { line: 1, column: 1, length: 1 }, position);
        odd_indent(text).unwrap_or_else(|| (position, explain(&error)))
    })
}

/// The parser's message, reworded for the author of a set.
fn explain(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    match error {
        E::WithSnippet { error, .. } | E::AliasError { error, .. } => explain(error),
        E::SerdeUnknownField { field, expected, .. } => {
            let near = expected.iter().find(|known| is_near(known, field));
            let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
            format!("unknown field `{field}`; {near}expected one of {}", expected.join(", "))
        }
        E::SerdeUnknownVariant { variant, expected, .. } => {
            format!("`{variant}` is not one of {}", expected.join(", "))
        }
        E::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` occurs twice"),
        E::QuotingRequired { value, .. } if !value.is_empty() => {
            format!("expected text, got `{value}`; put it in quotes")
        }
        E::Unexpected { expected: "mapping start", .. } => {
            "expected fields, in lines of `key: value`".to_owned()
        }
        E::Unexpected { expected: "sequence start", .. } => "expected a list, in lines of `- …`".to_owned(),
        E::NullIntoString { .. } => "expected text, got nothing".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

/// A place that the parser names.
pub(in crate::set) fn position(location: Location) -> Position {
    let length = usize::try_from(location.span().len()).ok().filter(|length| *length < 4096);
    Position {
        line: location.line().max(1),
        column: location.column().max(1),
        length: length.unwrap_or(1).max(1),
    }
}

// Strict versions of the types of `crd`, with locations. They differ because unknown fields must be ignored in a cluster, or
// an older importer would refuse a newer set. A test checks that both have the same fields.

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: Spec,
    #[serde(default, rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Spanned<String>,
    namespace: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    destination_registry: Spanned<String>,
    destination_client_secret_name: Option<Spanned<String>>,
    #[serde(rename = "destinationTLS")]
    destination_tls: Option<Spanned<Tls>>,
    source: Option<Source>,
    naming: Option<Naming>,
    platforms: Option<Vec<Spanned<String>>>,
    parallelism: Option<Spanned<Scalar>>,
    resync_interval: Option<Spanned<String>>,
    verify_interval: Option<Spanned<String>>,
    suspend: Option<Spanned<Scalar>>,
    images: Spanned<Vec<Image>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Tls {
    ca_secret_name: Option<Spanned<String>>,
    ca_config_map_name: Option<Spanned<String>>,
    insecure_skip_verify: Option<Spanned<Scalar>>,
    #[serde(rename = "plainHTTP")]
    plain_http: Option<Spanned<Scalar>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    image: Spanned<String>,
    source_client_secret_name: Option<Spanned<String>>,
    platforms: Option<Vec<Spanned<String>>>,
    destination_repository: Option<Spanned<String>>,
}

/// The name of the rule that a problem breaks.
fn rule_of(problem: &Problem) -> &'static str {
    // The parser of references names a fault more exactly than the rule does.
    let of_field = matches!(problem.field, SpecField::Image(_)).then_some(IMAGE_NAME);
    rule_of_message(&problem.message).or(of_field).unwrap_or(INVALID_SET)
}

fn is_set(flag: Option<&Spanned<Scalar>>) -> bool {
    flag.and_then(|flag| flag.value.flag()).unwrap_or_default()
}

fn value<T: Clone>(spanned: Option<&Spanned<T>>) -> Option<T> {
    spanned.map(|spanned| spanned.value.clone())
}

fn values(spanned: Option<&Vec<Spanned<String>>>) -> Vec<String> {
    spanned.into_iter().flatten().map(|text| text.value.clone()).collect()
}

impl Spec {
    /// Values of another type than the API server takes, and where they stand.
    fn wrong_types(&self) -> Vec<(Location, &'static str)> {
        let tls = self.destination_tls.as_ref().map(|tls| &tls.value);
        let flags = [
            self.suspend.as_ref(),
            tls.and_then(|tls| tls.insecure_skip_verify.as_ref()),
            tls.and_then(|tls| tls.plain_http.as_ref()),
        ];
        let flags = flags.into_iter().flatten().filter(|flag| flag.value.flag().is_none());
        let flags = flags.map(|flag| (flag.referenced, NO_FLAG));
        let numbers = self.parallelism.iter().filter(|number| number.value.integer().is_none());
        numbers.map(|number| (number.referenced, NO_INTEGER)).chain(flags).collect()
    }

    fn plain(&self) -> EdgeImageSetSpec {
        use crate::crd::default;
        EdgeImageSetSpec {
            destination_registry: self.destination_registry.value.clone(),
            destination_client_secret_name: value(self.destination_client_secret_name.as_ref()),
            destination_tls: self.destination_tls.as_ref().map(|tls| DestinationTls {
                ca_secret_name: value(tls.value.ca_secret_name.as_ref()),
                ca_config_map_name: value(tls.value.ca_config_map_name.as_ref()),
                insecure_skip_verify: is_set(tls.value.insecure_skip_verify.as_ref()),
                plain_http: is_set(tls.value.plain_http.as_ref()),
            }),
            source: self.source.unwrap_or_default(),
            naming: self.naming.unwrap_or_default(),
            platforms: values(self.platforms.as_ref()),
            parallelism: value(self.parallelism.as_ref())
                .and_then(Scalar::integer)
                .unwrap_or_else(default::parallelism),
            resync_interval: value(self.resync_interval.as_ref()).unwrap_or_else(default::resync_interval),
            verify_interval: value(self.verify_interval.as_ref()).unwrap_or_else(default::verify_interval),
            suspend: is_set(self.suspend.as_ref()),
            images: self.images.value.iter().map(Image::plain).collect(),
        }
    }

    /// The location of a field in the file. If the file does not have the field, the location of `images`.
    fn location(&self, field: SpecField) -> Location {
        let of = |spanned: Option<&Spanned<String>>| spanned.map(|spanned| spanned.referenced);
        let tls = || self.destination_tls.as_ref();
        let image = |i: usize| self.images.value.get(i);
        let found = match field {
            SpecField::DestinationRegistry => Some(self.destination_registry.referenced),
            SpecField::DestinationClientSecretName => of(self.destination_client_secret_name.as_ref()),
            SpecField::DestinationTls => tls().map(|tls| tls.referenced),
            SpecField::CaSecretName => tls().and_then(|tls| of(tls.value.ca_secret_name.as_ref())),
            SpecField::CaConfigMapName => tls().and_then(|tls| of(tls.value.ca_config_map_name.as_ref())),
            SpecField::Platform(n) => of(self.platforms.as_ref().and_then(|list| list.get(n))),
            SpecField::Parallelism => self.parallelism.as_ref().map(|number| number.referenced),
            SpecField::ResyncInterval => of(self.resync_interval.as_ref()),
            SpecField::VerifyInterval => of(self.verify_interval.as_ref()),
            SpecField::Images => Some(self.images.referenced),
            SpecField::Image(i) => of(image(i).map(|image| &image.image)),
            SpecField::SourceClientSecretName(i) => {
                of(image(i).and_then(|image| image.source_client_secret_name.as_ref()))
            }
            SpecField::ImagePlatform(i, n) => {
                of(image(i).and_then(|image| image.platforms.as_ref()).and_then(|list| list.get(n)))
            }
            SpecField::DestinationRepository(i) => {
                of(image(i).and_then(|image| image.destination_repository.as_ref()))
            }
        };
        found.unwrap_or(self.images.referenced)
    }
}

impl Image {
    fn plain(&self) -> EdgeImage {
        EdgeImage {
            image: self.image.value.clone(),
            source_client_secret_name: value(self.source_client_secret_name.as_ref()),
            platforms: values(self.platforms.as_ref()),
            destination_repository: value(self.destination_repository.as_ref()),
        }
    }
}

/// A set in a piece of a file, or its error.
pub(in crate::set) struct ClassifiedDocument<'a> {
    /// The YAML document, or one item of a list.
    pub(in crate::set) piece: Piece<'a>,
    /// The set or the error.
    pub(in crate::set) kind: DocumentKind,
}

/// Finds the sets in a YAML document and in the items of a list.
///
/// # Errors
/// The document is not YAML.
pub(in crate::set) fn find<'a>(piece: &Piece<'a>) -> Result<Vec<ClassifiedDocument<'a>>, (Position, String)> {
    let Outline { header, items } = outline(&piece.text)?;
    let kind = classify(&header);
    if kind != DocumentKind::List {
        return Ok(vec![ClassifiedDocument { piece: piece.clone(), kind }]);
    }
    let mut found = Vec::with_capacity(items.len());
    let mut list = None;
    for item in &items {
        let written = if item.foreign {
            let list = list.get_or_insert_with(|| Expander::new(&piece.text));
            list.as_mut().and_then(|list| piece.expanded(item, list))
        } else {
            Some(piece.item(item))
        };
        let Some(piece) = written else {
            let message =
                "uses anchors of other items in a way that cannot be written out; write the values out";
            let position = Position { line: item.line, column: item.column as u64 + 1, length: 1 };
            found.push(ClassifiedDocument {
                piece: piece.clone(),
                kind: DocumentKind::Wrong(position, message.to_owned()),
            });
            continue;
        };
        let kind = match outline(&piece.text) {
            Ok(outline) => classify(&outline.header),
            Err((position, message)) => DocumentKind::Wrong(position, message),
        };
        found.push(ClassifiedDocument { piece, kind });
    }
    Ok(found)
}
