//! The HTTP side: serving, problems, extractors, pages of lists, requests that take effect once.

mod auth;
mod extract;
mod once;
mod page;
mod problem;
mod router;
mod serve;
mod settings;

pub use extract::{Json, NodeParam, NodePath, Path};
pub use once::{Made, Request};
pub use page::{Asked, Everything, Page, PageQuery, Paged};
pub use problem::{Problem, ProblemBody, Refused};
pub use router::{Api, router};
pub use serve::{Caller, serve};
pub use settings::HttpSettings;
