//! The output of the commands `check`, `routes` and `new`. None of it needs the engine.

mod check;
mod columns;
mod new;
mod routes;

pub use check::summary;
pub use new::{Language, NewError, Project, Sdk, new_project};
pub use routes::routes_table;
