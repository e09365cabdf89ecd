//! `noderr-node enrol`: the enrolment alone, for people who want to watch the first step.

use crate::config::Config;
use crate::runtime::prepare;
use anyhow::Context as _;
use noderr_identity::{Enrolment, Papers};
use std::path::Path;

pub(crate) fn enrol(path: &Path, token: Option<String>) -> anyhow::Result<String> {
    super::init_logs();
    let config = Config::load(path)?;
    let (registrar, papers) = prepare(&config)?;
    if let Some(Papers { enrolment, .. }) = papers {
        anyhow::ensure!(
            token.is_none(),
            "this box is enrolled as {} already; to enrol it anew, stop the node, move {} away, and use a new token",
            enrolment.node,
            config.storage.data.display()
        );
        return Ok(format!("already enrolled as {} ({})\n", enrolment.node, enrolment.kind));
    }
    let named = config.install_token().map(str::to_owned);
    let token =
        token.or(named).context("no install token: pass --token, or set control_plane.install_token")?;
    let Enrolment { node, kind, .. } = super::runtime()?.block_on(async {
        let papers = registrar.enrol_once(token.trim()).await?;
        registrar.keep(&papers).await?;
        anyhow::Ok(papers.enrolment)
    })?;
    Ok(format!("enrolled as {node} ({kind})\n"))
}
