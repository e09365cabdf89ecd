//! The HTTP side: serving, problems, extractors, who may do what.

mod auth;
mod crowd;
mod extract;
mod page;
mod problem;
mod serve;
mod throttle;

pub(crate) use auth::{AskingSession, AskingToken, Credential, Permission, Principal};
pub(crate) use crowd::Crowd;
pub(crate) use extract::{Json, NodePath, Path};
pub(crate) use page::{Asked, PageQuery, Paged};
pub(crate) use problem::{Problem, ProblemBody};
pub(crate) use serve::{Caller, serve};
pub(crate) use throttle::LoginThrottle;
