// SPDX-License-Identifier: Apache-2.0
//! Documents that follow from the code: the resource definition, completions, manual pages.

use clap::{Command, CommandFactory as _};
use krs_core::crd;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::console::Console;
use crate::diagnostic::Failure;

/// `krs crd`
pub(super) fn crd(console: &Console) -> Result<(), Failure> {
    let sets = crd::edge_image_set_crd_yaml().map_err(Failure::other)?;
    let bundles = crd::image_bundle_crd_yaml().map_err(Failure::other)?;
    console.document(&format!("---\n{}\n---\n{}\n", sets.trim_end(), bundles.trim_end()))
}

/// `krs completions`
pub(super) fn completions(args: &CompletionsArgs, console: &Console) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "krs", &mut script);
    console.document(&String::from_utf8_lossy(&script))
}

/// `krs man`
pub(super) fn man(args: &ManArgs, console: &Console) -> Result<(), Failure> {
    let mut krs = Cli::command();
    krs.build();
    let command = match &args.command {
        None => krs,
        Some(name) => page(&krs, name)?,
    };
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|e| Failure::other(format!("cannot write the manual page: {e}")))?;
    console.document(&String::from_utf8_lossy(&page))
}

fn page(krs: &Command, name: &str) -> Result<Command, Failure> {
    krs.find_subcommand(name).cloned().ok_or_else(|| {
        let name = krs_core::redact::printable(name, 40);
        Failure::usage(format!("krs has no command `{name}`")).help("krs --help lists the commands")
    })
}
