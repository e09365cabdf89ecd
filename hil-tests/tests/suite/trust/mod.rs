//! What a box trusts of releases: the attacks of The Update Framework's own list, each by name, against the client that the node
//! runs and real servers.

mod attacks;
mod ceremony;
mod hsm;
mod liars;
mod rotation;
mod servers;
mod slips;
mod told;
mod world;

pub(crate) use servers::server;
