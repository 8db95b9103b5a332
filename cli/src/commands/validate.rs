// SPDX-License-Identifier: Apache-2.0
use krs_core::set::{self, LoadedSets, MergedImages, SetErrors};

use super::sets;
use crate::args::ValidateArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::SetsReport;

/// `krs validate`
pub(super) fn validate(args: &ValidateArgs, console: &Console) -> Result<(), Failure> {
    match read(args) {
        Ok((loaded, merged)) => {
            sets::warnings(&loaded, console);
            let report = SetsReport::new(&loaded, &merged);
            console.result(&report, || report.text())
        }
        Err(errors) => {
            if console.json() {
                // What is wrong is the result of this command.
                console.result(&SetsReport::of_errors(&errors), String::new)?;
            }
            Err(errors.into())
        }
    }
}

fn read(args: &ValidateArgs) -> Result<(LoadedSets, MergedImages), SetErrors> {
    let loaded = sets::load(&args.paths)?;
    let merged = set::merge(&loaded.sets)?;
    Ok((loaded, merged))
}
