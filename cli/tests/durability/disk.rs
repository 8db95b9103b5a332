// SPDX-License-Identifier: Apache-2.0
//! A disk that forgets what was not fsynced. It is one folder, in memory, and writes down after each operation what a
//! loss of power at that moment would leave.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

/// Files by their names.
pub type Files = BTreeMap<OsString, Arc<Vec<u8>>>;

/// Largest file that comes to the disk with its name.
const SMALL: usize = 4096;

#[derive(Debug, Default)]
struct Node {
    now: Vec<u8>,
    synced: Arc<Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    names: BTreeMap<OsString, u64>,
    synced_names: BTreeMap<OsString, u64>,
    operations: usize,
    history: Vec<(usize, Files)>,
    /// Bytes that may be written from now on.
    room: Option<u64>,
    /// Whether a length beyond the room may be set all the same.
    sparse: bool,
    /// Whether it says that there is room whatever the room is.
    lies_about_room: bool,
    /// No byte from here on can be read.
    bad_from: Option<u64>,
    /// It was pulled out: nothing can be read or written.
    is_gone: bool,
    /// Nothing that is written reaches the disk.
    is_worn: bool,
    /// Whether the kernel may answer from memory what was read or written before.
    keeps_cache: bool,
}

impl State {
    /// What a loss of power leaves: contents as they were synced, under the names that were synced, or under those of
    /// this moment, because a file system may bring names to the disk before it is asked to. Last, what many make of
    /// it: names, lengths and small files are those of this moment, and large files are zero where they were not synced.
    fn survivors(&self) -> [Files; 3] {
        let files = |names: &BTreeMap<OsString, u64>, content: fn(&Node) -> Arc<Vec<u8>>| {
            let file =
                |(name, node)| (OsString::clone(name), self.nodes.get(node).map(content).unwrap_or_default());
            names.iter().map(file).collect::<Files>()
        };
        let synced = |node: &Node| Arc::clone(&node.synced);
        let torn = |node: &Node| {
            if node.now.len() <= SMALL {
                return Arc::new(node.now.clone());
            }
            let mut bytes = node.synced.to_vec();
            bytes.resize(node.now.len(), 0);
            Arc::new(bytes)
        };
        [files(&self.synced_names, synced), files(&self.names, synced), files(&self.names, torn)]
    }

    fn changed(&mut self) {
        self.operations += 1;
        for files in self.survivors() {
            if !self.history.iter().rev().take(3).any(|(_, before)| *before == files) {
                self.history.push((self.operations, files));
            }
        }
    }

    fn attributes(&self, ino: u64) -> Option<FileAttr> {
        let folder = ino == 1;
        let size = if folder { 0 } else { self.nodes.get(&ino)?.now.len() as u64 };
        Some(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if folder { FileType::Directory } else { FileType::RegularFile },
            perm: if folder { 0o777 } else { 0o644 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// The disk, mounted.
pub struct Disk {
    state: Arc<Mutex<State>>,
    path: Utf8PathBuf,
    session: Option<BackgroundSession>,
    _folder: tempfile::TempDir,
}

impl Disk {
    /// Mounts an empty disk; `None`, and a line that says so, where this machine cannot.
    pub fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let state = Arc::<Mutex<State>>::default();
        let server = Server(Arc::clone(&state));
        match fuser::spawn_mount(server, folder.path(), &fuser::Config::default()) {
            Ok(session) => Some(Self { state, path, session: Some(session), _folder: folder }),
            Err(error) => {
                eprintln!("SKIPPED: no file system can be mounted over /dev/fuse here: {error}");
                None
            }
        }
    }

    pub fn path(&self, name: &str) -> Utf8PathBuf {
        self.path.join(name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How many operations have changed the disk.
    pub fn operations(&self) -> usize {
        self.state().operations
    }

    /// All that a loss of power could have left since the last call, with the number of the operation before it.
    pub fn history(&self) -> Vec<(usize, Files)> {
        std::mem::take(&mut self.state().history)
    }

    /// What a loss of power leaves now, at the least.
    pub fn after_a_loss_of_power(&self) -> Files {
        let [least, ..] = self.state().survivors();
        least
    }

    /// So many bytes may still be written; `sparse`: files may be made longer than that.
    pub fn set_room(&self, room: Option<u64>, sparse: bool) {
        let mut state = self.state();
        (state.room, state.sparse) = (room, sparse);
    }

    /// Pulls the drive out, or puts it back.
    pub fn pull_out(&self, is_gone: bool) {
        self.state().is_gone = is_gone;
    }

    /// Whether the drive says that there is room whatever its room is, as counterfeit ones do.
    pub fn lie_about_room(&self, lies: bool) {
        self.state().lies_about_room = lies;
    }

    /// No byte of a file from here on can be read any more.
    pub fn break_from(&self, offset: Option<u64>) {
        self.state().bad_from = offset;
    }

    /// Whether the kernel may answer from memory what was read or written before.
    pub fn keep_cache(&self, keeps_cache: bool) {
        self.state().keeps_cache = keeps_cache;
    }

    /// Whether every sync fails.
    pub fn wear_out(&self, is_worn: bool) {
        self.state().is_worn = is_worn;
    }

    /// Names of the files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().map(|name| name.to_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

struct Server(Arc<Mutex<State>>);

const TTL: Duration = Duration::ZERO;

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn flags(state: &State) -> FopenFlags {
        if state.keeps_cache { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() }
    }

    fn sync(&self, ino: u64, reply: ReplyEmpty) {
        let mut state = self.state();
        if state.is_worn {
            return reply.error(Errno::EIO);
        }
        if let Some(node) = state.nodes.get_mut(&ino) {
            node.synced = Arc::new(node.now.clone());
        } else {
            state.synced_names = state.names.clone();
        }
        state.changed();
        reply.ok();
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        match state.names.get(name).and_then(|ino| state.attributes(*ino)) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().attributes(ino.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let Some(size) = size {
            if !state.sparse && state.room.is_some_and(|room| size > room) {
                return reply.error(Errno::ENOSPC);
            }
            if let Some(node) = state.nodes.get_mut(&ino.0) {
                node.now.resize(usize::try_from(size).unwrap(), 0);
                state.changed();
            }
        }
        match state.attributes(ino.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(&self, _: &Request, _: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.state();
        let ino = state.nodes.keys().last().map_or(2, |last| last + 1);
        state.nodes.insert(ino, Node::default());
        state.names.insert(name.to_owned(), ino);
        state.changed();
        if let Some(attributes) = state.attributes(ino) {
            reply.created(&TTL, &attributes, Generation(0), FileHandle(0), Self::flags(&state));
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), Self::flags(&self.state()));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.state();
        let Some(node) = state.nodes.get(&ino.0) else { return reply.error(Errno::ENOENT) };
        let begin = usize::try_from(offset).unwrap().min(node.now.len());
        let end = (begin + size as usize).min(node.now.len());
        if state.is_gone || state.bad_from.is_some_and(|bad| end as u64 > bad) {
            return reply.error(Errno::EIO);
        }
        reply.data(&node.now[begin..end]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        if state.is_gone {
            return reply.error(Errno::EIO);
        }
        if let Some(room) = &mut state.room {
            match room.checked_sub(data.len() as u64) {
                Some(left) => *room = left,
                None => return reply.error(Errno::ENOSPC),
            }
        }
        let Some(node) = state.nodes.get_mut(&ino.0) else { return reply.error(Errno::ENOENT) };
        let begin = usize::try_from(offset).unwrap();
        let end = begin + data.len();
        if node.now.len() < end {
            node.now.resize(end, 0);
        }
        node.now[begin..end].copy_from_slice(data);
        state.changed();
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && state.names.contains_key(new) {
            return reply.error(Errno::EEXIST);
        }
        match state.names.remove(name) {
            Some(ino) => {
                state.names.insert(new.to_owned(), ino);
                state.changed();
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        match state.names.remove(name) {
            Some(_) => {
                state.changed();
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.state();
        for (n, (name, ino)) in state.names.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            if reply.add(INodeNo(*ino), n as u64 + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.state();
        let free = state.room.filter(|_| !state.lies_about_room).unwrap_or(1 << 40) / 4096;
        reply.statfs(1 << 28, free, free, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
