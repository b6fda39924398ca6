//! Sections -> [`Manifest`]: everything that one section cannot decide alone.
//!
//! Names are looked up, groups are flattened, limits and configuration are inherited, routes are compiled. All
//! problems are collected; a section that did not decode is passed over without a second complaint.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::admin::Admin;
use crate::component::Component;
use crate::decode::{Context, Decode, Place, listed, suggestion};
use crate::diagnostic::ManifestError;
use crate::directory::{self, Directory, DirectorySection};
use crate::limits::{Caps, Limits};
use crate::manifest::{ComponentOptions, Manifest, ManifestSection};
use crate::origin::Origin;
use crate::pattern::RoutePattern;
use crate::route::{Route, Target};
use crate::router::RouteTable;
use crate::scalar::{ComponentName, DirectoryName, FilePath, Table, TenantName};
use crate::tenant::Tenant;
use crate::websocket::WebSocket;
use crate::webtransport::WebTransport;
use crate::{compile, http2, http3, rate_limit, timeouts};

/// Whether the files that a manifest names are looked for.
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
    // What a broken file means beyond its syntax would be guesswork.
    if !context.problems.is_empty() {
        return Err(error(context.problems));
    }
    let span = document.span();
    let document = Spanned::new(span, DeValue::Table(document.into_inner()));
    let resolved = ManifestSection::decode(&document, &Place::root(), &mut context).map(|section| {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut resolver = Resolver {
            folder,
            files,
            deploys: value(&section.deploy).is_some(),
            context: &mut context,
            directories: BTreeMap::new(),
            directory_names: Vec::new(),
            secret_names: Vec::new(),
            store_names: Vec::new(),
        };
        resolver.manifest(&section, path)
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
    let mut resolver = Resolver {
        folder: PathBuf::new(),
        files: Files::Unchecked,
        deploys: false,
        context: &mut context,
        directories: BTreeMap::new(),
        directory_names: Vec::new(),
        secret_names: Vec::new(),
        store_names: Vec::new(),
    };
    let mut manifest = resolver.manifest(&section, Path::new(""));
    let name = component_name(file);
    let limits = manifest.limits.clone();
    let component = Component {
        origin: Origin::File(file.to_owned()),
        keys: Vec::new(),
        directories: options.directories.keys().cloned().collect(),
        preopens: Vec::new(),
        environment: BTreeMap::new(),
        secret_environment: BTreeMap::new(),
        secrets: Vec::new(),
        stores: Vec::new(),
        caps: Caps::default(),
        limits: limits.clone(),
        tenant: None,
        reuse: None,
        restore: true,
        outbound: None,
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

/// A name from `My App.wasm`: `my-app`.
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

/// What the checks share.
pub(crate) struct Resolver<'c> {
    /// The manifest's folder.
    pub(crate) folder: PathBuf,
    pub(crate) files: Files,
    /// Whether components may serve without the file that the manifest names: what is deployed, or was kept of it.
    pub(crate) deploys: bool,
    pub(crate) context: &'c mut Context,
    pub(crate) directories: BTreeMap<DirectoryName, Directory>,
    /// The names of all directories, those whose section is wrong included.
    pub(crate) directory_names: Vec<String>,
    /// The same of secrets.
    pub(crate) secret_names: Vec<String>,
    /// The same of stores.
    pub(crate) store_names: Vec<String>,
}

impl Resolver<'_> {
    fn manifest(&mut self, section: &ManifestSection, path: &Path) -> Manifest {
        let host = value(&section.limits).cloned().unwrap_or_default();
        let mut limits = host.limits();
        self.check_body(&mut limits, host.body_place());
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
        let websocket = sockets.settings();
        let sessions = value(&section.webtransport).cloned().unwrap_or_default();
        let webtransport = sessions.settings();
        let host_wide =
            HostWide { limits: &limits, websocket: &websocket, webtransport: &webtransport, tenants: &tenants };
        let routes = self.routes(section, host_wide, &components, &middlewares);
        Manifest {
            file: Some(path.to_owned()),
            server: self.server(section),
            caps: host.caps(),
            limits,
            listeners,
            admin,
            compile: compile::compile(section),
            deploy: self.deploy(section),
            registries,
            timeouts: timeouts::timeouts(section),
            rate_limit: rate_limit::rate_limit(section),
            bus: self.bus(section),
            dns: self.dns(section),
            http2: http2::http2(section),
            http3: http3::http3(section),
            websocket,
            deflate_memory: sockets.deflate_memory().get(),
            webtransport,
            webtransport_sessions: sessions.sessions().get(),
            webtransport_buffered_streams: sessions.buffered_streams().get(),
            tenants,
            directories: std::mem::take(&mut self.directories),
            secrets,
            stores,
            components: components.into_iter().map(|(name, known)| (name, known.component)).collect(),
            middlewares,
            routes,
        }
    }

    /// A path seen from the manifest's folder. None when it did not decode.
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

/// What every route starts from.
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

impl Context {
    /// A name that nothing in the manifest has.
    pub(crate) fn unknown_name(&mut self, span: Range<usize>, what: &str, name: &str, known: &[&str]) {
        let fix = match suggestion(name, known.iter().copied()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None if known.is_empty() => format!("declare it: [{what}.{name}]"),
            None => format!("declare it, [{what}.{name}], or use one of {}", listed(known.iter().copied())),
        };
        self.report(span, format!("there is no {what} `{name}`"), fix);
    }
}

/// The value of a key, if it is there and decoded.
pub(crate) fn value<T>(field: &Option<Spanned<T>>) -> Option<&T> {
    field.as_ref().map(Spanned::get_ref)
}

/// The elements of a list that may be missing.
pub(crate) fn list<T>(field: &Option<Spanned<Vec<T>>>) -> &[T] {
    value(field).map_or(&[], Vec::as_slice)
}

/// The entries of a table that may be missing.
pub(crate) fn entries<K, V>(field: &Option<Spanned<Table<K, V>>>) -> impl Iterator<Item = (&Spanned<K>, &V)> {
    value(field).map_or(&[][..], |table| table.entries.as_slice()).iter().map(|(key, value)| (key, value.get_ref()))
}
