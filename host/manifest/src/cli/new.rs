//! `roadrunner new NAME`: a guest project in Rust from the template that is built into the program.
//!
//! Not covered: other languages, and projects inside an existing folder that holds anything.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::scalar::{ComponentName, InvalidName};

/// Where the generated project gets the SDK from.
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
    /// The right side of the dependency in Cargo.toml.
    fn dependency(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self {
            Self::Git(url) => format!("{{ git = {} }}", quoted(url)),
            Self::Path(path) => format!("{{ path = {} }}", quoted(&path.display().to_string())),
            Self::Version(version) => quoted(version),
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

/// Why there is no new project.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The folder holds something already.
    #[error("{} is there and not empty: choose another name", .0.display())]
    Exists(PathBuf),
    /// The name is none that components have.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The name means something else to Cargo or to Rust.
    #[error("a Rust package cannot be named `{0}`: choose another name, which starts with a letter")]
    Reserved(String),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes the project `name` in the folder `parent/name`, which must be missing or empty. What was written is removed
/// again if something goes wrong.
pub fn new_project(parent: &Path, name: &str, sdk: &Sdk) -> Result<Project, NewError> {
    ComponentName::new(name)?;
    if RESERVED.contains(&name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(NewError::Reserved(name.to_owned()));
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
    let mut written = Vec::new();
    for (file, text) in TEMPLATE {
        let path = folder.join(file);
        let text = text
            .replace("{{name}}", name)
            .replace("{{file}}", &name.replace('-', "_"))
            .replace("{{sdk}}", &sdk.dependency());
        if let Err(source) = write_new(&path, &text) {
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(NewError::Write { path, source });
        }
        written.push(path);
    }
    Ok(Project {
        next: vec![format!("cd {} && cargo build --release", folder.display()), "roadrunner serve".to_owned()],
        folder,
        files: TEMPLATE.iter().map(|(file, _)| PathBuf::from(file)).collect(),
    })
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

macro_rules! template {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../../guest-sdk/rust/template/", $file)))),*]
    };
}

/// The files of guest-sdk/rust/template.
const TEMPLATE: &[(&str, &str)] =
    template![".cargo/config.toml", ".gitignore", "Cargo.toml", "README.md", "roadrunner.toml", "src/lib.rs",];

/// Names that components may have and Rust packages may not, or that would shadow what the project depends on.
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
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk/rust/template");
        let mut found = Vec::new();
        template_files(&root, &mut found, &root);
        found.sort();
        let built_in: Vec<&str> = TEMPLATE.iter().map(|(file, _)| *file).collect();
        assert_eq!(found, built_in);
    }

    #[test]
    fn a_project_is_whole_and_its_manifest_right() {
        let parent = tempfile::tempdir().expect("a folder");
        let sdk = Sdk::Path(PathBuf::from("/a \"quoted\"/sdk"));
        let project = new_project(parent.path(), "my-app", &sdk).expect("a project");
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
        assert!(component.file.ends_with("release/my_app.wasm"), "{}", component.file.display());
    }

    #[test]
    fn nothing_is_overwritten() {
        let parent = tempfile::tempdir().expect("a folder");
        let sdk = Sdk::Version("0.1".to_owned());
        fs::create_dir(parent.path().join("empty")).expect("a folder");
        assert!(new_project(parent.path(), "empty", &sdk).is_ok());
        assert!(matches!(new_project(parent.path(), "empty", &sdk), Err(NewError::Exists(_))));
        fs::write(parent.path().join("file"), "").expect("a file");
        assert!(matches!(new_project(parent.path(), "file", &sdk), Err(NewError::Exists(_))));
    }

    #[test]
    fn names_that_cannot_be() {
        let parent = tempfile::tempdir().expect("a folder");
        let sdk = Sdk::Git("https://example.com/sdk".to_owned());
        for name in ["", "..", "a/b", "A", "a b", "-x"] {
            assert!(matches!(new_project(parent.path(), name, &sdk), Err(NewError::Name(_))), "{name}");
        }
        for name in ["fn", "std", "7", "roadrunner-guest"] {
            assert!(matches!(new_project(parent.path(), name, &sdk), Err(NewError::Reserved(_))), "{name}");
        }
        assert_eq!(fs::read_dir(parent.path()).expect("a folder").count(), 0);
    }
}
