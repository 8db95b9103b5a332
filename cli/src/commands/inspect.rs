// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use krs_core::bundle::{Bundle, Freshness, Policy};
use krs_core::sync::rebuild::{Description, describe};

use super::{drive, keys, policy};
use crate::args::InspectArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::InspectReport;

/// `krs inspect`
pub(super) fn inspect(args: &InspectArgs, console: &Console) -> Result<(), Failure> {
    // An old bundle may be inspected too.
    let policy = Policy { trust: keys::trust(&args.public_keys)?, freshness: Freshness::default() };
    if args.file.is_dir() {
        return drive::inspect(&args.file, &policy, console);
    }
    let bundle = Bundle::open_with(&args.file, &args.volumes.volumes, &policy)
        .map_err(|error| policy::not_opened(error, &args.volumes))?;
    let bundle = Arc::new(bundle);
    let images = bundle.images()?;
    let warnings = policy::remarks(&bundle);
    warnings.iter().for_each(|warning| console.warning(warning));
    let Description { layers, errors } = describe(&bundle);
    let report = InspectReport::new(&bundle, &images, layers, warnings)?;
    console.result(&report, || report.text(args.tree))?;
    // All that can be shown was.
    if let Some(error) = errors.into_iter().next() {
        let help = "copy the bundle again from where it was made; `krs verify` says what of it is damaged";
        return Err(Failure::from(error).help(help));
    }
    policy::has_all_images(&bundle)
}
