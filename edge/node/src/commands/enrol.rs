//! `noderr-node enrol`: the enrolment alone, for people who want to watch the first step.

use crate::config::Config;
use crate::runtime::prepare;
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use std::path::Path;

pub(crate) fn enrol(path: &Path, token: Option<String>) -> anyhow::Result<()> {
    super::init_logs();
    let config = Config::load(path)?;
    let (registrar, enrolment) = prepare(&config)?;
    if let Some(enrolment) = enrolment {
        anyhow::ensure!(
            token.is_none(),
            "this box is enrolled as {} already; to enrol it anew, stop the node, move {} away, and use a new token",
            enrolment.node,
            config.storage.data.display()
        );
        println!("already enrolled as {} ({})", enrolment.node, enrolment.kind);
        return Ok(());
    }
    let named = config.control_plane.install_token.as_ref().map(|token| token.expose_secret().to_owned());
    let token =
        token.or(named).context("no install token: pass --token, or set control_plane.install_token")?;
    let enrolled = super::runtime()?.block_on(registrar.enrol_once(&token));
    registrar.keys.close();
    let enrolment = enrolled?;
    enrolment.save(&registrar.data)?;
    println!("enrolled as {} ({})", enrolment.node, enrolment.kind);
    Ok(())
}
