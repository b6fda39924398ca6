//! The checks of a route that answers with files.

use toml::Spanned;

use crate::pattern::RoutePattern;
use crate::resolver::value;
use crate::route::Target;
use crate::route::routes::Routes;
use crate::route::section::RouteSection;
use crate::route::static_files::{Files, StaticFiles, StaticSection};

impl<'s> Routes<'_, '_, 's> {
    pub(crate) fn files(
        &mut self,
        route: &RouteSection,
        section: &Spanned<StaticSection>,
        pattern: Option<&RoutePattern>,
    ) -> Option<Target> {
        let files = section.get_ref();
        // Keys for components would be accepted and ignored.
        for (key, span) in [
            ("config", route.config.as_ref().map(Spanned::span)),
            ("limits", route.limits.as_ref().map(Spanned::span)),
            ("websocket", route.websocket.as_ref().map(Spanned::span)),
            ("webtransport", route.webtransport.as_ref().map(Spanned::span)),
            ("body", route.body.as_ref().map(Spanned::span)),
            ("grpc", route.grpc.as_ref().map(Spanned::span)),
        ] {
            if let Some(span) = span {
                self.report(
                    span,
                    format!("`{key}` has no meaning for a static route"),
                    "remove it: there is no instance",
                );
            }
        }
        let chosen = match (value(&files.file), pattern) {
            (Some(_), Some(pattern)) if pattern.has_rest() => {
                let fix = "remove `file`, or the capture from `path`";
                self.report(section.span(), format!("`file` is set, and `{pattern}` captures the path of a file"), fix);
                None
            }
            (Some(file), _) => Some(Files::One(file.0.clone())),
            (None, Some(pattern)) if !pattern.has_rest() => {
                if !files.failed.iter().any(|key| key == "file") {
                    let fix = "end `path` in `/*path`, or name one `file`";
                    self.report(section.span(), format!("`{pattern}` does not say which file is asked for"), fix);
                }
                None
            }
            (None, _) => Some(Files::Captured),
        };
        let tenant = value(&route.tenant);
        let directory = files.directory.as_ref()?;
        if !self.resolver.known_directory(directory, self.host.directories, tenant) {
            return None;
        }
        Some(Target::Static(StaticFiles {
            directory: directory.get_ref().clone(),
            files: chosen?,
            index: files.index().0,
            cache_control: value(&files.cache_control).map(|header| header.0.clone()),
            precompressed: files.precompressed(),
        }))
    }
}
