//! The answers of the disk to the kernel.

use super::attributes::{BLOCK, attributes};
use super::faults::{Asks, FailedSyncs, Faults};
use super::files::{Files, ROOT};
use super::worn::Worn;
use fuser::{
    BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The kernel remembers no names: after a power cut it must ask again.
const NO_TIME: Duration = Duration::ZERO;
/// What it knows of a file it is told to forget.
const LONG: Duration = Duration::from_secs(3600);

pub(super) struct Answers {
    pub(super) files: Arc<Mutex<Files>>,
    pub(super) faults: Arc<Faults>,
    pub(super) worn: Arc<Mutex<Worn>>,
    pub(super) failed_syncs: Mutex<FailedSyncs>,
    pub(super) size: usize,
}

/// Ends a request with the error that is planned for it.
macro_rules! or_struck {
    ($self:ident, $asks:ident, $reply:ident) => {
        if let Some(error) = $self.faults.strike(Asks::$asks) {
            return $reply.error(Errno::from_i32(error.raw_os_error()));
        }
    };
}

impl Answers {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worn(&self) -> MutexGuard<'_, Worn> {
        self.worn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what goes by this name can be neither removed nor renamed.
    fn is_stuck(&self, files: &Files, folder: INodeNo, name: &OsStr) -> bool {
        files.find(folder.0, name).is_some_and(|id| self.worn().is_stuck(id))
    }

    fn failed_syncs(&self) -> MutexGuard<'_, FailedSyncs> {
        self.failed_syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, files: &Files, more: usize) -> bool {
        files.used() + more <= self.size
    }
}

impl Filesystem for Answers {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        or_struck!(self, Look, reply);
        let files = self.files();
        match files.find(parent.0, name).and_then(|id| Some((id, files.node(id)?))) {
            Some((id, node)) => reply.entry_with_ttls(&LONG, &NO_TIME, &attributes(id, node), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        or_struck!(self, Look, reply);
        match self.files().node(ino.0) {
            Some(node) => reply.attr(&LONG, &attributes(ino.0, node)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        if let Some(mode) = mode {
            files.set_mode(ino.0, mode);
        }
        if let Some(size) = size {
            files.resize(ino.0, size as usize);
        }
        match files.node(ino.0) {
            Some(node) => reply.attr(&LONG, &attributes(ino.0, node)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        if files.find(parent.0, name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        let id = files.make(parent.0, name, true, mode);
        match files.node(id) {
            Some(node) => reply.entry_with_ttls(&LONG, &NO_TIME, &attributes(id, node), Generation(0)),
            None => reply.error(Errno::EIO),
        }
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        if self.is_stuck(&files, parent, name) {
            return reply.error(Errno::EIO);
        }
        files.take(parent.0, name);
        reply.ok();
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        if self.is_stuck(&files, parent, name) {
            return reply.error(Errno::EIO);
        }
        match files.find(parent.0, name) {
            Some(id) if !files.listed(id).is_empty() => reply.error(Errno::ENOTEMPTY),
            Some(_) => {
                files.take(parent.0, name);
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        if files.find(parent.0, name).is_none() {
            return reply.error(Errno::ENOENT);
        }
        if self.is_stuck(&files, parent, name) {
            return reply.error(Errno::EIO);
        }
        files.rename((parent.0, name), (newparent.0, newname));
        reply.ok();
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        or_struck!(self, Look, reply);
        // What was read once stays in the kernel's cache, as with any disk; a power cut empties it.
        let cached = if self.worn().has_lost(ino.0) {
            FopenFlags::FOPEN_DIRECT_IO
        } else {
            FopenFlags::FOPEN_KEEP_CACHE
        };
        reply.opened(FileHandle(self.failed_syncs().open(ino.0)), cached);
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        let id = match files.find(parent.0, name) {
            Some(id) => id,
            None => files.make(parent.0, name, false, mode),
        };
        match files.node(id) {
            Some(node) => reply.created(
                &NO_TIME,
                &attributes(id, node),
                Generation(0),
                FileHandle(self.failed_syncs().open(id)),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            None => reply.error(Errno::EIO),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        or_struck!(self, Look, reply);
        if self.worn().is_unreadable(ino.0) {
            return reply.error(Errno::EIO);
        }
        let mut bytes = {
            let files = self.files();
            let Some(node) = files.node(ino.0) else { return reply.error(Errno::ENOENT) };
            let start = (offset as usize).min(node.bytes.len());
            let end = (start + size as usize).min(node.bytes.len());
            node.bytes[start..end].to_vec()
        };
        self.worn().read(ino.0, offset as usize, &mut bytes);
        #[expect(clippy::disallowed_methods, reason = "the slowness of the disk is the fault under test")]
        std::thread::sleep(self.faults.takes(bytes.len()));
        reply.data(&bytes);
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        let end = offset as usize + data.len();
        let grows = files.node(ino.0).map_or(0, |node| end.saturating_sub(node.bytes.len()));
        if !self.has_room(&files, grows) {
            return reply.error(Errno::ENOSPC);
        }
        files.write(ino.0, offset as usize, data);
        reply.written(data.len() as u32);
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        or_struck!(self, Change, reply);
        if self.faults.sync_fails() {
            self.files().lose(ino.0);
            self.failed_syncs().fail(ino.0);
        }
        if self.failed_syncs().tell(ino.0, fh.0) {
            return reply.error(Errno::EIO);
        }
        if !self.faults.syncs_are_lost() {
            self.files().sync(ino.0);
        }
        reply.ok();
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.fsync(req, ino, fh, datasync, reply);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        or_struck!(self, Look, reply);
        let files = self.files();
        let itself = [(".".into(), ino.0), ("..".into(), ROOT)];
        let all = itself.into_iter().chain(files.listed(ino.0));
        for (number, (name, id)) in (1_u64..).zip(all).skip(offset as usize) {
            let is_folder = files.node(id).is_some_and(|node| node.is_folder);
            let kind = if is_folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(id), number, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        or_struck!(self, Change, reply);
        let mut files = self.files();
        let end = (offset + length) as usize;
        let size = files.node(ino.0).map_or(0, |node| node.bytes.len());
        if !self.has_room(&files, end.saturating_sub(size)) {
            return reply.error(Errno::ENOSPC);
        }
        if end > size {
            files.resize(ino.0, end);
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        or_struck!(self, Look, reply);
        let blocks = (self.size / BLOCK) as u64;
        let free = (self.size.saturating_sub(self.files().used()) / BLOCK) as u64;
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, BLOCK as u32, 255, BLOCK as u32);
    }
}
