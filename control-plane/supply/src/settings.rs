//! The settings of releases.

use anyhow::ensure;
use noderr_kernel::Settings;
use noderr_objects::Bucket;
use serde::Deserialize;
use std::path::PathBuf;

/// `[releases]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReleasesSettings {
    /// Folder of the archives; `objects` in the data folder if absent.
    pub folder: Option<PathBuf>,
    /// Where else boxes find archives, such as `https://mirror.example.org/objects`; they spread over all places.
    pub mirrors: Vec<String>,
    /// A bucket, which counts before the folder.
    pub s3: Option<S3Settings>,
    /// GiB that one archive may have.
    pub archive_gib: u64,
    /// Versions of a release whose archives are kept, beside those that a channel or a box uses.
    pub keep: i64,
}

/// `[releases.s3]`: a bucket of a store that speaks S3.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// The store, such as `https://s3.example.org`.
    pub url: String,
    /// The bucket, which must be there.
    pub bucket: String,
    /// The region, as the store calls it.
    pub region: String,
    /// Whose key it is.
    pub key_id: String,
    /// File that holds the key.
    pub key_file: PathBuf,
    /// File with the store's root certificates, PEM.
    pub roots: PathBuf,
}

impl S3Settings {
    pub(crate) fn bucket(&self) -> Bucket {
        let Self { url, bucket, region, key_id, key_file, roots } = self.clone();
        Bucket { url, name: bucket, region, key_id, key_file, roots }
    }
}

impl Default for ReleasesSettings {
    fn default() -> Self {
        Self { folder: None, s3: None, mirrors: Vec::new(), archive_gib: 16, keep: 10 }
    }
}

impl Settings for ReleasesSettings {
    const SECTION: &'static str = "releases";
    const EXAMPLE: &'static str = include_str!("releases.example.toml");

    fn check(&self) -> anyhow::Result<()> {
        for mirror in &self.mirrors {
            ensure!(
                mirror.starts_with("https://") || mirror.starts_with("http://"),
                "releases.mirrors: `{mirror}` must begin with https:// or http://"
            );
        }
        if let Some(s3) = &self.s3 {
            ensure!(
                s3.url.starts_with("https://") || s3.url.starts_with("http://"),
                "releases.s3.url: `{}` must begin with https://",
                s3.url
            );
        }
        ensure!(self.mirrors.len() < 16, "releases.mirrors: a box tries 16 places at most");
        ensure!((1..=1024).contains(&self.archive_gib), "releases.archive_gib must be 1 to 1024");
        ensure!(self.keep >= 1, "releases.keep must be at least 1");
        Ok(())
    }
}
