//! What every node is told, whatever else it does: whether it is paused, and how often it measures.

use crate::shared::Shared;
use noderr_protocol::Base;

pub(crate) async fn run(shared: Shared) {
    let mut wishes = shared.desired.wishes::<Base>();
    while let Some(wish) = wishes.next().await {
        let of_itself = Base { paused: false, sample_every_s: shared.config.telemetry.sample_every_s };
        let Base { paused, sample_every_s } = wish.body.unwrap_or(of_itself);
        // The same pace again must not make the sampler wait anew.
        shared.sample_every_s.send_if_modified(|every_s| {
            let changed = *every_s != sample_every_s.max(1);
            *every_s = sample_every_s.max(1);
            changed
        });
        shared.board.update(|status| {
            status.paused = paused;
            status.sample_every_s = sample_every_s.max(1);
        });
        wishes.applied(&wish);
    }
}
