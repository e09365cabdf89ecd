//! What the disk says of a file beside its bytes.

use super::files::Node;
use fuser::{FileAttr, FileType, INodeNo};
use std::time::UNIX_EPOCH;

pub(super) const BLOCK: usize = 4096;

pub(super) fn attributes(id: u64, node: &Node) -> FileAttr {
    let kind = if node.is_folder { FileType::Directory } else { FileType::RegularFile };
    FileAttr {
        ino: INodeNo(id),
        size: node.bytes.len() as u64,
        blocks: node.bytes.len().div_ceil(512) as u64,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: (node.mode & 0o7777) as u16,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    }
}
