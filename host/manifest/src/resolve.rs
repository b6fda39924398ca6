//! Sections -> [`Manifest`]: the work that spans sections.
//!
//! Each feature resolves its own sections, in its own file. This file has their order, the names that they share, and
//! the paths. All problems are collected; a section that did not decode is skipped without a second complaint.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use roadrunner_values::{Limits, Values, WebSocket, WebTransport};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::admin::Admin;
use crate::component::{Component, ComponentName};
use crate::decode::{Context, Decode, Field, Holds, Place, listed, suggestion};
use crate::diagnostic::ManifestError;
use crate::directory::{self, Directory, DirectoryName, DirectorySection};
use crate::manifest::{ComponentOptions, Manifest, ManifestSection};
use crate::origin::Origin;
use crate::pattern::RoutePattern;
use crate::rate_limit;
use crate::route::{Route, Target};
use crate::router::RouteTable;
use crate::scalar::{FilePath, Name, Table};
use crate::tenant::{Tenant, TenantName};

/// Whether to check that the files of a manifest exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    Checked,
    Unchecked,
}

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
        Resolver::new(folder, files, &section, &mut context).manifest(&section, path)
    });
    match resolved {
        Some(manifest) if context.problems.is_empty() => Ok(manifest),
        _ => Err(error(context.problems)),
    }
}

/// The manifest of a single component.
pub(crate) fn for_component(file: &Path, options: ComponentOptions) -> Manifest {
    let section = ManifestSection::default();
    let mut context = Context::default();
    let mut resolver = Resolver::new(PathBuf::new(), Files::Unchecked, &section, &mut context);
    let mut manifest = resolver.manifest(&section, Path::new(""));
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
    manifest.file = None;
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

/// The state that all checks share.
pub(crate) struct Resolver<'c> {
    /// The manifest's folder.
    pub(crate) folder: PathBuf,
    pub(crate) files: Files,
    /// Whether components may run without the file that the manifest names: from deployed or kept versions.
    pub(crate) deploys: bool,
    pub(crate) context: &'c mut Context,
    pub(crate) directories: BTreeMap<DirectoryName, Directory>,
    /// The names that sections declare, by kind of section, including sections with problems.
    declared: BTreeMap<&'static str, Vec<String>>,
}

impl<'c> Resolver<'c> {
    fn new(folder: PathBuf, files: Files, section: &ManifestSection, context: &'c mut Context) -> Self {
        let deploys = value(&section.deploy).is_some();
        let mut resolver =
            Self { folder, files, deploys, context, directories: BTreeMap::new(), declared: BTreeMap::new() };
        resolver.declare(&section.tenant);
        resolver.declare(&section.directory);
        resolver.declare(&section.secret);
        resolver.declare(&section.store);
        resolver.declare(&section.component);
        resolver.declare(&section.middleware);
        resolver
    }

    fn declare<N: Name, S>(&mut self, sections: &Field<Table<N, S>>) {
        let names = value(sections).map(|table| table.names.clone());
        self.declared.insert(N::DECLARES, names.unwrap_or_default());
    }
}

impl Resolver<'_> {
    /// Whether a section declares this name. A name without a section is reported.
    pub(crate) fn is_declared<N: Name>(&mut self, name: &Spanned<N>) -> bool {
        let (what, text) = (N::DECLARES, name.get_ref().text());
        let declared = self.declared.get(what).map_or(&[][..], Vec::as_slice);
        if declared.iter().any(|known| known == text) {
            return true;
        }
        let known = || declared.iter().map(String::as_str);
        let fix = match suggestion(text, known()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None if declared.is_empty() => format!("declare it: [{what}.{text}]"),
            None => format!("declare it, [{what}.{text}], or use one of {}", listed(known())),
        };
        self.context.report(name.span(), format!("there is no {what} `{text}`"), fix);
        false
    }

    /// The names of a list that can be granted, each once.
    pub(crate) fn granted<N: Name>(
        &mut self,
        names: &Field<Vec<Spanned<N>>>,
        can_be_granted: impl Fn(&mut Self, &Spanned<N>) -> bool,
    ) -> Vec<N> {
        let mut granted: Vec<N> = Vec::new();
        for name in list(names) {
            if granted.contains(name.get_ref()) {
                let message = format!("{} `{}` is granted twice", N::DECLARES, name.get_ref().text());
                self.context.report(name.span(), message, "remove one");
            } else if can_be_granted(self, name) {
                granted.push(name.get_ref().clone());
            }
        }
        granted
    }

    fn manifest(&mut self, section: &ManifestSection, path: &Path) -> Manifest {
        let host = value(&section.limits).cloned().unwrap_or_default();
        let mut limits: Limits = host.values();
        self.check_body(&mut limits, host.body.as_ref().map(Spanned::span));
        let tenants = self.tenants(section);
        self.directories(section);
        let secrets = self.secrets(section);
        let stores = self.stores(section);
        let listeners = self.listeners(section);
        let admin = self.admin(section, &listeners);
        let middlewares = self.middlewares(section);
        let registries = self.registries(section);
        let components = self.components(section, &limits);
        let sockets = value(&section.websocket).cloned().unwrap_or_default();
        let websocket = sockets.values();
        let sessions = value(&section.webtransport).cloned().unwrap_or_default();
        let webtransport = sessions.values();
        let host_wide =
            HostWide { limits: &limits, websocket: &websocket, webtransport: &webtransport, tenants: &tenants };
        let routes = self.routes(section, host_wide, &components, &middlewares);
        Manifest {
            file: Some(path.to_owned()),
            server: self.server(section),
            caps: host.values(),
            connections: host.values(),
            limits,
            listeners,
            admin,
            compile: values(&section.compile),
            deploy: self.deploy(section),
            registries,
            timeouts: values(&section.timeouts),
            rate_limit: rate_limit::rate_limit(section),
            bus: self.bus(section),
            dns: self.dns(section),
            http2: values(&section.http2),
            http3: values(&section.http3),
            websocket,
            deflate_memory: sockets.deflate_memory().get(),
            webtransport,
            webtransport_caps: sessions.values(),
            tenants,
            directories: std::mem::take(&mut self.directories),
            secrets,
            stores,
            components: components.into_iter().map(|(name, known)| (name, known.component)).collect(),
            middlewares,
            routes,
        }
    }

    /// The path of a key, relative to the manifest's folder. `None` if the key is absent or did not decode.
    pub(crate) fn path(&mut self, field: &Option<Spanned<FilePath>>, kind: FileKind) -> Option<PathBuf> {
        let field = field.as_ref()?;
        let path = field.get_ref().resolve(&self.folder);
        if self.files == Files::Checked {
            let fix = match (std::fs::metadata(&path), kind) {
                (Ok(found), FileKind::Directory) if !found.is_dir() => Some("it is not a directory".to_owned()),
                (Ok(found), FileKind::Component | FileKind::File) if found.is_dir() => {
                    Some("it is a directory".to_owned())
                }
                (Ok(_), _) => None,
                (Err(error), FileKind::Component) if self.deploys && error.kind() == ErrorKind::NotFound => None,
                (Err(error), _) if error.kind() == ErrorKind::NotFound => Some(match kind {
                    FileKind::Component => "build it, or correct the path".to_owned(),
                    FileKind::Directory => "make it, or correct the path".to_owned(),
                    FileKind::File => "correct the path".to_owned(),
                }),
                (Err(error), _) => Some(error.to_string()),
            };
            if let Some(fix) = fix {
                self.context.report(field.span(), format!("there is no {} {}", kind.word(), path.display()), fix);
            }
        }
        Some(path)
    }
}

/// The settings that every route starts from.
#[derive(Clone, Copy)]
pub(crate) struct HostWide<'h> {
    pub(crate) limits: &'h Limits,
    pub(crate) websocket: &'h WebSocket,
    pub(crate) webtransport: &'h WebTransport,
    pub(crate) tenants: &'h BTreeMap<TenantName, Tenant>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum FileKind {
    Component,
    Directory,
    File,
}

impl FileKind {
    fn word(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Directory => "directory",
            Self::File => "file",
        }
    }
}

/// The value of a key that is present and decoded.
pub(crate) fn value<T>(field: &Option<Spanned<T>>) -> Option<&T> {
    field.as_ref().map(Spanned::get_ref)
}

/// The plain values of a section that may be missing.
pub(crate) fn values<S: Holds<V>, V: Values>(field: &Field<S>) -> V {
    value(field).map(Holds::values).unwrap_or_default()
}

/// The elements of a list that may be missing.
pub(crate) fn list<T>(field: &Option<Spanned<Vec<T>>>) -> &[T] {
    value(field).map_or(&[], Vec::as_slice)
}

/// The entries of a table that may be missing.
pub(crate) fn entries<K, V>(field: &Option<Spanned<Table<K, V>>>) -> impl Iterator<Item = (&Spanned<K>, &V)> {
    value(field).map_or(&[][..], |table| table.entries.as_slice()).iter().map(|(key, value)| (key, value.get_ref()))
}
