//! Groups: the settings that their routes share.

use std::collections::BTreeMap;

use toml::Spanned;

use crate::component::config;
use crate::limits::GroupLimitsSection;
use crate::middleware::MiddlewareName;
use crate::pattern::Prefix;
use crate::resolver::value;
use crate::route::routes::Routes;
use crate::route::section::RouteSection;
use crate::scalar::{ConfigKey, HostPattern, PlainText, Table};
use crate::section::section;
use crate::websocket::WebSocketSection;
use crate::webtransport::WebTransportSection;

section! {
    /// Routes with common settings. Groups nest.
    #[title = "`[[group]]`"]
    pub(crate) struct GroupSection {
        /// The start of the path of each of its routes.
        prefix: Prefix = "\"\"";
        /// The hosts of its routes and groups without `hosts`.
        hosts: Vec<Spanned<HostPattern>>;
        /// Middlewares around its routes, the outermost first. They stand inside those of the outer group.
        middlewares: Vec<Spanned<MiddlewareName>> = "[]";
        /// Configuration values of its routes. They replace those of the outer group and of components.
        config: Table<ConfigKey, PlainText>;
        /// The limits of one request to its routes.
        limits: GroupLimitsSection;
        /// WebSockets on its routes.
        websocket: WebSocketSection;
        /// WebTransport sessions on its routes.
        webtransport: WebTransportSection;
        /// Its routes, `[[group.route]]`.
        route: Vec<Spanned<RouteSection>>;
        /// Groups inside it, `[[group.group]]`.
        group: Vec<Spanned<GroupSection>>;
    }
}

/// The settings that routes inherit from the groups around them, the outermost first.
#[derive(Clone, Default)]
pub(crate) struct Inherited<'s> {
    pub(crate) prefix: String,
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) middlewares: Vec<MiddlewareName>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) limits: Vec<&'s GroupLimitsSection>,
    pub(crate) websocket: Vec<&'s WebSocketSection>,
    pub(crate) webtransport: Vec<&'s WebTransportSection>,
    /// For messages: `[[route]]`, `[[group.route]]`.
    pub(crate) section: String,
    /// Whether a prefix or hosts did not decode.
    pub(crate) incomplete: bool,
}

impl<'s> Routes<'_, '_, 's> {
    /// The settings of a group's routes. `section` of the result is that of the group itself.
    pub(crate) fn inherit(&mut self, group: &'s GroupSection, outer: &Inherited<'s>) -> Inherited<'s> {
        let mut inherited = outer.clone();
        inherited.prefix.push_str(&group.prefix().0);
        if group.hosts.is_some() {
            inherited.hosts = self.hosts(&group.hosts, &format!("[[{}]]", outer.section));
        }
        inherited.incomplete |= group.failed.iter().any(|key| key == "hosts" || key == "prefix");
        inherited.middlewares.extend(self.named(&group.middlewares));
        inherited.config.extend(config(&group.config));
        inherited.limits.extend(value(&group.limits));
        inherited.websocket.extend(value(&group.websocket));
        inherited.webtransport.extend(value(&group.webtransport));
        inherited
    }
}
