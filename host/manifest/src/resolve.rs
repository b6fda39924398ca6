//! Sections -> [`Manifest`]: the work that spans sections.
//!
//! Each feature resolves its own sections, in its own file. This file has their order, and gives each the values that
//! it needs. All problems are collected; a section that did not decode is skipped without a second complaint.

use std::path::{Path, PathBuf};

use roadrunner_values::Limits;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::admin::Admin;
use crate::component::Signers;
use crate::component::{Component, ComponentName};
use crate::decode::{Context, Decode, Place};
use crate::diagnostic::ManifestError;
use crate::directory::{self, DirectorySection};
use crate::file::ManifestSection;
use crate::manifest::{ComponentOptions, Manifest};
use crate::origin::Origin;
use crate::pattern::RoutePattern;
use crate::rate_limit::rate_limit;
use crate::resolver::{Files, Resolver, entries, value, values};
use crate::route::routes::HostWide;
use crate::route::{Route, Target};
use crate::router::RouteTable;
use crate::section::Holds;

/// Checks a manifest's text.
pub(crate) fn manifest(text: &str, path: &Path, files: Files) -> Result<Manifest, ManifestError> {
    let error = |problems| ManifestError::new(path.display().to_string(), text, problems);
    let mut context = Context::default();
    let (document, faults) = DeTable::parse_recoverable(text);
    for fault in faults {
        let span = fault.span().unwrap_or_default();
        let message = fault.message().lines().next().unwrap_or_default();
        let fix = match message {
            "duplicate key" => "remove one: a key or a section stands only once",
            _ if message.contains("recurs") => "sections and lists nest at most 80 levels deep",
            _ if message.contains("string") => "text stands in double quotes: \"10s\"",
            _ => "this is not TOML: see https://toml.io",
        };
        context.report(span, format!("not TOML: {message}"), fix);
    }
    // The meaning of a broken file would be guesswork.
    if !context.problems.is_empty() {
        return Err(error(context.problems));
    }
    let span = document.span();
    let document = Spanned::new(span, DeValue::Table(document.into_inner()));
    let resolved = ManifestSection::decode(&document, &Place::root(), &mut context).map(|section| {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        resolved(folder, files, &section, &mut context)
    });
    match resolved {
        Some(manifest) if context.problems.is_empty() => Ok(Manifest { file: Some(path.to_owned()), ..manifest }),
        _ => Err(error(context.problems)),
    }
}

/// The manifest of a single component.
pub(crate) fn for_component(file: &Path, options: ComponentOptions) -> Manifest {
    let section = ManifestSection::default();
    let mut context = Context::default();
    let mut manifest = resolved(PathBuf::new(), Files::Unchecked, &section, &mut context);
    let name = component_name(file);
    let limits = manifest.limits.clone();
    let component = Component {
        directories: options.directories.keys().cloned().collect(),
        ..Component::new(Origin::File(file.to_owned()), limits.clone())
    };
    let pattern = RoutePattern::new("/*rest").expect("it is a pattern");
    let route = Route {
        config: options.config,
        body: options.body,
        limits,
        ..Route::new(pattern, Target::Component(name.clone()))
    };
    manifest.components.insert(name, component);
    manifest.routes = RouteTable::new(vec![route]).expect("one route without a name conflicts with nothing");
    let directory = |path| directory::directory(&DirectorySection::default(), path, None);
    manifest.directories = options.directories.into_iter().map(|(name, path)| (name, directory(path))).collect();
    manifest.admin = options.admin.map(Admin::plain);
    manifest.server.wasi_03 = options.wasi_03;
    if !options.listeners.is_empty() {
        manifest.listeners = options.listeners;
    }
    manifest
}

/// The checked values of the sections, each after those that it needs.
fn resolved(folder: PathBuf, files: Files, section: &ManifestSection, context: &mut Context) -> Manifest {
    let mut resolver = Resolver::new(folder, files, section.deploy.is_some(), context);
    resolver.declare(&section.tenant);
    resolver.declare(&section.directory);
    resolver.declare(&section.secret);
    resolver.declare(&section.store);
    resolver.declare(&section.component);
    resolver.declare(&section.middleware);
    let host = value(&section.limits).cloned().unwrap_or_default();
    let mut limits: Limits = host.values();
    resolver.check_body(&mut limits, host.body.as_ref().map(Spanned::span));
    let tenants = resolver.tenants(&section.tenant);
    let directories = resolver.directories(&section.directory);
    let secrets = resolver.secrets(&section.secret);
    let stores = resolver.stores(&section.store);
    let early_data = value(&section.http3).and_then(|http3| http3.early_data.as_ref());
    let listeners = resolver.listeners(&section.listener, early_data);
    let admin = resolver.admin(&section.admin, &section.tenant, &listeners);
    let middlewares = resolver.middlewares(&section.middleware);
    let registries = resolver.registries(&section.registry);
    let of_tenants = entries(&section.tenant)
        .filter_map(|(name, tenant)| Some((name.get_ref().clone(), resolver.own_keys(&tenant.signed_by)?)))
        .collect();
    let signers = Signers { host: resolver.signature_keys(&section.signatures), tenants: of_tenants };
    let components = resolver.components(&section.component, &limits, &directories, &signers);
    let sockets = value(&section.websocket).cloned().unwrap_or_default();
    let websocket = sockets.values();
    let sessions = value(&section.webtransport).cloned().unwrap_or_default();
    let webtransport = sessions.values();
    let host_wide = HostWide {
        limits: &limits,
        websocket: &websocket,
        webtransport: &webtransport,
        directories: &directories,
        tenants: &tenants,
    };
    let routes = resolver.routes(&section.route, &section.group, host_wide, &components, &middlewares);
    Manifest {
        file: None,
        server: resolver.server(&section.server),
        caps: host.values(),
        connections: host.values(),
        limits,
        listeners,
        admin,
        compile: values(&section.compile),
        deploy: resolver.deploy(&section.deploy),
        registries,
        timeouts: values(&section.timeouts),
        rate_limit: rate_limit(&section.rate_limit),
        bus: resolver.bus(&section.bus),
        dns: resolver.dns(&section.dns),
        http2: values(&section.http2),
        http3: values(&section.http3),
        websocket,
        deflate_memory: sockets.deflate_memory().get(),
        webtransport,
        webtransport_caps: sessions.values(),
        tenants,
        directories,
        secrets,
        stores,
        components: components.into_iter().map(|(name, known)| (name, known.component)).collect(),
        middlewares,
        routes,
    }
}

/// Makes a name from `My App.wasm`: `my-app`.
fn component_name(file: &Path) -> ComponentName {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(64)
        .collect();
    ComponentName::new(&name).unwrap_or_else(|_| ComponentName::new("app").expect("it is a name"))
}
