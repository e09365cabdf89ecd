//! The processes that a process has started, as the operating system's kernel tells it.

use std::fs;

/// The ids of the processes whose parent is this one, and which have not ended.
pub fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may have ended since the folder was read.
        let Ok(line) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // After the program's name, which may contain anything: state and parent.
        let words: Vec<_> = line.rsplit(')').next().unwrap_or_default().split_whitespace().take(2).collect();
        if let [state, of] = words[..]
            && state != "Z"
            && of == parent.to_string()
        {
            found.push(pid);
        }
    }
    Ok(found)
}
