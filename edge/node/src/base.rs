//! Applies the base section of the desired state: whether the node is paused, and how often it measures.

use crate::shared::Shared;
use noderr_protocol::Base;

pub(crate) async fn run(shared: Shared) {
    let mut wishes = shared.desired.wishes::<Base>();
    while let Some(wish) = wishes.next().await {
        let of_itself = Base { paused: false, sample_every_s: shared.config.telemetry.sample_every_s };
        let Base { paused, sample_every_s } = wish.body.unwrap_or(of_itself);
        // The sampler must not start its wait anew when the interval stays the same.
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
