//! `noderr-control check`: what the configuration means, without any secret in it.

use crate::config::Config;

pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    super::serve::vendor_roots(config)?;
    println!("network    {}", config.network);
    println!("api        {} as {}", config.http.listen, config.http.public_url);
    match &config.broker.external {
        Some(external) => println!("broker     external, {}:{}", external.host, external.port),
        None => println!("broker     {} as {}", config.broker.listen, config.broker.public_address),
    }
    match &config.database.url {
        Some(_) => println!("database   the configured one"),
        None => println!("database   a private cluster in {}", config.data.join("postgres").display()),
    }
    println!(
        "enrolment  {}, software identities {}",
        config.enrolment.ek_policy.as_str(),
        if config.enrolment.allow_software { "allowed" } else { "refused" }
    );
    println!("ok");
    Ok(())
}
