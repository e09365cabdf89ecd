//! Where releases lie in the data folder of a box.

use crate::store::{Store, StoreLimits};
use noderr_part::Folder;
use std::path::PathBuf;

/// The store of a data folder.
pub fn store_in(data: &Folder, limits: StoreLimits) -> Store {
    Store::open(&data.root().join("releases"), limits)
}

/// Where the metadata lies that the box trusts.
pub(crate) fn trust_folder(data: &Folder) -> PathBuf {
    data.root().join("releases/trust")
}
