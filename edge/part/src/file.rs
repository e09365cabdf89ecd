//! Files of a folder into which others may have written: a link, a pipe that nobody writes to, or a file without end is an error, and
//! nothing waits for it: [`ErrorKind::InvalidData`], where the disk itself has not failed.

use atomic_write_file::AtomicWriteFile;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;

/// Opens a file for reading, and nothing but a file.
pub fn open_file(path: &Path) -> io::Result<File> {
    plain(path, OFlags::RDONLY)
}

/// Opens a file for reading and writing, which is made if it is not there.
pub fn open_or_create_file(path: &Path) -> io::Result<File> {
    plain(path, OFlags::RDWR | OFlags::CREATE)
}

fn plain(path: &Path, how: OFlags) -> io::Result<File> {
    let no_file = || wrong("it is no file");
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::from(0o644)) {
        // A link, a pipe that nobody reads, a folder.
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(no_file()),
        file => File::from(file?),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// The bytes of a file, which has so many at most.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(wrong(&format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Writes a file, whole or not at all, in the place of whatever lies there: somebody may have laid a folder there.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
        fs::remove_dir_all(path)?;
    }
    let mut file = AtomicWriteFile::open(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Makes a folder, in the place of whatever lies there and is none: what is written there is written nowhere else.
pub fn own_folder(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_dir()) {
        fs::remove_file(path)?;
    }
    fs::create_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkfifoat};

    #[test]
    fn links_pipes_folders_devices_and_files_that_are_too_large_are_refused_at_once() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("file"), b"12345").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(read_file(&at("file"), 5).unwrap(), b"12345");
        assert!(read_file(&at("file"), 4).is_err());
        File::create(at("huge")).unwrap().set_len(1 << 40).unwrap();
        assert!(read_file(&at("huge"), 9).is_err());
        assert!(read_file(Path::new("/dev/zero"), 9).is_err());
        for name in ["link", "folder", "pipe"] {
            assert!(read_file(&at(name), 9).is_err(), "{name}");
            // A pipe that is opened for both would answer; it is no file all the same.
            assert!(open_or_create_file(&at(name)).is_err(), "{name}");
        }
        assert_eq!(read_file(&at("none"), 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(open_or_create_file(&at("none")).unwrap().metadata().unwrap().len(), 0);
    }
}
