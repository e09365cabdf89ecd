//! `noderr-control check`: what the configuration means, without any secret in it.

use crate::features::load_configuration;
use crate::tls::check_names;
use anyhow::{Context as _, ensure};
use noderr_fleet::{FleetSettings, vendor_roots};
use noderr_kernel::{BaseSettings, DatabaseSettings, HttpSettings};
use rustix::fs::{Access, access};
use std::fs::File;
use std::path::Path;

pub(super) fn check(config: Option<&Path>) -> anyhow::Result<String> {
    let configuration = load_configuration(config)?;
    let http: HttpSettings = configuration.section()?;
    let database: DatabaseSettings = configuration.section()?;
    let fleet = FleetSettings::read(&configuration)?;
    vendor_roots(&fleet.enrolment)?;
    let base = configuration.base();
    check_names(&http, &fleet.broker)?;
    check_places(base, &http, &database, &fleet)?;
    let broker = match &fleet.broker.external {
        Some(external) => format!(
            "external, {}:{}, for nodes {}",
            external.host,
            external.port,
            fleet.broker.address_of_nodes()
        ),
        None => format!("{} as {}", fleet.broker.listen, fleet.broker.address_of_nodes()),
    };
    let cluster = match &database.url {
        Some(_) => "the configured one".to_owned(),
        None => format!("a private cluster in {}", base.data.join("postgres").display()),
    };
    let software = if fleet.enrolment.allow_software { "allowed" } else { "refused" };
    let mut said = format!(
        "network    {}\napi        {} as {}\nbroker     {broker}\ndatabase   {cluster}\nenrolment  {}, software identities {software}\n",
        base.network,
        http.listen,
        http.public_url,
        fleet.enrolment.ek_policy.as_str(),
    );
    if fleet.enrolment.lets_no_tpm_in() {
        said += "warning    enrolment.allowed_eks is empty: no box with a TPM is let in\n";
    }
    Ok(said + "ok\n")
}

/// Whether files and folders that are named are there, and no two listeners are in each other's way.
fn check_places(
    base: &BaseSettings,
    http: &HttpSettings,
    database: &DatabaseSettings,
    fleet: &FleetSettings,
) -> anyhow::Result<()> {
    let (api, broker) = (http.listen, fleet.broker.listen);
    let overlap = api.ip() == broker.ip() || api.ip().is_unspecified() || broker.ip().is_unspecified();
    ensure!(
        fleet.broker.external.is_some() || api.port() != broker.port() || !overlap,
        "http.listen {api} and broker.listen {broker} are in each other's way"
    );
    if let (None, Some(binaries)) = (&database.url, &database.binaries) {
        let initdb = binaries.join("initdb");
        ensure!(initdb.exists(), "database.binaries: there is no {}", initdb.display());
    }
    if let Some(hsm) = &fleet.authority.pkcs11 {
        // A module may be a mere name, which the loader finds.
        let module = Some(&hsm.module).filter(|module| module.is_absolute());
        for (setting, path) in
            module.map(|path| ("module", path)).into_iter().chain([("pin_file", &hsm.pin_file)])
        {
            File::open(path)
                .with_context(|| format!("authority.pkcs11.{setting}: cannot read {}", path.display()))?;
        }
    }
    // A folder that is not there yet is made by the service, or by its unit.
    if base.data.try_exists()? {
        let data = base.data.display();
        ensure!(base.data.is_dir(), "data: {data} is no folder");
        access(&base.data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
            .with_context(|| format!("data: this user may not use {data}"))?;
    }
    Ok(())
}
