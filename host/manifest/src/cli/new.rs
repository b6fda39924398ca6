//! `roadrunner new NAME`: a guest project from the templates that are built into the program, one for each language.
//!
//! Not covered: projects inside an existing folder that holds anything.

use crate::component::ComponentName;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::scalar::InvalidName;

/// The language of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// C, with Zig or clang.
    C,
    /// JavaScript, with componentize-js.
    Js,
    /// Python, with componentize-py.
    Python,
    /// Rust, for `wasm32-wasip2`.
    #[default]
    Rust,
}

impl Language {
    /// All languages, by the names of their folders in guest-sdk/.
    pub const ALL: [(&str, Self); 4] =
        [("rust", Self::Rust), ("js", Self::Js), ("python", Self::Python), ("c", Self::C)];

    /// The language of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, language)| (known == name).then_some(language))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Js => "js",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }

    /// Whether a project contains the SDK, and names it to no package manager.
    pub fn holds_sdk(self) -> bool {
        !self.sdk().is_empty()
    }

    /// The files of the SDK that a project contains.
    fn sdk(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::C => C_SDK,
            Self::Js | Self::Python | Self::Rust => &[],
        }
    }

    fn template(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::C => C,
            Self::Js => JS,
            Self::Python => PYTHON,
            Self::Rust => RUST,
        }
    }

    /// The commands that build a project in its folder, as one line for a shell.
    fn build(self, name: &str) -> String {
        match self {
            Self::C => format!("sh build.sh -o {name}.wasm app.c"),
            Self::Js => "npm install --no-audit --no-fund && npm run build".to_owned(),
            Self::Python => format!(
                "python3 -m venv .venv && .venv/bin/pip install --quiet --requirement requirements.txt && \
                 .venv/bin/roadrunner-guest build app --output {name}.wasm"
            ),
            Self::Rust => "cargo build --release".to_owned(),
        }
    }

    /// Whether the name has another meaning for the language or its tools.
    fn reserves(self, name: &str) -> bool {
        match self {
            Self::Js => name.starts_with("node_modules") || name == "roadrunner-guest",
            Self::C | Self::Python => false,
            Self::Rust => RESERVED.contains(&name) || name.starts_with(|c: char| c.is_ascii_digit()),
        }
    }
}

/// The origin of a generated project's SDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// A git repository.
    Git(String),
    /// A folder on this machine.
    Path(PathBuf),
    /// A version from the registry.
    Version(String),
}

impl Sdk {
    /// The dependency in the language's own form: the right side in Cargo.toml, a line of requirements.txt.
    fn dependency(&self, language: Language) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match (language, self) {
            // The project contains it.
            (Language::C, _) => String::new(),
            // npm installs the root of a repository only; there the package comes from the registry.
            (Language::Js, Self::Git(_)) => quoted(env!("CARGO_PKG_VERSION")),
            (Language::Js, Self::Path(path)) => quoted(&format!("file:{}", path.display())),
            (Language::Js, Self::Version(version)) => quoted(version),
            (Language::Python, Self::Git(url)) => {
                format!("roadrunner-guest @ git+{url}#subdirectory=guest-sdk/python")
            }
            (Language::Python, Self::Path(path)) => path.display().to_string(),
            (Language::Python, Self::Version(version)) => format!("roadrunner-guest=={version}"),
            (Language::Rust, Self::Git(url)) => format!("{{ git = {} }}", quoted(url)),
            (Language::Rust, Self::Path(path)) => format!("{{ path = {} }}", quoted(&path.display().to_string())),
            (Language::Rust, Self::Version(version)) => quoted(version),
        }
    }
}

/// A project that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// Its files, relative to the folder.
    pub files: Vec<PathBuf>,
    /// The commands that build it and serve it, in this order.
    pub next: Vec<String>,
}

/// The reason why no project was made.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The folder is not empty.
    #[error("{} is there and not empty: choose another name", .0.display())]
    Exists(PathBuf),
    /// The name is no name of a component.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The name has another meaning for the language or its tools.
    #[error("a project in {language} cannot be named `{name}`: choose another name, which starts with a letter")]
    Reserved {
        /// The name.
        name: String,
        /// The language's name.
        language: &'static str,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Makes the project `name` in the folder `parent/name`, which must be missing or empty. After an error, the files that
/// were written are removed.
pub fn new_project(parent: &Path, name: &str, language: Language, sdk: &Sdk) -> Result<Project, NewError> {
    ComponentName::new(name)?;
    if language.reserves(name) {
        return Err(NewError::Reserved { name: name.to_owned(), language: language.name() });
    }
    let folder = parent.join(name);
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| NewError::Write { path, source }
    };
    match fs::read_dir(&folder) {
        Ok(entries) => {
            if entries.count() > 0 {
                return Err(NewError::Exists(folder));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&folder).map_err(write(&folder))?,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(NewError::Exists(folder)),
        Err(error) => return Err(write(&folder)(error)),
    }
    let fill_in = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{file}}", &name.replace('-', "_"))
            .replace("{{sdk}}", &sdk.dependency(language))
    };
    let template = language.template().iter().map(|(file, text)| (*file, fill_in(text)));
    let files = template.chain(language.sdk().iter().map(|(file, text)| (*file, (*text).to_owned())));
    let (mut names, mut written) = (Vec::new(), Vec::new());
    for (file, text) in files {
        let path = folder.join(file);
        if let Err(source) = write_new(&path, &text) {
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(NewError::Write { path, source });
        }
        written.push(path);
        names.push(PathBuf::from(file));
    }
    Ok(Project {
        next: vec![format!("cd {} && {}", folder.display(), language.build(name)), "roadrunner serve".to_owned()],
        folder,
        files: names,
    })
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

macro_rules! template {
    ($language:literal: $($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../../guest-sdk/", $language, "/template/", $file)))),*]
    };
}

/// The files of guest-sdk/c/template.
const C: &[(&str, &str)] = template!["c": ".gitignore", "README.md", "app.c", "roadrunner.toml"];

macro_rules! sdk {
    ($language:literal: $($file:literal => $path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../guest-sdk/", $language, "/", $file)))),*]
    };
}

/// The build files of a project in C, from guest-sdk/c.
const C_SDK: &[(&str, &str)] = sdk![
    "c":
    "build.sh" => "build.sh",
    "bindings/bindings.c" => "roadrunner/bindings/bindings.c",
    "bindings/bindings.h" => "roadrunner/bindings/bindings.h",
    "bindings/component_type.c" => "roadrunner/bindings/component_type.c",
    "include/roadrunner.h" => "roadrunner/include/roadrunner.h",
    "src/arena.c" => "roadrunner/src/arena.c",
    "src/exchange.c" => "roadrunner/src/exchange.c",
    "src/files.c" => "roadrunner/src/files.c",
    "src/files.h" => "roadrunner/src/files.h",
    "src/host.c" => "roadrunner/src/host.c",
    "src/internal.h" => "roadrunner/src/internal.h",
    "src/request.c" => "roadrunner/src/request.c",
    "src/response.c" => "roadrunner/src/response.c",
    "src/session.c" => "roadrunner/src/session.c",
    "src/store.c" => "roadrunner/src/store.c",
    "src/text.c" => "roadrunner/src/text.c",
    "src/wasi.c" => "roadrunner/src/wasi.c",
    "src/webtransport.c" => "roadrunner/src/webtransport.c",
];

/// The files of guest-sdk/js/template.
const JS: &[(&str, &str)] =
    template!["js": ".gitignore", ".npmrc", "README.md", "app.js", "package.json", "roadrunner.toml"];

/// The files of guest-sdk/python/template.
const PYTHON: &[(&str, &str)] =
    template!["python": ".gitignore", "README.md", "app.py", "requirements.txt", "roadrunner.toml"];

/// The files of guest-sdk/rust/template.
const RUST: &[(&str, &str)] = template![
    "rust": ".cargo/config.toml", ".gitignore", "Cargo.toml", "README.md", "roadrunner.toml", "src/lib.rs",
];

/// Names that components may have and Rust packages may not, and names that would shadow a dependency of the project.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "roadrunner-guest",
    "roadrunner_guest",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    fn template_files(folder: &Path, found: &mut Vec<String>, root: &Path) {
        for entry in fs::read_dir(folder).expect("the template") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                template_files(&path, found, root);
            } else {
                found.push(path.strip_prefix(root).expect("below the root").display().to_string());
            }
        }
    }

    #[test]
    fn every_file_of_the_template_is_built_in() {
        for (name, language) in Language::ALL {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk").join(name).join("template");
            let mut found = Vec::new();
            template_files(&root, &mut found, &root);
            found.sort();
            let built_in: Vec<&str> = language.template().iter().map(|(file, _)| *file).collect();
            assert_eq!((found, language.name()), (built_in.iter().map(|file| (*file).to_owned()).collect(), name));
        }
    }

    #[test]
    fn every_source_of_the_c_sdk_is_built_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk/c");
        let mut found = vec!["build.sh".to_owned()];
        for folder in ["bindings", "include", "src"] {
            let mut files = Vec::new();
            template_files(&root.join(folder), &mut files, &root);
            found.extend(files.iter().map(|file| format!("roadrunner/{file}")));
        }
        found.sort();
        let mut built_in: Vec<&str> = Language::C.sdk().iter().map(|(path, _)| *path).collect();
        built_in.sort_unstable();
        assert_eq!(found, built_in);
    }

    #[test]
    fn a_project_is_whole_and_its_manifest_right() {
        let parent = tempfile::tempdir().expect("a folder");
        let sdk = Sdk::Path(PathBuf::from("/a \"quoted\"/sdk"));
        let project = new_project(parent.path(), "my-app", Language::Rust, &sdk).expect("a project");
        for file in &project.files {
            let text = fs::read_to_string(project.folder.join(file)).expect("a file");
            assert!(!text.contains("{{"), "{}: {text}", file.display());
        }
        let cargo = fs::read_to_string(project.folder.join("Cargo.toml")).expect("a file");
        let cargo: toml::Table = cargo.parse().expect("TOML");
        assert_eq!(cargo["package"]["name"].as_str(), Some("my-app"));
        assert_eq!(cargo["dependencies"]["roadrunner-guest"]["path"].as_str(), Some("/a \"quoted\"/sdk"));
        let path = project.folder.join("roadrunner.toml");
        let manifest = fs::read_to_string(&path).expect("a file");
        let manifest = Manifest::parse(&manifest, &path).unwrap_or_else(|error| panic!("{error}"));
        let component = manifest.components.values().next().expect("a component");
        let origin = component.origin.to_string();
        assert!(origin.ends_with("release/my_app.wasm"), "{origin}");
    }

    #[test]
    fn a_project_of_every_language_is_whole() {
        for (name, language) in Language::ALL {
            let parent = tempfile::tempdir().expect("a folder");
            for sdk in [Sdk::Path("/the/sdk".into()), Sdk::Version("0.1".into()), Sdk::Git("https://a.b/c".into())] {
                let folder = format!("in-{name}");
                let project = new_project(parent.path(), &folder, language, &sdk).expect("a project");
                let mut names_sdk = false;
                for file in &project.files {
                    let text = fs::read_to_string(project.folder.join(file)).expect("a file");
                    assert!(!text.contains("{{"), "{name} {}: {text}", file.display());
                    names_sdk |= ["/the/sdk", "0.1", "https://a.b/c"].iter().any(|place| text.contains(place));
                }
                assert!(names_sdk || language.holds_sdk(), "{name}");
                let path = project.folder.join("roadrunner.toml");
                let manifest = fs::read_to_string(&path).expect("a file");
                let manifest = Manifest::parse(&manifest, &path).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!((manifest.components.len(), project.next.len()), (1, 2), "{name}");
                fs::remove_dir_all(&project.folder).expect("it is there");
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let parent = tempfile::tempdir().expect("a folder");
        let sdk = Sdk::Version("0.1".to_owned());
        fs::create_dir(parent.path().join("empty")).expect("a folder");
        assert!(new_project(parent.path(), "empty", Language::Rust, &sdk).is_ok());
        assert!(matches!(new_project(parent.path(), "empty", Language::Rust, &sdk), Err(NewError::Exists(_))));
        fs::write(parent.path().join("file"), "").expect("a file");
        assert!(matches!(new_project(parent.path(), "file", Language::Python, &sdk), Err(NewError::Exists(_))));
    }

    #[test]
    fn names_that_cannot_be() {
        let parent = tempfile::tempdir().expect("a folder");
        let sdk = Sdk::Git("https://example.com/sdk".to_owned());
        for name in ["", "..", "a/b", "A", "a b", "-x"] {
            assert!(matches!(new_project(parent.path(), name, Language::Rust, &sdk), Err(NewError::Name(_))), "{name}");
        }
        for name in ["fn", "std", "7", "roadrunner-guest"] {
            assert!(
                matches!(new_project(parent.path(), name, Language::Rust, &sdk), Err(NewError::Reserved { .. })),
                "{name}"
            );
        }
        assert_eq!(fs::read_dir(parent.path()).expect("a folder").count(), 0);
    }
}
