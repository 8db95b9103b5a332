// SPDX-License-Identifier: Apache-2.0
//! cpio(5) in the format `newc`, as RPM's payload has it.

use std::io::Write as _;

use xtask::run::Result;

use super::PackageFile;

/// All files, in the order of the header.
pub(super) fn archive(files: &[PackageFile], modified: u32) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let links = if file.is_folder() { 2 } else { 1 };
        let numbers = [index + 1, usize::from(file.mode), links, modified.try_into()?];
        member(&mut out, numbers, &format!("./{}", file.path), &file.content)?;
    }
    member(&mut out, [0, 0, 1, 0], "TRAILER!!!", &[])?;
    Ok(out)
}

fn member(
    out: &mut Vec<u8>,
    [inode, mode, links, modified]: [usize; 4],
    path: &str,
    content: &[u8],
) -> Result<()> {
    let (user, group, size) = (0, 0, content.len());
    write!(out, "070701{inode:08x}{mode:08x}{user:08x}{group:08x}{links:08x}{modified:08x}{size:08x}")?;
    // The numbers of two devices, and a checksum that this format does not have.
    write!(out, "{:032x}{:08x}{:08x}{path}\0", 0, path.len() + 1, 0)?;
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(content);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}
