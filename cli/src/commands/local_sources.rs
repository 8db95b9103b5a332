// SPDX-License-Identifier: Apache-2.0
//! Images that are in no registry: `--from`.

use std::path::PathBuf;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::space;
use krs_core::error::ErrorKind;
use krs_core::local::{Daemon, DockerEnvironment, LocalError, LocalSource, Location};
use krs_core::progress::{Activity, Progress};
use krs_core::set::MergedImages;

use super::runtime::runtime;
use crate::diagnostic::Failure;
use crate::report::{count, size};

/// Opens sources that images are read from before their registries. Those of these images that a daemon has are exported.
///
/// # Errors
/// One that cannot be opened.
pub(super) fn open(
    locations: &[Location],
    images: &MergedImages,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Arc<LocalSource>>, Failure> {
    let environment = environment();
    let open_one = |location: &Location| {
        let daemon = location.daemon(&environment).map_err(LocalError::from)?;
        let source = match daemon {
            None => LocalSource::open(location)?,
            Some(daemon) => runtime()?.block_on(export(&daemon, images, progress))?,
        };
        Ok(Arc::new(source))
    };
    locations.iter().map(open_one).collect()
}

/// What chooses a daemon.
fn environment() -> DockerEnvironment {
    let in_home = || std::env::home_dir().map(|home| home.join(".docker"));
    let config = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
    DockerEnvironment {
        host: std::env::var("DOCKER_HOST").ok(),
        context: std::env::var("DOCKER_CONTEXT").ok(),
        config: config.map(PathBuf::from).or_else(in_home),
    }
}

async fn export(
    daemon: &Daemon,
    images: &MergedImages,
    progress: &Arc<dyn Progress>,
) -> Result<LocalSource, Failure> {
    let references = images.images.iter().map(|image| &image.reference);
    let holdings = daemon.find(references).await.map_err(LocalError::from)?;
    let folder = Utf8PathBuf::from_path_buf(std::env::temp_dir()).map_err(|folder| {
        Failure::usage(format!("the name of the temporary folder {} is not UTF-8", folder.display()))
    })?;
    if holdings.count() > 0 {
        let free = space(&folder).map(|space| space.free);
        let (total, largest) = (holdings.total_size(), holdings.largest_size());
        let images = count(holdings.count() as u64, "image");
        let what = format!("{images} of {}, about {}", daemon.location(), size(total));
        progress.message(&needs(&what, largest, &folder, free)?);
    }
    progress.begin(Activity::Export, holdings.total_size());
    let on_progress = |bytes| progress.advance(Activity::Export, bytes);
    let source = LocalSource::of_daemon(daemon, holdings, &folder, &on_progress).await;
    progress.end(Activity::Export);
    Ok(source?)
}

/// Says what an export needs. Layers that images share are in it only once, so that only the largest image is certain to be
/// too much.
///
/// # Errors
/// The folder does not have the space for that one.
fn needs(images: &str, largest: u64, folder: &Utf8Path, free: Option<u64>) -> Result<String, Failure> {
    let has = free.map(|free| format!(", which has {} free", size(free))).unwrap_or_default();
    if free.is_some_and(|free| largest > free) {
        let message = format!(
            "there is no space for the export of {images}: the largest has {}, and it is exported to {folder}{has}",
            size(largest)
        );
        return Err(Failure::new(ErrorKind::NoSpace, message)
            .help("free some space, or name a folder on another drive in the variable TMPDIR"));
    }
    Ok(format!("exporting {images}, to a temporary file in {folder}{has}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_export_is_refused_only_where_its_largest_image_cannot_fit() {
        let needs = |free| needs("2 images of docker-daemon:, about 12 MB", 9_000_000, "/tmp".into(), free);
        let text = "exporting 2 images of docker-daemon:, about 12 MB, to a temporary file in /tmp";
        assert_eq!(needs(None).unwrap(), text);
        // They may share layers.
        assert_eq!(needs(Some(9_000_000)).unwrap(), format!("{text}, which has 8.6 MiB free"));
        let failure = needs(Some(8_999_999)).unwrap_err();
        assert_eq!(failure.code(), crate::exit::NO_SPACE);
        assert!(failure.text(ToString::to_string).contains("TMPDIR"));
    }
}
