//! The units: the box runs as a user of its own with the rights that its unit names and no more.

use crate::{LIVELY, SOON, lab};
use noderr_hil::{BoxOptions, LabOptions, account};

#[tokio::test(flavor = "multi_thread")]
async fn a_box_runs_as_nobody_without_capabilities_and_waits_for_a_late_tpm() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let options = BoxOptions { unprivileged: true, ..LIVELY };
    let (node, mut rig) = lab.add_box("nobody", &options).await?;
    // The TPM is not there yet.
    rig.tpm()?.off().await?;
    rig.power_on()?;
    rig.status_where("the node to wait for its TPM", SOON, |status| {
        status["doing"].as_str().is_some_and(|doing| doing.contains("TPM"))
    })
    .await?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid().unwrap_or_default()))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(field("Uid:").iter().all(|id| id == "65534"), "{status}");
    assert!(field("CapEff:") == ["0000000000000000"] && field("CapBnd:") == ["0000000000000000"], "{status}");
    assert!(field("Groups:").is_empty(), "{status}");
    rig.tpm()?.on().await?;
    rig.online(SOON).await?;
    account::settled(&lab.database, &node, 10).await?;
    rig.shut_down().await
}

/// The values of a setting of a unit.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn units_name_a_user_of_their_own_and_take_every_capability_away() {
    let node = include_str!("../../../edge/node/noderr-node.service");
    let control = include_str!("../../../control-plane/server/noderr-control.service");
    for (unit, user, users) in [
        (node, "noderr", include_str!("../../../edge/node/noderr-node.sysusers")),
        (control, "noderr-control", include_str!("../../../control-plane/server/noderr-control.sysusers")),
    ] {
        assert_eq!(values(unit, "User"), [user]);
        assert!(users.lines().any(|line| line.starts_with(&format!("u {user} "))), "{users}");
        assert_eq!(values(unit, "CapabilityBoundingSet"), [""]);
        assert_eq!(values(unit, "NoNewPrivileges"), ["yes"]);
        assert_eq!(values(unit, "ProtectSystem"), ["strict"]);
        assert_eq!(values(unit, "LimitCORE"), ["0"]);
        assert!(values(unit, "SystemCallFilter").contains(&"@system-service"));
    }
    // A rule of devices is settled when the service starts: a TPM that comes later would be denied.
    assert_eq!(values(node, "DeviceAllow"), [""; 0]);
    assert_eq!(values(node, "PrivateDevices"), [""; 0]);
    assert_eq!(values(node, "SuccessExitStatus"), ["10 11"]);
}
