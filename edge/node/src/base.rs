//! What every node is told, whatever else it does: whether it is paused, and how often it measures.

use crate::shared::Shared;
use noderr_protocol::Base;

pub(crate) async fn run(shared: Shared) {
    let mut wishes = shared.desired.wishes::<Base>();
    while let Some(wish) = wishes.next().await {
        let Base { paused, sample_every_s } = wish.body;
        shared.sample_every_s.send_replace(sample_every_s.max(1));
        shared.board.update(|status| {
            status.paused = paused;
            status.sample_every_s = sample_every_s.max(1);
        });
        wishes.applied(&wish);
    }
}
