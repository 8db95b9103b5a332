// SPDX-License-Identifier: Apache-2.0
//! A blob that is downloaded from one repository while it is sent into another one of the same registry.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::oci::reference::RepositoryName;

/// A registry that mounts nothing. `other/app` has the content; what is put is kept.
struct Edge {
    content: Vec<u8>,
    stored: Mutex<Vec<u8>>,
    ranges: bool,
    /// The first so many downloads are cut after so many bytes.
    cuts: (usize, usize),
    /// The first upload is cut.
    cut_upload: bool,
    puts: AtomicUsize,
    downloads: AtomicUsize,
    delivered: AtomicUsize,
}

impl Edge {
    fn new(content: Vec<u8>) -> Self {
        Self {
            content,
            stored: Mutex::default(),
            ranges: true,
            cuts: (0, 0),
            cut_upload: false,
            puts: AtomicUsize::default(),
            downloads: AtomicUsize::default(),
            delivered: AtomicUsize::default(),
        }
    }

    fn answer(&self, r: &Request) -> Reply {
        let location = "/v2/team/app/blobs/uploads/1";
        match r.method.as_str() {
            "POST" => {
                self.stored.lock().unwrap().clear();
                Reply::new(202).with("location", location)
            }
            "GET" if r.path.starts_with("/v2/other/app/blobs/") => self.download(r),
            "PUT" if self.cut_upload && self.puts.fetch_add(1, Ordering::Relaxed) == 0 => Reply::new(0),
            "PATCH" | "PUT" => {
                let mut stored = self.stored.lock().unwrap();
                stored.extend_from_slice(&r.body);
                let range = format!("0-{}", stored.len().saturating_sub(1));
                let status = if r.method == "PUT" { 201 } else { 202 };
                Reply::new(status).with("location", location).with("range", range)
            }
            _ => Reply::new(404),
        }
    }

    fn download(&self, r: &Request) -> Reply {
        let first = r.header("range").filter(|_| self.ranges);
        let first = first.map(|r| r["bytes=".len()..].trim_end_matches('-').parse::<usize>().unwrap());
        let rest = &self.content[first.unwrap_or(0)..];
        let (cuts, after) = self.cuts;
        let cut = (self.downloads.fetch_add(1, Ordering::Relaxed) < cuts).then_some(after);
        self.delivered.fetch_add(cut.unwrap_or(rest.len()).min(rest.len()), Ordering::Relaxed);
        let mut reply = Reply { cut, ..Reply::ok(rest) };
        if let Some(first) = first {
            let all = self.content.len();
            reply = reply.with("content-range", format!("bytes {first}-{}/{all}", all - 1));
            reply.status = 206;
        }
        reply
    }
}

/// Copies the content with one connection to the registry. How many bytes were counted.
async fn copy(edge: &Arc<Edge>) -> Result<u64, RegistryError> {
    let answering = Arc::clone(edge);
    let server = Server::start(move |request| answering.answer(request)).await;
    let repository = server.repository_with(ClientOptions { connections_per_host: 1, ..options() });
    let counted = Arc::<AtomicU64>::default();
    let counting = Arc::clone(&counted);
    let name: RepositoryName = "other/app".parse().unwrap();
    let received: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |bytes| {
        counting.fetch_add(bytes, Ordering::Relaxed);
    });
    let push = BlobPush {
        digest: Digest::of(&edge.content),
        size: edge.content.len() as u64,
        content: BlobContent::Repository { name: name.clone(), received },
        mount_from: Some(name),
        transfers: None,
    };
    let pushed = tokio::time::timeout(Duration::from_secs(60), repository.send_blob(&push)).await;
    assert_eq!(pushed.expect("it does not wait for itself")?, PushOutcome::Uploaded);
    assert!(*edge.stored.lock().unwrap() == edge.content, "all of it arrived");
    Ok(counted.load(Ordering::Relaxed))
}

#[tokio::test]
async fn t103_one_connection_is_enough_and_every_byte_comes_once() {
    for ranges in [true, false] {
        let edge = Arc::new(Edge { ranges, ..Edge::new(noise(20_000_000)) });
        assert_eq!(copy(&edge).await.unwrap(), 20_000_000);
        assert_eq!(edge.downloads.load(Ordering::Relaxed), 1);
        assert_eq!(edge.delivered.load(Ordering::Relaxed), 20_000_000);
    }
}

#[tokio::test]
async fn t103_an_interrupted_download_is_resumed() {
    for ranges in [true, false] {
        let edge = Edge { ranges, cuts: (2, 3_000_000), ..Edge::new(noise(10_000_000)) };
        let edge = Arc::new(edge);
        assert_eq!(copy(&edge).await.unwrap(), 10_000_000);
        let delivered = edge.delivered.load(Ordering::Relaxed);
        // Without ranges each real failure costs what came before it, and no more.
        assert_eq!(delivered, if ranges { 10_000_000 } else { 16_000_000 });
    }
}

#[tokio::test]
async fn t103_parts_of_an_upload_share_one_download() {
    // The first upload is cut and lost, so the blob goes in parts.
    let edge = Arc::new(Edge { ranges: false, cut_upload: true, ..Edge::new(noise(12_000_000)) });
    copy(&edge).await.unwrap();
    assert_eq!(edge.downloads.load(Ordering::Relaxed), 2, "one for each try");
}

#[tokio::test]
async fn t103_t90_content_that_differs_from_its_digest_is_never_sent_completely() {
    let mut edge = Edge::new(noise(3_000_000));
    let digest = Digest::of(&edge.content);
    edge.content[1_000_000] ^= 1;
    let edge = Arc::new(edge);
    let answering = Arc::clone(&edge);
    let server = Server::start(move |request| answering.answer(request)).await;
    let from = "other/app".parse().unwrap();
    let error = server.repository().copy_blob(&digest, 3_000_000, &from).await.unwrap_err();
    assert!(matches!(error, RegistryError::Content { .. }), "{error}");
    assert!(error.to_string().contains("other/app"), "{error}");
    assert!(edge.stored.lock().unwrap().len() < 3_000_000);
}

#[tokio::test]
async fn t103_a_download_that_waits_for_its_next_part_keeps_no_other_from_its_connection() {
    // Both go in parts, and each part needs the one connection.
    let edge = Arc::new(Edge { cut_upload: true, ..Edge::new(noise(6_000_000)) });
    let stored = Arc::<Mutex<std::collections::HashMap<String, Vec<u8>>>>::default();
    let answering = Arc::clone(&edge);
    let server = Server::start(move |r| {
        let path = r.path.split('?').next().unwrap_or_default().to_owned();
        match r.method.as_str() {
            // Parts of 1 MiB at most.
            "PUT" | "PATCH" if r.body.len() > 1 << 20 => Reply::new(413),
            "POST" => Reply::new(202).with("location", format!("{path}1")),
            "PATCH" => {
                let mut stored = stored.lock().unwrap();
                let stored = stored.entry(path.clone()).or_default();
                stored.extend_from_slice(&r.body);
                Reply::new(202).with("location", path).with("range", format!("0-{}", stored.len() - 1))
            }
            "PUT" => Reply::new(201),
            "GET" => answering.download(r),
            _ => Reply::new(404),
        }
    });
    let server = server.await;
    let client = Client::new(ClientOptions { connections_per_host: 1, ..options() }).unwrap();
    let (from, digest) = ("other/app".parse().unwrap(), Digest::of(&edge.content));
    let [one, other] =
        ["team/one", "team/other"].map(|name| client.repository(&server.host, &name.parse().unwrap()));
    let both = async {
        tokio::join!(one.copy_blob(&digest, 6_000_000, &from), other.copy_blob(&digest, 6_000_000, &from))
    };
    let (one, other) =
        tokio::time::timeout(Duration::from_secs(60), both).await.expect("neither waits for the other");
    assert_eq!((one.unwrap(), other.unwrap()), (PushOutcome::Uploaded, PushOutcome::Uploaded));
}
