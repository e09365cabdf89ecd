//! `noderr-control check`: what the configuration means, without any secret in it.

use crate::features::load_configuration;
use crate::tls::check_names;
use noderr_fleet::{FleetSettings, vendor_roots};
use noderr_kernel::{DatabaseSettings, HttpSettings};
use std::path::Path;

pub(super) fn check(config: Option<&Path>) -> anyhow::Result<()> {
    let configuration = load_configuration(config)?;
    let http: HttpSettings = configuration.section()?;
    let database: DatabaseSettings = configuration.section()?;
    let fleet = FleetSettings::read(&configuration)?;
    vendor_roots(&fleet.enrolment)?;
    let base = configuration.base();
    check_names(&http, &fleet.broker)?;
    println!("network    {}", base.network);
    println!("api        {} as {}", http.listen, http.public_url);
    match &fleet.broker.external {
        Some(external) => println!(
            "broker     external, {}:{}, for nodes {}",
            external.host,
            external.port,
            fleet.broker.address_of_nodes()
        ),
        None => println!("broker     {} as {}", fleet.broker.listen, fleet.broker.address_of_nodes()),
    }
    match &database.url {
        Some(_) => println!("database   the configured one"),
        None => println!("database   a private cluster in {}", base.data.join("postgres").display()),
    }
    println!(
        "enrolment  {}, software identities {}",
        fleet.enrolment.ek_policy.as_str(),
        if fleet.enrolment.allow_software { "allowed" } else { "refused" }
    );
    println!("ok");
    Ok(())
}
