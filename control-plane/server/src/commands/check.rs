//! `noderr-control check`: what the configuration means, without any secret in it.

use crate::features::load_configuration;
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
    check_names(&http, &fleet)?;
    println!("network    {}", base.network);
    println!("api        {} as {}", http.listen, http.public_url);
    match &fleet.broker.external {
        Some(external) => println!("broker     external, {}:{}", external.host, external.port),
        None => println!("broker     {} as {}", fleet.broker.listen, fleet.broker.public_address),
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

/// Refuses addresses that the server's certificate does not name: nobody who checks it would come in there.
fn check_names(http: &HttpSettings, fleet: &FleetSettings) -> anyhow::Result<()> {
    let host_of = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        host.trim_matches(['[', ']']).to_owned()
    };
    let url = http.public_url.trim_start_matches("https://").trim_end_matches('/');
    let url_host = if url.contains("]:") || (url.matches(':').count() == 1) {
        host_of(url)
    } else {
        url.trim_matches(['[', ']']).to_owned()
    };
    let mut wanted = vec![("http.public_url", url_host)];
    if fleet.broker.external.is_none() {
        wanted.push(("broker.public_address", host_of(&fleet.broker.public_address)));
    }
    for (setting, host) in wanted {
        anyhow::ensure!(
            http.names.iter().any(|name| name.eq_ignore_ascii_case(&host)),
            "{setting} sends people and nodes to `{host}`, which the certificate does not name; add it to http.names"
        );
    }
    Ok(())
}
