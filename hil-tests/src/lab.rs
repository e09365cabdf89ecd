//! The lab: a whole small network on one machine, with a control plane, an approved operator and boxes.
//! `./dev up` shows a lab, and the tests begin with one.

use crate::control::{ControlOptions, ControlPlane};
use crate::mosquitto::Mosquitto;
use crate::rig::{BoxOptions, ProcessRig};
use crate::tpm::TpmVendor;
use crate::wait::SOON;
use anyhow::Context as _;
use noderr_cli::{ApiError, Client};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

const EMAIL: &str = "admin@demo.invalid";
const OPERATOR: &str = "operator@demo.invalid";

/// What may differ between labs.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// The control plane's settings.
    pub control: ControlOptions,
    /// Whether boxes may enrol without an endorsement certificate.
    pub open_policy: bool,
    /// A mosquitto in the place of the embedded broker, with what this makes of the configuration that the guide shows.
    pub mosquitto: Option<fn(String) -> String>,
}

impl LabOptions {
    /// A mosquitto as the guide has it in the place of the embedded broker.
    pub fn behind_mosquitto() -> Self {
        Self { mosquitto: Some(|guide| guide), ..Self::default() }
    }
}

/// A running network.
pub struct Lab {
    folder: PathBuf,
    /// The vendor of the boxes' TPMs.
    pub vendor: TpmVendor,
    /// The first, and usually only, control plane.
    pub control: ControlPlane,
    /// The broker, where it is not the control plane's own.
    pub mosquitto: Option<Mosquitto>,
    /// A client that is logged in as the administrator.
    pub admin: Client,
    /// The administrator's password, made for this lab.
    pub password: String,
    /// A connection that may read the database.
    pub database: PgPool,
    /// The id of the approved operator.
    pub operator: String,
}

impl Lab {
    /// Starts a control plane with an administrator and an approved operator, telling `progress` what it does.
    pub async fn start(folder: &Path, options: LabOptions, progress: impl Fn(&str)) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        let vendor = TpmVendor::open(&folder.join("vendor"))?;
        progress("making a TPM vendor");
        // The first TPM makes the vendor's authority, whose roots the control plane must know from the start.
        vendor.make(&folder.join("vendor/sample")).await?;
        let mut control_options = options.control;
        if !options.open_policy {
            control_options.vendor_roots = Some(vendor.roots()?);
        }
        let mosquitto = match options.mosquitto {
            Some(change) => Some(
                Mosquitto::start_with(&folder.join("mosquitto"), &folder.join("control/authority"), change)
                    .await?,
            ),
            None => None,
        };
        if let Some(mosquitto) = &mosquitto {
            control_options = control_options.with("broker", mosquitto.setting());
            control_options.broker = Some(mosquitto.address());
        }
        let mut control = ControlPlane::new(&folder.join("control"), &control_options)?;
        progress("starting the control plane with a private PostgreSQL");
        control.start().await?;
        progress("making an administrator");
        let password = password();
        control.set_admin(EMAIL, &password).await?;
        let admin = match control.log_in(EMAIL, &password).await {
            Err(refused)
                if refused.downcast_ref::<ApiError>().and_then(ApiError::kind) == Some("code-required") =>
            {
                progress("removing the second factor that the administrator had");
                control.run(&["admin", "reset-second-factor", EMAIL]).await?;
                control.log_in(EMAIL, &password).await?
            }
            admin => admin?,
        };
        let url = control.reader_url()?;
        let database = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(sqlx::postgres::PgConnectOptions::from_str(&url)?);
        progress("approving an operator");
        let operator = demo_operator(&admin).await?;
        Ok(Self { folder, vendor, control, mosquitto, admin, password, database, operator })
    }

    /// The broker's address.
    pub fn broker(&self) -> SocketAddr {
        self.mosquitto.as_ref().map_or_else(|| self.control.broker(), Mosquitto::address)
    }

    /// The e-mail address of the administrator.
    pub const fn email(&self) -> &'static str {
        EMAIL
    }

    /// Adds a node and makes its box, switched off.
    pub async fn add_box(&self, label: &str, options: &BoxOptions) -> anyhow::Result<(String, ProcessRig)> {
        let (node, token) = self.add_node(label).await?;
        let rig = self.make_box(label, &token, options).await?;
        Ok((node, rig))
    }

    /// Adds a node and makes its box, switched on and online.
    pub async fn online_box(
        &self,
        label: &str,
        options: &BoxOptions,
    ) -> anyhow::Result<(String, ProcessRig)> {
        let (node, mut rig) = self.add_box(label, options).await?;
        rig.power_on()?;
        rig.online(SOON).await?;
        Ok((node, rig))
    }

    /// Adds a node; returns its id and an install token.
    pub async fn add_node(&self, label: &str) -> anyhow::Result<(String, String)> {
        let node = self.admin.post("/nodes", &json!({ "operator": self.operator, "label": label })).await?;
        let node = node["id"].as_str().context("no node id")?.to_owned();
        let token = self.install_token(&node).await?;
        Ok((node, token))
    }

    /// A fresh install token for a node.
    pub async fn install_token(&self, node: &str) -> anyhow::Result<String> {
        let token = self.admin.post(&format!("/nodes/{node}/install-tokens"), &json!({})).await?;
        Ok(token["secret"].as_str().context("no install token")?.to_owned())
    }

    /// Makes a box with this install token, switched off.
    pub async fn make_box(
        &self,
        name: &str,
        token: &str,
        options: &BoxOptions,
    ) -> anyhow::Result<ProcessRig> {
        ProcessRig::make(
            &self.folder.join("boxes").join(name),
            name,
            &self.vendor,
            (self.control.api(), self.broker()),
            &self.control.root_file(),
            token,
            options,
        )
        .await
    }

    /// Starts one more control plane on the database and the authority of the first.
    pub async fn add_plane(&self, name: &str) -> anyhow::Result<ControlPlane> {
        let mut options = ControlOptions {
            vendor_roots: Some(self.vendor.roots()?),
            database_url: Some(self.control.owner_url()?),
            authority: Some(self.control.authority().to_owned()),
            ..ControlOptions::default()
        };
        let objects = self.folder.join("control/objects");
        options = options.with("releases", format!("folder = \"{}\"", objects.display()));
        if let Some(mosquitto) = &self.mosquitto {
            options = options.with("broker", mosquitto.setting());
            options.broker = Some(mosquitto.address());
        }
        let mut plane = ControlPlane::new(&self.folder.join(name), &options)?;
        plane.start().await?;
        Ok(plane)
    }

    /// The folder of the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The node as the API shows it.
    pub async fn node(&self, node: &str) -> anyhow::Result<Value> {
        Ok(self.admin.get(&format!("/nodes/{node}")).await?)
    }

    /// Waits until the API shows a node in a certain state.
    pub async fn node_where(
        &self,
        node: &str,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        crate::until(what, patience, || async {
            let shown = self.node(node).await?;
            if holds(&shown) { Ok(Some(shown)) } else { Err(anyhow::anyhow!("the API says {shown}")) }
        })
        .await
    }
}

/// The approved operator, added if this is the first run.
pub async fn demo_operator(admin: &Client) -> anyhow::Result<String> {
    let existing = admin.list("/operators", 1000).await?;
    let operator = match existing.into_iter().find(|operator| operator["email"] == OPERATOR) {
        Some(operator) => operator,
        None => admin.post("/operators", &json!({ "name": "Demo operator", "email": OPERATOR })).await?,
    };
    let id = operator["id"].as_str().context("no operator id")?.to_owned();
    if operator["state"] == "approved" {
        return Ok(id);
    }
    admin.post(&format!("/operators/{id}/approve"), &json!({})).await?;
    Ok(id)
}

fn password() -> String {
    use rand::Rng as _;
    let mut rng = rand::rng();
    (0..20).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}
