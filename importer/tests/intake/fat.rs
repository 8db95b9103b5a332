// SPDX-License-Identifier: Apache-2.0
//! A drive with a file system as FAT is: names are compared without case, there are neither owners and modes nor links, and
//! folders take room. It can be full, and writing to it can hang.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

/// What a folder takes, as on media of some gigabytes.
const CLUSTER: u64 = 4096;
const ROOT: u64 = 1;

struct Node {
    parent: u64,
    name: String,
    /// None: a folder.
    content: Option<Vec<u8>>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    last: u64,
    /// Bytes that may be written from now on.
    room: Option<u64>,
    /// Whether a file that is made durable is waited for.
    hangs: bool,
    waiting: Vec<ReplyEmpty>,
}

impl State {
    fn find(&self, parent: INodeNo, name: &OsStr) -> Option<u64> {
        let name = name.to_str()?;
        let is_it = |node: &Node| node.parent == parent.0 && node.name.eq_ignore_ascii_case(name);
        self.nodes.iter().find(|(_, node)| is_it(node)).map(|(number, _)| *number)
    }

    fn add(&mut self, parent: INodeNo, name: &OsStr, content: Option<Vec<u8>>) -> FileAttr {
        self.last += 1;
        let name = name.to_str().unwrap().to_owned();
        self.nodes.insert(ROOT + self.last, Node { parent: parent.0, name, content });
        self.attributes(ROOT + self.last).unwrap()
    }

    fn take_room(&mut self, bytes: u64) -> Result<(), Errno> {
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(bytes).ok_or(Errno::ENOSPC)?;
        }
        Ok(())
    }

    fn attributes(&self, number: u64) -> Option<FileAttr> {
        let content = if number == ROOT { None } else { self.nodes.get(&number)?.content.as_ref() };
        let size = content.map_or(CLUSTER, |content| content.len() as u64);
        Some(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if content.is_none() { FileType::Directory } else { FileType::RegularFile },
            perm: 0o755,
            nlink: 1,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// The drive, mounted.
pub(crate) struct FatDrive {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

impl FatDrive {
    /// Mounts an empty drive on a folder; `None`, and a line that says so, where this machine cannot.
    pub(crate) fn mount(folder: &Path) -> Option<Self> {
        let state = Arc::<Mutex<State>>::default();
        match fuser::spawn_mount(Server(Arc::clone(&state)), folder, &fuser::Config::default()) {
            Ok(session) => Some(Self { state, session: Some(session) }),
            Err(error) => {
                eprintln!("SKIPPED: no file system can be mounted over /dev/fuse here: {error}");
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// So many bytes may still be written.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// Whether making a file durable does not return. What waited returns when it no longer does.
    pub(crate) fn hang(&self, hangs: bool) {
        let mut state = self.state();
        state.hangs = hangs;
        if !hangs {
            state.waiting.drain(..).for_each(ReplyEmpty::ok);
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// The names of all files and folders as they were written, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = self.state().nodes.values().map(|node| node.name.clone()).collect::<Vec<_>>();
        names.sort();
        names
    }
}

impl Drop for FatDrive {
    fn drop(&mut self) {
        self.hang(false);
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
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        match state.find(parent, name).and_then(|number| state.attributes(number)) {
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
        mode: Option<u32>,
        owner: Option<u32>,
        group: Option<u32>,
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
        if mode.is_some() || owner.is_some() || group.is_some() {
            return reply.error(Errno::EPERM);
        }
        let mut state = self.state();
        let content = state.nodes.get_mut(&ino.0).and_then(|node| node.content.as_mut());
        if let (Some(size), Some(content)) = (size, content) {
            content.resize(usize::try_from(size).unwrap(), 0);
        }
        match state.attributes(ino.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = self.state();
        if state.find(parent, name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        match state.take_room(CLUSTER) {
            Ok(()) => reply.entry(&TTL, &state.add(parent, name, None), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.state();
        if state.find(parent, name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        let attributes = state.add(parent, name, Some(Vec::new()));
        reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
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
        let content = state.nodes.get(&ino.0).and_then(|node| node.content.as_ref());
        let Some(content) = content else { return reply.error(Errno::ENOENT) };
        let begin = usize::try_from(offset).unwrap().min(content.len());
        let end = (begin + size as usize).min(content.len());
        reply.data(&content[begin..end]);
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
        if let Err(error) = state.take_room(data.len() as u64) {
            return reply.error(error);
        }
        let content = state.nodes.get_mut(&ino.0).and_then(|node| node.content.as_mut());
        let Some(content) = content else { return reply.error(Errno::ENOENT) };
        let begin = usize::try_from(offset).unwrap();
        content.resize(content.len().max(begin + data.len()), 0);
        content[begin..begin + data.len()].copy_from_slice(data);
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.state();
        if state.hangs {
            return state.waiting.push(reply);
        }
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        let Some(number) = state.find(parent, name) else { return reply.error(Errno::ENOENT) };
        if let Some(replaced) = state.find(new_parent, new).filter(|replaced| *replaced != number) {
            state.nodes.remove(&replaced);
        }
        if let Some(node) = state.nodes.get_mut(&number) {
            (node.parent, node.name) = (new_parent.0, new.to_str().unwrap().to_owned());
        }
        reply.ok();
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        let Some(number) = state.find(parent, name) else { return reply.error(Errno::ENOENT) };
        let freed = state.nodes.remove(&number).and_then(|node| node.content).unwrap_or_default().len();
        state.room = state.room.map(|room| room + freed as u64);
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.state();
        let entries = state.nodes.iter().filter(|(_, node)| node.parent == ino.0);
        for (n, (number, node)) in entries.enumerate().skip(usize::try_from(offset).unwrap()) {
            let kind = if node.content.is_none() { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(*number), n as u64 + 1, kind, &node.name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = self.state().room.unwrap_or(1 << 30) / CLUSTER;
        reply.statfs(1 << 18, free, free, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
