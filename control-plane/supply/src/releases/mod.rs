//! Releases: published by people who sign them elsewhere, checked, stored, handed out, kept and forgotten.

mod acts;
mod archives;
mod db;
mod files;
mod handed_out;
mod jobs;
mod publish;
mod releaser;
mod routes;
mod terms;
mod turns;
mod unneeded;
mod upload_routes;
mod uploads;
mod vouch;

pub use handed_out::HandedOut;
pub use terms::{CHANGED, READ_RELEASES, WRITE_RELEASES};

pub(crate) use db::hold_supply;
pub(crate) use publish::tell;
pub(crate) use turns::Turns;
pub(crate) use uploads::Uploads;
pub(crate) use vouch::vouch_for_channels;

use crate::settings::ReleasesSettings;
use crate::state::Supply;
use jobs::{ForgetArchives, RenewOnline};
use noderr_kernel::{Feature, Listens, NodeFeature, SettingsSection};
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Supply>> = Feature {
    routes: routes::routes,
    files: files::files,
    permissions: &[&READ_RELEASES, &WRITE_RELEASES],
    problems: terms::PROBLEMS,
    settings: &[SettingsSection::of::<ReleasesSettings>()],
    jobs: &[&RenewOnline, &ForgetArchives],
    listens: &[Listens::any(CHANGED, |supply, _| Box::pin(supply.reload()))],
    catch_up: Some(|supply| Box::pin(supply.reload())),
    nodes: NodeFeature {
        release_root: Some(|supply| {
            let root = supply.handed_out.load().newest_root()?.to_vec();
            String::from_utf8(root).ok()
        }),
        ..NodeFeature::nothing()
    },
    ..Feature::named("releases")
};
