// SPDX-License-Identifier: Apache-2.0
//! What a call says together with `krs.yaml`: a flag or its variable comes before a value of the file, and what the file
//! requires holds for every call.

use krs_core::bundle::StreamName;
use krs_core::oci::platform::Platform;
use krs_core::set::{SetError, SetErrors, Settings};
use krs_core::sync::resolve::Referrers;

use crate::args::PlanArgs;

/// The options of a call that `krs.yaml` may also give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EffectiveOptions {
    pub(super) stream: StreamName,
    pub(super) audience: Vec<String>,
    pub(super) platforms: Vec<Platform>,
    pub(super) referrers: Referrers,
    pub(super) require_platforms: bool,
    /// Values that come from the file, as `NAME VALUE`.
    pub(super) from_file: Vec<String>,
}

/// Puts a call and the settings together.
///
/// # Errors
/// A value of the file that is not valid, or an option that contradicts what the file requires.
pub(super) fn effective(args: &PlanArgs, settings: Option<&Settings>) -> Result<EffectiveOptions, SetErrors> {
    let mut options = EffectiveOptions {
        stream: args.stream.clone().unwrap_or_default(),
        audience: args.audience.clone(),
        platforms: args.platform.clone(),
        referrers: args.referrers.clone().unwrap_or_default(),
        require_platforms: args.require_platforms,
        from_file: Vec::new(),
    };
    let Some(settings) = settings else { return Ok(options) };
    let mut errors = faults(settings);
    let mut note = |name: &str, value: String| options.from_file.push(format!("{name} {value}"));
    if let (None, Some(stream)) = (&args.stream, &settings.stream)
        && let Ok(name) = stream.value.parse()
    {
        options.stream = name;
        note("stream", stream.value.clone());
    }
    if args.audience.is_empty() && !settings.audience.is_empty() {
        options.audience = settings.audience.iter().map(|site| site.value.clone()).collect();
        note("audience", options.audience.join(", "));
    }
    if args.platform.is_empty() && !settings.platforms.is_empty() {
        options.platforms = settings.platforms.iter().map(|platform| platform.value.clone()).collect();
        let names = options.platforms.iter().map(ToString::to_string).collect::<Vec<_>>();
        note("platforms", names.join(", "));
    }
    options.require_platforms |= settings.require.platforms.is_some();
    if let Some(required) = &settings.require.referrers {
        match &args.referrers {
            None | Some(Referrers::Required) => options.referrers = Referrers::Required,
            Some(_) => errors.push(settings.error(
                required,
                "requires all signatures, SBOMs and attestations, and --referrers (or KRS_REFERRERS) selects other ones",
            )),
        }
    }
    if errors.is_empty() { Ok(options) } else { Err(SetErrors(errors)) }
}

/// What is wrong with the settings themselves, besides their form.
pub(super) fn faults(settings: &Settings) -> Vec<SetError> {
    let wrong = settings.stream.iter().filter_map(|stream| {
        let message = stream.value.parse::<StreamName>().err()?;
        Some(settings.error(stream, &message))
    });
    wrong.collect()
}

/// The values that the file has, as `NAME VALUE`.
pub(super) fn values(settings: &Settings) -> Vec<String> {
    let list = |name: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| format!("{name} {}", values.join(", ")))
    };
    let stream = settings.stream.iter().map(|stream| stream.value.clone()).collect();
    let audience = settings.audience.iter().map(|site| site.value.clone()).collect();
    let platforms = settings.platforms.iter().map(|platform| platform.value.to_string()).collect();
    [list("stream", stream), list("audience", audience), list("platforms", platforms)]
        .into_iter()
        .flatten()
        .collect()
}
