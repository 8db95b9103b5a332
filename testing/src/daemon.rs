// SPDX-License-Identifier: Apache-2.0
//! What `krs` uses of a Docker daemon, on a socket of its own, with faults on demand.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;
use serde_json::json;

use crate::image::{Image, archive_of, containerd_names, docker_archive, oci_layout};

/// How the daemon keeps images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageStore {
    /// Uncompressed, without the manifests of registries; an export as before version 25.
    Classic,
    /// The same, with an export as since version 25.
    ClassicWithLayout,
    /// As they came from their registries.
    Containerd,
}

/// What is wrong with exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportFault {
    /// A stream without end.
    Endless,
    /// The connection ends in the middle of it.
    Cut,
    /// The response ends in the middle of the archive, as if it were complete.
    Short,
    /// Nothing comes after the middle of it.
    Stalled,
    /// No response at all.
    Silent,
    /// This status, with this message.
    Status(u16, &'static str),
    /// This content type.
    Type(&'static str),
}

/// An image of the daemon.
#[derive(Debug, Clone)]
pub struct DaemonImage {
    /// Its content.
    pub image: Image,
    /// `HOST/REPOSITORY:TAG`.
    pub name: String,
    /// The digest by which it came from a registry.
    pub pulled: Option<Digest>,
}

#[derive(Debug)]
struct State {
    store: ImageStore,
    images: Vec<DaemonImage>,
    fault: Mutex<Option<ExportFault>>,
    requests: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

/// A daemon that listens until it is dropped.
#[derive(Debug)]
pub struct Daemon {
    folder: tempfile::TempDir,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts one with these images.
    pub fn start(store: ImageStore, images: Vec<DaemonImage>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let state = Arc::new(State {
            store,
            images,
            fault: Mutex::new(None),
            requests: Mutex::new(Vec::new()),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                // A client that leaves in the middle is no failure of the daemon.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { folder, state, thread: Some(thread) }
    }

    /// The path of its socket.
    pub fn socket(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join("docker.sock")
    }

    /// The value of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket())
    }

    /// From now on exports have this fault.
    pub fn fail(&self, fault: ExportFault) {
        *self.state.fault.lock().unwrap() = Some(fault);
    }

    /// The paths of the requests, with their queries.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = UnixStream::connect(self.socket());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl DaemonImage {
    fn id(&self, store: ImageStore) -> String {
        match store {
            ImageStore::Classic | ImageStore::ClassicWithLayout => self.image.blobs[0].0.to_string(),
            ImageStore::Containerd => self.image.digest.to_string(),
        }
    }

    /// `HOST/REPOSITORY@DIGEST`, as it came from a registry.
    fn repo_digest(&self) -> Option<String> {
        let (repository, _) = self.name.rsplit_once(':').unwrap();
        self.pulled.map(|digest| format!("{repository}@{digest}"))
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.repo_digest().is_some_and(|digest| digest == name)
    }
}

impl State {
    fn serve(&self, mut stream: UnixStream) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        self.requests.lock().unwrap().push(path.clone());
        let _ = match path.strip_prefix("/images/get?") {
            Some(query) => self.export(&mut stream, query),
            None => self.inspect(&mut stream, &path),
        };
    }

    fn inspect(&self, stream: &mut UnixStream, path: &str) -> std::io::Result<()> {
        let name = path.strip_prefix("/images/").and_then(|path| path.strip_suffix("/json")).unwrap();
        let Some(found) = self.images.iter().find(|image| image.is_called(name)) else {
            let body = json!({"message": format!("No such image: {name}")});
            return respond(stream, 404, "application/json", body.to_string().as_bytes());
        };
        let size = found.image.blobs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let body = json!({
            "Id": found.id(self.store),
            "RepoTags": [found.name],
            "RepoDigests": found.repo_digest().as_slice(),
            "Size": size,
        });
        respond(stream, 200, "application/json", body.to_string().as_bytes())
    }

    fn export(&self, stream: &mut UnixStream, query: &str) -> std::io::Result<()> {
        let names = query.split('&').map(|part| part.strip_prefix("names=").unwrap());
        let images = names.map(|name| self.images.iter().find(|image| image.is_called(name)).unwrap());
        let files = match self.store {
            ImageStore::Classic => {
                let tags = images.map(|image| (&image.image, [image.name.as_str()])).collect::<Vec<_>>();
                let images = tags.iter().map(|(image, tags)| (*image, &tags[..])).collect::<Vec<_>>();
                docker_archive(&images)
            }
            ImageStore::ClassicWithLayout | ImageStore::Containerd => {
                let images = images.map(|image| (&image.image, containerd_names(&image.name)));
                oci_layout(&images.collect::<Vec<_>>())
            }
        };
        let archive = archive_of(&files);
        let (begin, rest) = archive.split_at(archive.len() / 2);
        let fault = self.fault.lock().unwrap().clone();
        match fault {
            None => {
                stream.write_all(CHUNKED)?;
                write_chunk(stream, begin)?;
                write_chunk(stream, rest)?;
                stream.write_all(b"0\r\n\r\n")
            }
            Some(ExportFault::Endless) => {
                stream.write_all(CHUNKED)?;
                loop {
                    write_chunk(stream, &[0; 1 << 16])?;
                }
            }
            Some(ExportFault::Cut) => {
                stream.write_all(CHUNKED)?;
                write_chunk(stream, begin)
            }
            Some(ExportFault::Short) => {
                stream.write_all(CHUNKED)?;
                write_chunk(stream, begin)?;
                stream.write_all(b"0\r\n\r\n")
            }
            Some(ExportFault::Stalled) => {
                stream.write_all(CHUNKED)?;
                write_chunk(stream, begin)?;
                wait_for_end(stream)
            }
            Some(ExportFault::Silent) => wait_for_end(stream),
            Some(ExportFault::Status(status, message)) => {
                let body = json!({"message": message}).to_string();
                respond(stream, status, "application/json", body.as_bytes())
            }
            Some(ExportFault::Type(kind)) => respond(stream, 200, kind, &archive),
        }
    }
}

const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";

fn write_chunk(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

fn respond(stream: &mut UnixStream, status: u16, kind: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}

/// Waits until the client closes the connection.
fn wait_for_end(stream: &mut UnixStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}
