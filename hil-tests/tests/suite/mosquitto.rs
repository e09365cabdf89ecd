//! The same node and the same control plane, with a real mosquitto between them.

use crate::{LIVELY, SOON};
use anyhow::Context as _;
use noderr_ca::{Authority, FileKey};
use noderr_hil::{ControlOptions, Lab, LabOptions, account, scratch, until};
use serde_json::json;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::process::{Child, Command};

const DAY: Duration = Duration::from_secs(86_400);

/// The configuration that docs/admin.md shows, on a port of this test's own.
async fn mosquitto(folder: &Path, authority: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    fs::create_dir_all(authority)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
    let key = Arc::new(FileKey::open_or_create(&authority.join("ca.key"))?);
    let authority = Authority::open(authority, "demo", key, now)?;
    let server = authority.issue_server(&["localhost".to_owned()], now, DAY)?;
    let certificates: Vec<_> =
        server.chain.iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec())).collect();
    fs::write(folder.join("ca.pem"), authority.root_pem())?;
    fs::write(folder.join("server.pem"), pem::encode_many(&certificates))?;
    fs::write(
        folder.join("server.key"),
        pem::encode(&pem::Pem::new("PRIVATE KEY", server.key.secret_der())),
    )?;
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/admin.md"))?;
    let acl = guide.split("and as `acl`:").nth(1).and_then(|rest| rest.split("mosquitto reads").next());
    let acl: String =
        acl.context("the guide shows no acl")?.lines().map(|line| format!("{}\n", line.trim())).collect();
    fs::write(folder.join("acl"), acl)?;
    let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let at = |name: &str| folder.join(name).display().to_string();
    fs::write(
        folder.join("mosquitto.conf"),
        format!(
            "listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
             use_identity_as_username true\nuse_username_as_clientid true\nacl_file {}\nuser root\n",
            address.port(),
            at("ca.pem"),
            at("server.pem"),
            at("server.key"),
            at("acl")
        ),
    )?;
    let log = fs::File::create(folder.join("mosquitto.log"))?;
    let process = Command::new("mosquitto")
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run mosquitto")?;
    until("mosquitto to listen", SOON, || async { Ok(TcpStream::connect(address).ok().map(drop)) }).await?;
    Ok((process, address))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_mosquitto_serves_the_same_nodes() -> anyhow::Result<()> {
    let folder = scratch()?;
    let authority = folder.path().join("control/authority");
    let (mut broker, address) = mosquitto(folder.path(), &authority).await?;
    let revocations = folder.path().join("noderr.crl");
    let external = format!(
        "external = {{ host = \"localhost\", port = {}, revocation_list = \"{}\" }}",
        address.port(),
        revocations.display()
    );
    let control = ControlOptions::default().with("broker", external);
    let lab = Lab::start(folder.path(), LabOptions { control, ..LabOptions::default() }, |_| {}).await?;
    let (node, mut rig) = lab.add_box("outside", &LIVELY).await?;
    rig.lead_to(&[(lab.control.api(), address)]);
    rig.power_on()?;
    rig.online(SOON).await?;
    account::settled(&lab.database, &node, 20).await?;
    lab.admin.patch(&format!("/nodes/{node}/desired"), &json!({ "paused": true })).await?;
    rig.status_where("the change to arrive", SOON, |status| status["paused"] == true).await?;
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "a verdict", SOON, |shown| shown["attestation"] == "trusted").await?;

    // The broker goes away and comes back on its port; nothing is lost.
    broker.kill().await?;
    rig.status_where("the node to notice", SOON, |status| status["online"] == false).await?;
    let again = Command::new("mosquitto")
        .arg("-c")
        .arg(folder.path().join("mosquitto.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert_eq!(account.missing, 0);

    // A revoked node is on the list for the broker, and is heard no more whatever the broker does.
    lab.admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "test" })).await?;
    until("the list of revoked certificates", SOON, || async {
        let list = fs::read_to_string(&revocations).unwrap_or_default();
        Ok(list.contains("BEGIN X509 CRL").then_some(()))
    })
    .await?;
    let stored = || account::lane(&lab.database, &node, "telemetry");
    let before = until("what was under way to settle", SOON, || async {
        let first = stored().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok((stored().await? == first).then_some(first))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stored().await?, before);
    drop(again);
    Ok(())
}
