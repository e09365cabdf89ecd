//! A key counts once. The TUF client tells keys apart by their ids, which whoever writes the metadata chooses: one key under two
//! ids would meet a threshold of two.

use serde::Deserialize as _;
use serde_json::Value;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, Key, Repository};
use std::collections::BTreeSet;

/// A repository whose metadata names no key twice.
pub(super) struct Guard<R>(pub(super) R);

impl<R: Repository> Repository for Guard<R> {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            let fetched = self.0.fetch_metadata(name, max_length).await?;
            fetched.as_deref().map_or(Ok(()), each_key_once)?;
            Ok(fetched)
        })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        self.0.fetch_target(path, max_length)
    }
}

pub(super) fn each_key_once(metadata: &[u8]) -> sigstore_tuf::Result<()> {
    // What is no JSON is refused by whoever reads it for its meaning.
    let Ok(metadata) = serde_json::from_slice::<Value>(metadata) else { return Ok(()) };
    let signed = &metadata["signed"];
    for keys in [&signed["keys"], &signed["delegations"]["keys"]] {
        let mut seen = BTreeSet::new();
        for key in keys.as_object().into_iter().flat_map(|keys| keys.values()) {
            // A key that cannot be used signs nothing, under however many ids.
            let usable = Key::deserialize(key).ok().and_then(|key| key.verification_key().ok());
            if usable.is_some_and(|key| !seen.insert(key.as_bytes().to_vec())) {
                return Err(Error::Malformed("a key is named twice, under two ids".to_owned()));
            }
        }
    }
    Ok(())
}
