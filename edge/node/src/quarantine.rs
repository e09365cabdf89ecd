//! Shows why the node is kept out of work. That it takes none, the base section sees to.

use crate::shared::Shared;
use noderr_protocol::Quarantine;

pub(crate) async fn run(shared: Shared) {
    let mut wishes = shared.desired.wishes::<Quarantine>();
    while let Some(wish) = wishes.next().await {
        let why = wish.body.as_ref().map(|quarantine: &Quarantine| quarantine.why.to_string());
        match &why {
            Some(why) => tracing::warn!(why, "this node is in quarantine"),
            None => tracing::debug!("this node is not in quarantine"),
        }
        shared.board.update(|status| status.quarantine = why);
        wishes.applied(&wish);
    }
}
