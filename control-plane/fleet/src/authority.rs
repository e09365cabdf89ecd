//! Opens the network's certificate authority, and checks that all instances use the same; reads the
//! certificates of the TPM vendors that are trusted.

use crate::settings::{AuthoritySettings, EnrolmentSettings, FleetSettings};
use anyhow::{Context as _, ensure};
use noderr_attestation::VendorRoots;
use noderr_ca::{Authority, CaKey, FileKey, HsmCaKey};
use noderr_hsm::{HsmConfig, HsmKey};
use noderr_kernel::{Database, unix_now};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Opens the authority, or makes the authority at the first start.
pub async fn open_authority(settings: &FleetSettings, database: &Database) -> anyhow::Result<Authority> {
    let folder =
        settings.authority.folder.as_deref().context("authority.folder is set when settings are read")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let key = open_key(&settings.authority, folder)?;
    let authority = Authority::open(folder, &settings.network, key, unix_now())?;
    let recorded = sqlx::query_scalar!(
        "WITH mine AS (INSERT INTO network (key, value) VALUES ('root', $1) ON CONFLICT DO NOTHING RETURNING value)
         SELECT value AS \"value!\" FROM mine UNION ALL SELECT value FROM network WHERE key = 'root'",
        authority.root_pem()
    )
    .fetch_one(database.system())
    .await?;
    ensure!(
        recorded == authority.root_pem(),
        "the database belongs to a network with another root certificate than {}: copy the folder of the first \
         instance here (authority.folder)",
        folder.display()
    );
    Ok(authority)
}

fn open_key(settings: &AuthoritySettings, folder: &Path) -> anyhow::Result<Arc<dyn CaKey>> {
    let Some(hsm) = &settings.pkcs11 else {
        return Ok(Arc::new(FileKey::open_or_create(&folder.join("ca.key"))?));
    };
    let pin = fs::read_to_string(&hsm.pin_file)
        .with_context(|| format!("authority.pkcs11.pin_file: cannot read {}", hsm.pin_file.display()))?;
    Ok(Arc::new(HsmCaKey::new(HsmKey::open_or_create(HsmConfig {
        module: hsm.module.clone(),
        token: hsm.token.clone(),
        key: hsm.key.clone(),
        pin: pin.trim().into(),
    })?)))
}

/// The vendors' certificates in the configured folder.
pub fn vendor_roots(settings: &EnrolmentSettings) -> anyhow::Result<VendorRoots> {
    let Some(folder) = &settings.vendor_roots else { return Ok(VendorRoots::default()) };
    let mut certificates = Vec::new();
    for entry in fs::read_dir(folder)
        .with_context(|| format!("enrolment.vendor_roots: cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem" || extension == "crt") {
            for certificate in CertificateDer::pem_file_iter(&path)? {
                certificates.push(certificate.with_context(|| format!("{} is not PEM", path.display()))?);
            }
        }
    }
    ensure!(
        !certificates.is_empty(),
        "enrolment.vendor_roots: {} holds no certificate (.pem, .crt)",
        folder.display()
    );
    Ok(VendorRoots::new(&certificates)?)
}
