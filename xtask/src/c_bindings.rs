//! `guest-sdk/c/bindings`: wit-bindgen's bindings of the contract for C, and the type of a component in C.
//!
//! Both are committed, and part of every project that `roadrunner new --lang c` makes: building one needs only a C
//! compiler. The type is text for the assembler and not an object file, so that it can be read and compared.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_component::StringEncoding;

use crate::tree::Tree;

/// The prefix of the generated names.
const NAME: &str = "bindings";

/// The files, each with its text.
pub fn files(tree: &Tree) -> Result<Vec<(PathBuf, String)>> {
    let folder = tree.root.join("guest-sdk/c/bindings");
    let (mut resolve, world) = world(tree)?;
    let component_type = wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None, false)?;
    let options = wit_bindgen_c::Opts {
        no_object_file: true,
        no_sig_flattening: true,
        rename_world: Some(NAME.to_owned()),
        ..wit_bindgen_c::Opts::default()
    };
    let mut generated = Files::default();
    options.build().generate(&mut resolve, world, &mut generated)?;
    let mut files = vec![(folder.join("component_type.c"), assembler(&component_type)?)];
    for (name, bytes) in generated.iter() {
        files.push((folder.join(name), String::from_utf8(bytes.to_vec()).context("the bindings are not UTF-8")?));
    }
    Ok(files)
}

/// The world of guest-sdk/c/wit, in the package of wit/.
fn world(tree: &Tree) -> Result<(Resolve, WorldId)> {
    let wit = tree.root.join("guest-sdk/c/wit");
    let mut resolve = Resolve::default();
    for package in ["io", "clocks", "random", "http"] {
        let path = wit.join("deps").join(package).with_extension("wit");
        resolve.push_file(&path).with_context(|| format!("{} does not parse", path.display()))?;
    }
    let mut text = String::new();
    for path in [tree.root.join("wit/handler.wit"), wit.join("c.wit")] {
        let part = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Both files belong to one package, which is named once.
        text += if text.is_empty() { &part } else { part.split_once(';').map_or(&part, |(_, rest)| rest) };
    }
    let package = resolve.push_str(wit.join("c.wit"), &text).context("guest-sdk/c/wit/c.wit does not parse")?;
    let world = resolve.select_world(&[package], Some("c"))?;
    Ok((resolve, world))
}

/// A custom section that wasm-ld keeps; tools look for its name.
fn assembler(component_type: &[u8]) -> Result<String> {
    let mut text = String::from(
        "/* Made by `cargo xtask contract`: what a component built with this SDK imports and exports. */\n\
         __asm__(\".section \\\".custom_section.component-type:c\\\",\\\"\\\",@\\n\"\n",
    );
    for line in component_type.chunks(24) {
        let bytes = line.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        writeln!(text, "        \"    .byte {bytes}\\n\"")?;
    }
    let link = format!("__component_type_object_force_link_{NAME}");
    writeln!(text, "        \".text\\n\");\n")?;
    writeln!(text, "/* bindings.c refers to it, so that this file is linked. */")?;
    writeln!(text, "void {link}(void);\nvoid {link}(void) {{}}")?;
    Ok(text)
}
